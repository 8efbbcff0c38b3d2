//! What gateways ask with their callers' bearers: may this caller open this project, and write down what it did there.
//!
//! A gateway has no credential of its own, so all of this is about the caller whose bearer it shows.
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcpctl_core::ids::Seq;
use mcpctl_core::log::LogReader;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::audit::{Delivered, Ticket, entry_id};
use super::auth::bearer;
use super::clock;
use super::evidence::Evidence;
use super::plane_local::LocalPlane;
use super::problem::{Answer, problem, unauthorized};
use super::revocation::{About, Hub, Registered, anchor_at};
use crate::client::gateway_wire::{AdmittedView, DenialProblem, HANDLE, LOG_SIZE, SAW, STREAM, TICKET};
use crate::client::stream_wire::{Anchor, Handle, ShownLog};
use crate::cut::Why;
use crate::plane::{Admission, AuditEntry, CallerBearer, Denial, Plane as _, kind, rule};
use crate::wire::Done;

/// How often an introspection is decided anew because something was committed meanwhile.
const DECIDE_AGAIN_MAX: usize = 64;
/// Most entries of one request.
const ENTRIES_MAX: usize = 100;
/// Sorts of entries that a gateway writes.
const GATEWAY_KINDS: &[&str] = &["call", "list", "refusal", "session", kind::SESSION_CUT];
/// How far an entry may lie back.
const ENTRY_AGE_MS_MAX: u64 = 10 * 60 * 1000;

/// What the routes for gateways need of the control plane.
#[derive(Clone)]
pub struct ForGateways {
    pub(super) plane: Arc<LocalPlane>,
    hub: Arc<Hub>,
    log: Arc<dyn LogReader>,
    evidence: Arc<Evidence>,
    delivered: Arc<Delivered>,
    pub(super) stop: CancellationToken,
}

impl ForGateways {
    /// The plane of this process, who is told when something is taken away, the log with its evidence, and what ends open
    /// streams when the control plane stops.
    #[must_use]
    pub fn new(
        plane: Arc<LocalPlane>,
        hub: Arc<Hub>,
        (log, evidence): (Arc<dyn LogReader>, Arc<Evidence>),
        stop: CancellationToken,
    ) -> Self {
        Self { plane, hub, log, evidence, delivered: Arc::default(), stop }
    }
}

/// Routes under `/api/v1/projects/{name}`, and the proxy.
pub fn routes<S: Clone + Send + Sync + 'static>(parts: ForGateways) -> Router<S> {
    Router::new()
        .route("/api/v1/projects/{name}/view", get(view))
        .route("/api/v1/projects/{name}/audit", post(record))
        .merge(super::mcp_proxy::routes())
        .with_state(parts)
}

/// Whether a request delivers entries late: a ticket stands in place of its bearer.
pub(super) fn is_late(request: &Request) -> bool {
    let name = request.uri().path().strip_prefix("/api/v1/projects/").and_then(|rest| rest.strip_suffix("/audit"));
    let of_project = name.is_some_and(|name| !name.is_empty() && !name.contains('/'));
    of_project && request.method() == Method::POST && request.headers().contains_key(TICKET)
}

