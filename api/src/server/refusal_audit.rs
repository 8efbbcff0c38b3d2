//! Refusals of the REST API in the audit log: who was refused what, in which state.
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use mcpctl_core::access::{Asked, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Digest;
use mcpctl_core::time::Timestamp;

use super::app::App;
use super::audit::pin::ended;
use super::auth::bearer;
use super::clock;
use super::problem::Missing;
use crate::plane::{AuditEntry, rule};

/// Records every answer of 403 to a caller who is known, before it leaves.
pub(super) async fn record(Shared(app): Shared<Arc<App>>, request: Request, next: Next) -> Response {
    let digest = bearer(request.headers()).map(|raw| Digest::sha256(raw.as_bytes()));
    let method = format!("{} {}", request.method(), request.uri().path());
    let (at, recorded_elsewhere) = (clock::now(), of_gateway(request.uri().path()));
    let response = next.run(request).await;
    if response.status() != StatusCode::FORBIDDEN || recorded_elsewhere {
        return response;
    }
    let Some(actor) = digest.and_then(|digest| app.plane.known_as(&digest)) else { return response };
    let entry = entry(&app, at, method, actor, response.extensions().get::<Missing>());
    if let Err(error) = app.audit.append(entry) {
        // What is refused is refused, whether it can be recorded or not.
        tracing::error!(%error, "a refusal could not be audited");
    }
    response
}

/// What a gateway asks for a caller; it records the refusal itself.
fn of_gateway(path: &str) -> bool {
    path.starts_with("/api/v1/projects/") && ["/view", "/watch", "/audit"].iter().any(|end| path.ends_with(end))
}

fn entry(app: &App, at: Timestamp, method: String, actor: Actor, missing: Option<&Missing>) -> AuditEntry {
    let state = app.published.load();
    let entry = AuditEntry {
        at,
        kind: "refusal".to_owned(),
        method,
        actor: Some(actor.clone()),
        outcome: "denied".to_owned(),
        seq: mcpctl_core::world::World::seq(&*state),
        duration_us: clock::now().since(at) * 1000,
        ..AuditEntry::default()
    };
    let Some(Missing { right, at: seq }) = missing else { return entry };
    let entry = AuditEntry { seq: *seq, reason: Some(format!("may not {right}")), ..entry };
    let Ok(asked) = right.parse::<Asked>() else {
        return AuditEntry { rule: Some(rule::CEILING.to_owned()), ..entry };
    };
    let verdict = decide(&state.at(*seq), &actor, &asked.ask(), ended(&entry));
    // A right that is there after all was looked for on one object of several: what was asked can't be told from the words.
    if verdict.allowed { entry } else { entry.decided(&asked.ask(), &verdict) }
}
