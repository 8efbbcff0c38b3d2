//! The evidence over HTTP: `/log/config/…` and `/log/audit/…`, where clients of C2SP tlog-tiles look. Who is signed in may
//! see that nothing was changed (checkpoints, tiles, consistency); entries themselves, and proofs of them, are for who may
//! read the audit log.
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mcpctl_core::access::{Ask, decide};
use mcpctl_core::actor::ActorKind;
use mcpctl_core::ids::Seq;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use mcpctl_tlog::Resource;
use tokio::sync::Semaphore;

use super::{Evidence, EvidenceError, LogName};
use crate::plane::AuditEntry;
use crate::server::app::App;
use crate::server::auth::Authenticated;
use crate::server::clock;
use crate::server::problem::{Answer, Result, not_found, problem};
use crate::wire::Consistency;

/// The operation that reading events takes.
pub const MAY_READ: &str = "audit";
/// Most answers that are put together at once: each reads files.
static LOOKS: Semaphore = Semaphore::const_new(4);

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    LogName::ALL.into_iter().fold(Router::new(), |router, log| router.merge(routes_of(log)))
}

fn routes_of(log: LogName) -> Router<Arc<App>> {
    let at = |path: &str| format!("/log/{log}{path}");
    let tile = get(move |app, caller, parts| tile(log, app, caller, parts));
    Router::new()
        .route(&at("/checkpoint"), get(move |app, caller| checkpoint(log, app, caller)))
        .route(&at("/key"), get(move |app, caller| key(log, app, caller)))
        .route(&at("/tile/{level}/{a}"), tile.clone())
        .route(&at("/tile/{level}/{a}/{b}"), tile.clone())
        .route(&at("/tile/{level}/{a}/{b}/{c}"), tile.clone())
        .route(&at("/tile/{level}/{a}/{b}/{c}/{d}"), tile)
        .route(&at("/consistency/{size}"), get(move |app, caller, size| consistency(log, app, caller, size)))
        .route(&at("/proof/{seq}"), get(move |app, caller, seq| proof(log, app, caller, seq)))
        .route(&at("/event/{seq}"), get(move |app, caller, seq| event(log, app, caller, seq)))
}

type Parts = Path<Vec<(String, String)>>;

async fn checkpoint(log: LogName, Shared(app): Shared<Arc<App>>, caller: Authenticated) -> Result<Response> {
    signed_in(&caller)?;
    served(&app, log, TEXT, |evidence| evidence.resource(Resource::Checkpoint)).await
}

async fn key(log: LogName, Shared(app): Shared<Arc<App>>, caller: Authenticated) -> Result<Response> {
    signed_in(&caller)?;
    Ok(([(header::CONTENT_TYPE, TEXT)], format!("{}\n", app.evidence_of(log).key().as_str())).into_response())
}

/// The parts of a tile's number are segments of their own: four are enough for 10^9 tiles and a partial one.
async fn tile(
    log: LogName,
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(parts): Parts,
) -> Result<Response> {
    let path = parts.iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join("/");
    let resource: std::result::Result<Resource, _> = format!("tile/{path}").parse();
    let resource = resource.map_err(|error| not_found(error.to_string()))?;
    if matches!(resource, Resource::Entries { .. }) {
        may_read(&app, &caller, "log/entries", &named(log, &path))?;
    } else {
        signed_in(&caller)?;
    }
    served(&app, log, BYTES, move |evidence| evidence.resource(resource)).await
}

async fn consistency(
    log: LogName,
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(size): Path<u64>,
) -> Result<axum::Json<Consistency>> {
    signed_in(&caller)?;
    let found = looked_up(&app, log, move |evidence| evidence.prove_prefix(size)).await?;
    let (proof, signed) = found.ok_or_else(|| not_found("the log was never of that size"))?;
    let checkpoint = String::from_utf8_lossy(&signed.note).into_owned();
    Ok(axum::Json(Consistency { checkpoint, proof: proof.iter().map(ToString::to_string).collect() }))
}

