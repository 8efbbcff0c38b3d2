//! The evidence over HTTP: `/log/config/…` and `/log/audit/…`, where clients of C2SP tlog-tiles look. Who is signed in may
//! see that nothing was changed (checkpoints, tiles, consistency); entries themselves, and proofs of them, are for who may
//! read the audit log.
use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mcpctl_core::access::{Ask, RoleBinding, decide};
use mcpctl_core::actor::ActorKind;
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::SubjectRef;
use mcpctl_core::refusal::{Refusal, Violation};
use mcpctl_core::world::World as _;
use mcpctl_tlog::Resource;
use tokio::sync::Semaphore;

use super::state_roots::grant_facts;
use super::{Evidence, EvidenceError, LogName};
use crate::plane::AuditEntry;
use crate::server::app::App;
use crate::server::audit::AuditRecord;
use crate::server::auth::Authenticated;
use crate::server::clock;
use crate::server::point::Point;
use crate::server::problem::{Answer, Result, invalid, not_found, problem};
use crate::wire::{Consistency, GrantProof, ProvedRoot};

/// The operation that reading events takes.
pub const MAY_READ: &str = "audit";
/// Most answers that are put together at once: each reads files.
static LOOKS: Semaphore = Semaphore::const_new(4);

/// How long a request waits for the tree to be level with an entry, and how often it looks.
const LEVEL_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);
const LOOK_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(10);

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    let more = Router::new().route("/log/audit/details/{seq}", get(details)).route("/log/state/grant", get(grant));
    LogName::ALL.into_iter().fold(more, |router, log| router.merge(routes_of(log)))
}

fn routes_of(log: LogName) -> Router<Arc<App>> {
    let at = |path: &str| format!("/log/{log}{path}");
    let tile = get(move |app, caller, parts| tile(log, app, caller, parts));
    Router::new()
        .route(&at("/checkpoint"), get(move |app, caller| checkpoint(log, app, caller)))
        .route(&at("/witnessed"), get(move |app, caller| witnessed(log, app, caller)))
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

/// The newest checkpoint with the cosignatures that the policy asks for.
async fn witnessed(log: LogName, Shared(app): Shared<Arc<App>>, caller: Authenticated) -> Result<Response> {
    signed_in(&caller)?;
    let note = app.witnesses.note(log).ok_or_else(|| not_found("no checkpoint of this log was cosigned yet"))?;
    Ok(([(header::CONTENT_TYPE, TEXT)], note).into_response())
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
    level_with(&app, log, seq).await;
    served(&app, log, TEXT, move |evidence| Ok(evidence.prove(Seq(seq))?.map(|(_, proof)| proof.to_bytes()))).await
}

async fn event(
    log: LogName,
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(seq): Path<u64>,
) -> Result<Response> {
    may_read(&app, &caller, "log/event", &named(log, &seq.to_string()))?;
    level_with(&app, log, seq).await;
    served(&app, log, BYTES, move |evidence| Ok(evidence.prove(Seq(seq))?.map(|(event, _)| event))).await
}

/// What the header of an audit entry commits to: the nonce, and the details behind it. 410 when they were erased.
async fn details(Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(seq): Path<u64>) -> Result<Response> {
    may_read(&app, &caller, "log/details", &named(LogName::Audit, &seq.to_string()))?;
    let audit = app.audit.clone();
    served(&app, LogName::Audit, BYTES, move |_| {
        let Some(bytes) = audit.reader().read(Seq(seq))? else { return Ok(None) };
        let entry = |source| EvidenceError::Entry { position: seq, source };
        let record = AuditRecord::read(&bytes).map_err(entry)?;
        record.check().map_err(entry)?;
        match record {
            AuditRecord::Whole { nonce, details, .. } => Ok(Some([&nonce[..], details].concat())),
            _ => Err(EvidenceError::Gone { what: format!("what lies beside the entry at position {seq}") }),
        }
    })
    .await
}

/// Whether a grant was in force at a point: the state root of then, the facts under it, and their proofs.
async fn grant(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Query(query): Query<HashMap<String, String>>,
) -> Result<axum::Json<GrantProof>> {
    let text = |field: &str| query.get(field).cloned().unwrap_or_default();
    let (subject, wanted) = (text("subject"), text("grant"));
    may_read(&app, &caller, "log/grant", &format!("{subject} {wanted}"))?;
    let wrong =
        |field: &str, message: String| invalid(vec![Violation { field: field.to_owned(), message, hint: None }]);
    let subject: SubjectRef = subject.parse().map_err(|message| wrong("subject", message))?;
    let wanted: RoleBinding = wanted.parse().map_err(|message| wrong("grant", message))?;
    let state = app.published.load();
    let seq = Point::of(&state, &query)?.map_or_else(|| state.seq(), |point| point.seq);
    if seq == Seq(0) {
        return Err(wrong("at", "nothing had happened then: no state is before the first event".to_owned()));
    }
    level_with(&app, LogName::State, seq.0).await;
    let found = looked_up(&app, LogName::State, move |evidence| {
        let proved = |seq: Seq| {
            let found = evidence.prove(seq)?;
            Ok::<_, EvidenceError>(found.map(|(record, proof)| ProvedRoot {
                record: String::from_utf8_lossy(&record).into_owned(),
                proof: String::from_utf8_lossy(&proof.to_bytes()).into_owned(),
            }))
        };
        let Some(root) = proved(seq)? else { return Ok(None) };
        let facts = grant_facts(&state, seq, &subject, &wanted);
        Ok(Some(GrantProof { seq, root, next: proved(seq.next())?, facts }))
    });
    let found = found.await?;
    found.map(axum::Json).ok_or_else(|| unavailable("the state log is not level with that event yet".to_owned()))
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
        outcome: if verdict.allowed { "ok" } else { "denied" }.to_owned(),
        ..AuditEntry::default()
    };
    // What was asked is said, so that it can be decided again.
    let entry = entry.decided(&Ask::Operation(MAY_READ), &verdict);
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

/// Waits for a tree to take in an entry that is written already: a proof of what was just answered can be had at once.
async fn level_with(app: &App, log: LogName, position: u64) {
    let written = match log {
        LogName::Config | LogName::State => app.published.load().seq().0,
        LogName::Audit => app.audit.figures().head.0,
    };
    let evidence = app.evidence_of(log);
    let behind =
        || evidence.alarm().is_none() && evidence.newest().is_none_or(|newest| newest.checkpoint.size < position);
    let until = tokio::time::Instant::now() + LEVEL_WITHIN;
    while position <= written && behind() && tokio::time::Instant::now() < until {
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
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
