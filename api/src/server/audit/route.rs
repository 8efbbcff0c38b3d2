//! `GET /audit/events`: for who holds the operation `audit`; each look is an entry itself.
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mcpctl_core::access::{Ask, decide};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use tokio::sync::Semaphore;

use super::{AuditQuery, RIGHT, read_entry};
use crate::plane::AuditEntry;
use crate::server::app::App;
use crate::server::auth::Authenticated;
use crate::server::clock;
use crate::server::problem::{Result, problem};
use crate::wire::List;

/// Most looks at once: each reads files.
static LOOKS: Semaphore = Semaphore::const_new(2);

/// The route.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/audit/events", get(events))
}

async fn events(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    query: std::result::Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response> {
    let Query(query) = query.map_err(|error| {
        problem(StatusCode::BAD_REQUEST, "malformed", "Malformed query", error.body_text()).hint(
            "filters: project, kind, userName, tokenName, tokenSha, server, tool, outcome, from, to, position, limit",
        )
    })?;
    let state = app.published.load();
    let now = clock::now();
    let verdict = decide(&*state, &caller.actor, &Ask::Operation(RIGHT), now.max(state.last_at()));
    let unavailable = |why: String| problem(StatusCode::SERVICE_UNAVAILABLE, "audit", "The audit log fails", why);
    // Recorded before anything is shown.
    let entry = read_entry(caller.credential(), &query, &verdict, now);
    let entry = AuditEntry { on_behalf_of: caller.on_behalf_of().cloned(), ..entry };
    app.audit.append(entry).map_err(|error| unavailable(error.to_string()))?;
    if !verdict.allowed {
        let missing = Ask::Operation(RIGHT).to_string();
        return Err(Refusal::Forbidden { actor: caller.actor.to_string(), missing, at: verdict.at }.into());
    }
    let _look = LOOKS.acquire().await.map_err(|error| unavailable(error.to_string()))?;
    let audit = app.audit.clone();
    let page = tokio::task::spawn_blocking(move || audit.page(&query)).await;
    let (items, next) = page.map_err(|error| unavailable(error.to_string()))?.map_err(|error| {
        tracing::error!(%error, "the audit log can't be read");
        unavailable(error.to_string())
    })?;
    Ok(axum::Json(List { items, next, revision: state.seq() }).into_response())
}
