//! `GET /api/v1/gateways`: each gateway that has a stream, for whoever may view everything.
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::get;
use mcpctl_core::access::{Ask, ResourceName, Verb, decide};
use mcpctl_core::world::World as _;

use crate::server::app::App;
use crate::server::auth::Authenticated;
use crate::server::clock;
use crate::server::problem::{Result, problem};
use crate::wire::{Gateway, List};

/// The route.
pub(in crate::server) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/gateways", get(list))
}

/// A gateway belongs to no project and to nobody: what it holds says something about all of them.
async fn list(Shared(app): Shared<Arc<App>>, caller: Authenticated) -> Result<axum::Json<List<Gateway>>> {
    let state = app.published.load();
    let ask = Ask::Object { verb: Verb::View, resource: ResourceName::Any, project: None, name: None, uid: None };
    if !decide(&*state, &caller.actor, &ask, clock::now().max(state.last_at())).allowed {
        let detail = format!("{} may not view *, which seeing gateways takes", caller.actor);
        return Err(problem(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail));
    }
    Ok(axum::Json(List { items: app.hub.gateways(), next: None, revision: state.seq() }))
}