async fn proof(
    log: LogName,
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(seq): Path<u64>,
) -> Result<Response> {
    may_read(&app, &caller, "log/proof", &named(log, &seq.to_string()))?;
    served(&app, log, TEXT, move |evidence| Ok(evidence.prove(Seq(seq))?.map(|(_, proof)| proof.to_bytes()))).await
}

async fn event(
    log: LogName,
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(seq): Path<u64>,
) -> Result<Response> {
    may_read(&app, &caller, "log/event", &named(log, &seq.to_string()))?;
    served(&app, log, BYTES, move |evidence| Ok(evidence.prove(Seq(seq))?.map(|(event, _)| event))).await
}

/// What was looked at, for the entry about the look.
fn named(log: LogName, what: &str) -> String {
    match log {
        LogName::Config => what.to_owned(),
        other => format!("{other}/{what}"),
    }
}

/// A person. What a token may reach is its project.
fn signed_in(caller: &Authenticated) -> Result<()> {
    if caller.project.is_some() || caller.actor.kind == ActorKind::McpToken {
        return Err(problem(
            StatusCode::FORBIDDEN,
            "outside-project",
            "Outside the token's project",
            "the log is for people",
        ));
    }
    Ok(())
}

/// Events say who was given what. Reading them takes the right to read the audit log, and is recorded there.
fn may_read(app: &App, caller: &Authenticated, method: &str, what: &str) -> Result<()> {
    signed_in(caller)?;
    let (state, now) = (app.published.load(), clock::now());
    let verdict = decide(&*state, &caller.actor, &Ask::Operation(MAY_READ), now.max(state.last_at()));
    let entry = AuditEntry {
        at: now,
        kind: "audit-read".to_owned(),
        method: method.to_owned(),
        actor: Some(caller.actor.clone()),
        tool: Some(what.chars().take(60).collect()),
        allowed: verdict.allowed,
        seq: state.seq(),
        outcome: if verdict.allowed { "ok" } else { "denied" }.to_owned(),
        ..AuditEntry::default()
    };
    app.audit.append(entry).map_err(|error| unavailable(error.to_string()))?;
    if verdict.allowed {
        return Ok(());
    }
    let missing = Ask::Operation(MAY_READ).to_string();
    Err(Refusal::Forbidden { actor: caller.actor.to_string(), missing, at: verdict.at }.into())
}

fn unavailable(why: String) -> Answer {
    problem(StatusCode::SERVICE_UNAVAILABLE, "evidence", "The evidence can't be had", why).retry_after(1)
}

async fn looked_up<T: Send + 'static>(
    app: &Arc<App>,
    log: LogName,
    look: impl FnOnce(&Evidence) -> std::result::Result<T, EvidenceError> + Send + 'static,
) -> Result<T> {
    let evidence = app.evidence_of(log).clone();
    if let Some(why) = evidence.alarm() {
        return Err(problem(StatusCode::SERVICE_UNAVAILABLE, "log-altered", "The log was altered", why));
    }
    if evidence.newest().is_none() {
        return Err(unavailable("the tree is not level with the log yet: try again in a moment".to_owned()));
    }
    let _look = LOOKS.acquire().await.map_err(|error| unavailable(error.to_string()))?;
    let found = tokio::task::spawn_blocking(move || look(&evidence)).await;
    found.map_err(|error| unavailable(error.to_string()))?.map_err(|error| {
        if let EvidenceError::Gone { .. } = error {
            return problem(StatusCode::GONE, "gone", "Erased or dropped", error.to_string());
        }
        tracing::error!(%error, "the evidence can't be read");
        unavailable(error.to_string())
    })
}

async fn served(
    app: &Arc<App>,
    log: LogName,
    media: &'static str,
    look: impl FnOnce(&Evidence) -> std::result::Result<Option<Vec<u8>>, EvidenceError> + Send + 'static,
) -> Result<Response> {
    let found = looked_up(app, log, look).await?.ok_or_else(|| not_found("the log has not that many entries"))?;
    Ok(([(header::CONTENT_TYPE, media)], found).into_response())
}
