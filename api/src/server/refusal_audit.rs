//! Refusals of the REST API in the audit log: who was refused what, in which state.
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use mcpctl_core::access::{Asked, ResourceName, Verb, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::Name;
use mcpctl_core::time::Timestamp;
use mcpctl_projections::State;

use super::app::App;
use super::audit::pin::{ended, opening};
use super::auth::bearer;
use super::clock;
use super::problem::Missing;
use crate::plane::{AuditEntry, rule};

/// Records every answer of 403 to a caller who is known, before it leaves.
pub(super) async fn record(Shared(app): Shared<Arc<App>>, request: Request, next: Next) -> Response {
    let digest = bearer(request.headers()).map(|raw| Digest::sha256(raw.as_bytes()));
    let (verb, uri) = (request.method().clone(), request.uri().clone());
    let (at, recorded_elsewhere) = (clock::now(), of_gateway(uri.path()));
    let response = next.run(request).await;
    if response.status() != StatusCode::FORBIDDEN || recorded_elsewhere {
        return response;
    }
    let Some(actor) = digest.and_then(|digest| app.plane.known_as(&digest)) else { return response };
    let mut entry = entry(&app, at, format!("{verb} {}", uri.path()), actor, response.extensions().get::<Missing>());
    if entry.rule.is_none() {
        entry = wanted(&app.published.load(), &verb, &uri, entry);
    }
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

/// What a refusal that names no right was about, by the request: a token's that lies outside its project, and one for a
/// server through the proxy. Where that may be done after all it was refused for another reason, which is not told here.
fn wanted(state: &State, method: &Method, uri: &Uri, entry: AuditEntry) -> AuditEntry {
    let (Some(actor), Some(asked)) = (entry.actor.clone(), asked_by(state, method, uri)) else { return entry };
    let verdict = decide(state, &actor, &asked.ask(), ended(&entry));
    if verdict.allowed { entry } else { entry.decided(&asked.ask(), &verdict) }
}

/// The question that a request comes to: to open its project, or a verb on a kind or an object of it.
fn asked_by(state: &State, method: &Method, uri: &Uri) -> Option<Asked> {
    let path: Vec<&str> = uri.path().strip_prefix("/api/v1/")?.split('/').collect();
    let (plural, name) = match path.as_slice() {
        ["mcp", "proxy"] => {
            let mut query = url::form_urlencoded::parse(uri.query()?.as_bytes());
            return opening(state, &query.find(|(key, _)| key == "project")?.1);
        }
        ["projects", project, ..] => return opening(state, project),
        [plural] => (plural, None),
        [plural, name, ..] => (plural, Some(*name)),
        [] => return None,
    };
    let verb = match *method {
        Method::GET | Method::HEAD => Verb::View,
        Method::POST if name.is_none() => Verb::Create,
        Method::POST | Method::PUT => Verb::Edit,
        Method::DELETE => Verb::Delete,
        _ => return None,
    };
    let kind = Kind::ALL.iter().copied().find(|kind| kind.names().plural == *plural)?;
    let name = match name {
        Some(name) => Some(Name::parse(kind.untyped().name_rule(), name).ok()?),
        None => None,
    };
    Some(Asked::Object { verb, resource: ResourceName::Kind(kind), project: None, name, uid: None })
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