/// A denial as a problem that also says it in a form that a gateway can give on.
pub(super) fn denied(denial: &Denial) -> Response {
    let answer = Answer::from(denial.clone());
    let body = DenialProblem { problem: (*answer.0).clone(), denial: Some(denial.into()) };
    let mut response = answer.into_response();
    *response.body_mut() = Body::from(serde_json::to_vec(&body).unwrap_or_default());
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// The caller's bearer.
pub(super) fn bearer_of(headers: &HeaderMap) -> Result<CallerBearer, Answer> {
    let raw = bearer(headers).ok_or_else(|| unauthorized("the request carries no bearer"))?;
    Ok(CallerBearer::new(raw.to_owned()))
}

/// The introspection of a gateway: may this caller open the project now, and the handle with which the gateway learns when
/// that ends.
async fn view(Shared(parts): Shared<ForGateways>, Path(project): Path<String>, headers: HeaderMap) -> Response {
    let bearer = match bearer_of(&headers) {
        Ok(bearer) => bearer,
        Err(refused) => return refused.into_response(),
    };
    let named = |header: &str| headers.get(header).and_then(|value| value.to_str().ok()?.parse::<Handle>().ok());
    for _ in 0..DECIDE_AGAIN_MAX {
        let admission = match parts.plane.admit(&bearer, &project).await {
            Ok(admission) => admission,
            Err(denial) => return denied(&denial),
        };
        let about = About {
            whose: admission.whose(),
            digest: bearer.digest(),
            project: admission.project.name.clone(),
            expires_at: parts.plane.expires_at(&bearer.digest()),
        };
        match parts.hub.register(about, admission.seq, named(HANDLE), named(STREAM)) {
            Registered::Told { handle, held } => {
                let ticket = parts.plane.audit().tickets().sign(&Ticket::from(&admission));
                let log = log(&parts, &headers);
                let checkpoint = checkpoint(&parts, &headers).await;
                let view = AdmittedView { ticket, log, shown: checkpoint, ..shown(&admission, handle, held) };
                return axum::Json(view).into_response();
            }
            Registered::Behind => {}
            Registered::Full => return denied(&Denial::Unavailable("too many callers are watched".to_owned())),
        }
    }
    denied(&Denial::Unavailable("the state changes faster than it can be looked at".to_owned()))
}

fn shown(admission: &Admission, watch_handle: Handle, held: bool) -> AdmittedView {
    AdmittedView {
        project: (*admission.project).clone(),
        caller: (*admission.caller).clone(),
        via: admission.via.to_vec(),
        seq: admission.seq,
        watch_handle,
        ticket: String::new(),
        held,
        log: None,
        shown: None,
    }
}

/// What the log has at the place that the gateway asks about.
fn log(parts: &ForGateways, headers: &HeaderMap) -> Option<Anchor> {
    let saw: Seq = headers.get(SAW)?.to_str().ok()?.parse().ok()?;
    anchor_at(&*parts.log, saw)
}

/// The newest checkpoint, when the gateway asks for it.
async fn checkpoint(parts: &ForGateways, headers: &HeaderMap) -> Option<ShownLog> {
    let size: u64 = headers.get(LOG_SIZE)?.to_str().ok()?.parse().ok()?;
    parts.evidence.show(size).await
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entries {
    One(Box<AuditEntry>),
    Many(Vec<AuditEntry>),
}

/// Records what a gateway did for the bearer. Whoever may not open the project may still have its refusal recorded.
async fn record(
    Shared(parts): Shared<ForGateways>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(ticket) = headers.get(TICKET) {
        return late(&parts, &project, ticket.to_str().unwrap_or_default(), &body).await;
    }
    let bearer = match bearer_of(&headers) {
        Ok(bearer) => bearer,
        Err(refused) => return refused.into_response(),
    };
    let admission = parts.plane.admit(&bearer, &project).await;
    let entries = match (read_entries(&body), &admission) {
        (Ok(entries), _) => entries,
        // Who may not come in is not told what is wrong with what they brought.
        (Err(_), Err(denial)) => return denied(denial),
        (Err(detail), Ok(_)) => return malformed(detail),
    };
    if let Err(denial) = &admission
        && entries.iter().any(|entry| entry.allowed)
    {
        return denied(denial);
    }
    for entry in entries {
        let entry = attributed(entry, &bearer, &project, admission.as_ref().ok());
        let id = entry.id.as_deref().and_then(entry_id);
        if let Err(failed) = parts.plane.record(Some(&bearer), entry).await {
            return not_audited(&failed.to_string());
        }
        id.into_iter().for_each(|id| parts.delivered.note(id));
    }
    written(&parts)
}

/// Entries of the kinds that gateways write, not too many; else what is wrong with them.
fn read_entries(body: &[u8]) -> Result<Vec<AuditEntry>, String> {
    let entries = match serde_json::from_slice(body) {
        Ok(Entries::One(entry)) => vec![*entry],
        Ok(Entries::Many(entries)) if entries.len() <= ENTRIES_MAX => entries,
        Ok(Entries::Many(_)) => return Err(format!("at most {ENTRIES_MAX} entries may be sent at once")),
        Err(_) => return Err("the body is neither an audit entry nor a list of them".to_owned()),
    };
    match entries.iter().find(|entry| !GATEWAY_KINDS.contains(&&*entry.kind)) {
        None => Ok(entries),
        Some(entry) => {
            let kind: String = entry.kind.chars().take(40).collect();
            Err(format!("a gateway records no {kind:?}: use one of {}", GATEWAY_KINDS.join(", ")))
        }
    }
}

fn written(parts: &ForGateways) -> Response {
    axum::Json(Done { outcome: "created".to_owned(), seq: parts.plane.seq(), revocation: None, also: Vec::new() })
        .into_response()
}

fn not_audited(why: &str) -> Response {
    problem(axum::http::StatusCode::SERVICE_UNAVAILABLE, "audit", "Not audited", why).into_response()
}

/// Records what a gateway could not deliver at once. Whose access it was is what the ticket says. An entry that is there
/// already is not written again: the gateway was not answered the first time.
async fn late(parts: &ForGateways, project: &str, ticket: &str, body: &[u8]) -> Response {
    let Some(ticket) = parts.plane.audit().tickets().read(ticket).filter(|ticket| ticket.project == project) else {
        return unauthorized("the audit ticket is none of this control plane, or of another project").into_response();
    };
    let entries = match read_entries(body) {
        Ok(entries) => entries,
        Err(detail) => return malformed(detail),
    };
    let _turn = parts.delivered.turn.lock().await;
    for entry in entries {
        let Some(id) = entry.id.as_deref().and_then(entry_id) else {
            return malformed("an entry that is delivered late needs an `id` of 32 hexadecimal digits".to_owned());
        };
        match parts.delivered.has(parts.plane.audit(), &id).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => return not_audited(&error.to_string()),
        }
        if let Err(failed) = parts.plane.record(None, attributed_late(entry, &ticket)).await {
            return not_audited(&failed.to_string());
        }
        parts.delivered.note(id);
    }
    written(parts)
}

/// Who it was is what the ticket says. When it was is what the gateway says, as long as that is not to come: it may have
/// been away for long. Whether it was allowed is decided again, in the state that it names, when it is written.
fn attributed_late(mut entry: AuditEntry, ticket: &Ticket) -> AuditEntry {
    entry.at = entry.at.min(clock::now());
    entry.actor = Some(ticket.actor.clone());
    entry.owner.clone_from(&ticket.owner);
    entry.token_sha = ticket.token_sha;
    entry.project = Some(ticket.project.clone());
    found_out_here(entry)
}

/// What was asked, and what the answer rests on, is found out here; a gateway knows which of its filters it was.
fn found_out_here(mut entry: AuditEntry) -> AuditEntry {
    entry.asked = None;
    let known: &[&str] = if entry.kind == kind::SESSION_CUT { &Why::WORDS } else { &FILTERS };
    entry.rule = entry.rule.filter(|said| !entry.allowed && known.contains(&said.as_str()));
    entry
}

/// Who it was is what the bearer says, not what the body says; when it was lies within what a gateway may have waited.
fn attributed(mut entry: AuditEntry, bearer: &CallerBearer, project: &str, known: Option<&Admission>) -> AuditEntry {
    let now = clock::now();
    if now.since(entry.at) > ENTRY_AGE_MS_MAX || entry.at > now {
        entry.at = now;
    }
    entry.actor = known.map(|admission| admission.caller.actor.clone());
    entry.owner = known.and_then(|admission| admission.caller.owner.clone());
    entry.token_sha = known.map_or(Some(bearer.digest()), |admission| admission.caller.token_sha);
    entry.project = Some(project.to_owned());
    found_out_here(entry)
}

/// Rules by which a gateway refuses what the caller may open.
const FILTERS: [&str; 5] = [rule::NOT_SERVED, rule::QUARANTINED, rule::NOT_IN_PROJECT, rule::UNKNOWN_METHOD, rule::CUT];

fn malformed(detail: String) -> Response {
    problem(axum::http::StatusCode::BAD_REQUEST, "malformed", "Malformed", detail).into_response()
}
