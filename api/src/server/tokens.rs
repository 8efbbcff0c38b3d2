//! What tokens have beyond every kind: revoke, and introspection by whoever holds one.
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use mcpctl_core::access::Verb;
use mcpctl_core::command::Deed;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{McpToken, McpTokenAction};
use mcpctl_core::world::World as _;

use super::app::App;
use super::auth::bearer;
use super::objects::{Call, finish};
use super::problem::{Result, unauthorized};
use crate::plane::{CallerBearer, Denial, Plane as _};
use crate::wire::Introspection;

/// Routes beside those of every kind.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/mcptokens/introspect", post(introspect))
}

/// Ends a token for good. Done again it changes nothing.
pub(super) async fn revoke(call: &Call) -> Result<Response> {
    let state = call.app.published.load();
    let object = call.target.reachable(&state, &call.caller, Verb::Edit)?;
    finish(call, &object, Deed::Act(Box::new(McpTokenAction::Revoke))).await
}

/// Whether the bearer opens its project now, and why not. Whoever holds a token may ask about it, and only about it.
async fn introspect(Shared(app): Shared<Arc<App>>, headers: HeaderMap) -> Result<axum::Json<Introspection>> {
    let raw = bearer(&headers).ok_or_else(|| unauthorized("the request carries no bearer"))?;
    let state = app.published.load();
    let object = state.credential(&Digest::sha256(raw.as_bytes())).and_then(|uid| state.by_uid(uid));
    let Some((object, (_, status))) = object.and_then(|object| Some((object, object.of::<McpToken>()?))) else {
        return Ok(axum::Json(inactive("unknown", state.seq())));
    };
    let project = object.meta.project.as_ref().map(|project| project.name.to_string()).unwrap_or_default();
    let admitted = app.plane.admit(&CallerBearer::new(raw.to_owned()), &project).await;
    let (reason, via, seq) = match admitted {
        Ok(admission) => (None, admission.via.to_vec(), admission.seq),
        Err(Denial::Ended(reason)) => (Some(reason.to_owned()), Vec::new(), state.seq()),
        Err(denial) => (Some(denial.to_string()), Vec::new(), state.seq()),
    };
    Ok(axum::Json(Introspection {
        active: reason.is_none(),
        reason,
        uid: Some(object.meta.uid),
        name: Some(object.meta.name.to_string()),
        project: Some(project),
        owner: status.owner.clone(),
        expires_at: status.expires_at,
        via,
        seq,
    }))
}

fn inactive(reason: &str, seq: mcpctl_core::ids::Seq) -> Introspection {
    Introspection {
        active: false,
        reason: Some(reason.to_owned()),
        uid: None,
        name: None,
        project: None,
        owner: None,
        expires_at: None,
        via: Vec::new(),
        seq,
    }
}
