//! What gateways ask with their callers' bearers: may this caller open this project, and tell me when that changes.
//!
//! A gateway has no credential of its own, so all of this is about the caller whose bearer it shows.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcpctl_core::ids::Seq;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::auth::bearer;
use super::clock;
use super::problem::{Answer, problem, unauthorized};
use crate::client::gateway_wire::{AdmittedView, DenialProblem, DenialWire, Happened, PING_MS, WatchLine};
use crate::plane::{Admission, AuditEntry, CallerBearer, Denial, Plane, rule};
use crate::wire::Done;

/// A reader that lets a line wait for so long is cut: what it would read then is no news.
const SLOW: Duration = Duration::from_secs(2);
/// Most entries of one request.
const ENTRIES_MAX: usize = 100;
/// Sorts of entries that a gateway writes.
const GATEWAY_KINDS: &[&str] = &["call", "list", "refusal", "session"];
/// How far an entry may lie back.
const ENTRY_AGE_MS_MAX: u64 = 10 * 60 * 1000;

/// What the routes for gateways need of the control plane.
#[derive(Clone)]
pub struct ForGateways {
    pub(super) plane: Arc<dyn Plane>,
    states: watch::Receiver<Arc<State>>,
    pub(super) stop: CancellationToken,
}

impl ForGateways {
    /// The plane of this process, the newest state, and what ends open streams when the control plane stops.
    #[must_use]
    pub fn new(plane: Arc<dyn Plane>, states: watch::Receiver<Arc<State>>, stop: CancellationToken) -> Self {
        Self { plane, states, stop }
    }
}

/// Routes under `/api/v1/projects/{name}`, and the proxy.
pub fn routes<S: Clone + Send + Sync + 'static>(parts: ForGateways) -> Router<S> {
    Router::new()
        .route("/api/v1/projects/{name}/view", get(view))
        .route("/api/v1/projects/{name}/watch", get(follow))
        .route("/api/v1/projects/{name}/audit", post(record))
        .merge(super::mcp_proxy::routes())
        .with_state(parts)
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

async fn view(Shared(parts): Shared<ForGateways>, Path(project): Path<String>, headers: HeaderMap) -> Response {
    let bearer = match bearer_of(&headers) {
        Ok(bearer) => bearer,
        Err(refused) => return refused.into_response(),
    };
    match parts.plane.admit(&bearer, &project).await {
        Ok(admission) => axum::Json(shown(&admission)).into_response(),
        Err(denial) => denied(&denial),
    }
}

fn shown(admission: &Admission) -> AdmittedView {
    AdmittedView {
        project: (*admission.project).clone(),
        caller: (*admission.caller).clone(),
        via: admission.via.to_vec(),
        seq: admission.seq,
    }
}

#[derive(Deserialize)]
struct From {
    from: Option<Seq>,
}

async fn follow(
    Shared(parts): Shared<ForGateways>,
    Path(project): Path<String>,
    Query(From { from }): Query<From>,
    headers: HeaderMap,
) -> Response {
    let opened = Instant::now();
    let bearer = match bearer_of(&headers) {
        Ok(bearer) => bearer,
        Err(refused) => return refused.into_response(),
    };
    // Subscribed before the first look, so that nothing falls in between.
    let mut states = parts.states.clone();
    states.mark_unchanged();
    let admission = match parts.plane.admit(&bearer, &project).await {
        Ok(admission) => admission,
        Err(denial) => return denied(&denial),
    };
    let mut ticks = interval_at(opened, Duration::from_millis(PING_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher { from, opened, told: opened, states, ticks, bearer, project, admission, parts, over: false };
    let lines = futures::stream::unfold(watcher, |mut watcher| async move {
        let line = watcher.next().await?;
        let mut text = serde_json::to_vec(&line).ok()?;
        text.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(text)), watcher))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], Body::from_stream(lines))
        .into_response()
}

/// One stream: it is asked for a line whenever the reader has taken the one before.
struct Watcher {
    from: Option<Seq>,
    opened: Instant,
    told: Instant,
    states: watch::Receiver<Arc<State>>,
    ticks: tokio::time::Interval,
    bearer: CallerBearer,
    project: String,
    admission: Admission,
    parts: ForGateways,
    over: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<WatchLine> {
        if self.over || self.told.elapsed() > SLOW {
            return None;
        }
        let line = match self.from.take() {
            Some(from) if from > self.admission.seq => self.line(self.admission.seq, Happened::Resync),
            Some(from) if from < self.admission.seq => self.line(self.admission.seq, Happened::Event),
            _ => self.wait().await?,
        };
        self.told = Instant::now();
        Some(line)
    }

    async fn wait(&mut self) -> Option<WatchLine> {
        loop {
            tokio::select! {
                biased;
                () = self.parts.stop.cancelled() => return None,
                changed = self.states.changed() => {
                    changed.ok()?;
                    self.states.mark_unchanged();
                    if let Some(line) = self.look_again().await {
                        return Some(line);
                    }
                }
                _ = self.ticks.tick() => {
                    let open_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
                    return Some(self.line(self.admission.seq, Happened::Ping { open_ms }));
                }
            }
        }
    }

    /// Decides anew. Whatever is not exactly as it was is told.
    async fn look_again(&mut self) -> Option<WatchLine> {
        match self.parts.plane.admit(&self.bearer, &self.project).await {
            Ok(now) => {
                let same = now.project == self.admission.project
                    && now.caller == self.admission.caller
                    && now.via == self.admission.via
                    && !self.admission.cut.is_cancelled();
                let seq = now.seq;
                self.admission = now;
                (!same).then(|| self.line(seq, Happened::Event))
            }
            Err(denial) => {
                self.over = true;
                let seq = self.states.borrow().seq();
                Some(self.line(seq, Happened::Cut { denial: DenialWire::from(&denial) }))
            }
        }
    }

    const fn line(&self, seq: Seq, what: Happened) -> WatchLine {
        WatchLine { seq, what }
    }
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
    let bearer = match bearer_of(&headers) {
        Ok(bearer) => bearer,
        Err(refused) => return refused.into_response(),
    };
    let entries = match serde_json::from_slice(&body) {
        Ok(Entries::One(entry)) => vec![*entry],
        Ok(Entries::Many(entries)) if entries.len() <= ENTRIES_MAX => entries,
        Ok(Entries::Many(_)) => return malformed(format!("at most {ENTRIES_MAX} entries may be sent at once")),
        Err(_) => return malformed("the body is neither an audit entry nor a list of them".to_owned()),
    };
    let admission = parts.plane.admit(&bearer, &project).await;
    if let Err(denial) = &admission
        && entries.iter().any(|entry| entry.allowed)
    {
        return denied(denial);
    }
    if let Some(entry) = entries.iter().find(|entry| !GATEWAY_KINDS.contains(&&*entry.kind)) {
        let kind: String = entry.kind.chars().take(40).collect();
        return malformed(format!("a gateway records no {kind:?}: use one of {}", GATEWAY_KINDS.join(", ")));
    }
    for entry in entries {
        let entry = attributed(entry, &bearer, &project, admission.as_ref().ok());
        if let Err(failed) = parts.plane.record(Some(&bearer), entry).await {
            let status = axum::http::StatusCode::SERVICE_UNAVAILABLE;
            return problem(status, "audit", "Not audited", failed.to_string()).into_response();
        }
    }
    axum::Json(Done { outcome: "created".to_owned(), seq: parts.plane.seq(), also: Vec::new() }).into_response()
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
    // What was asked, and what the answer rests on, is found out here; a gateway knows which of its filters it was.
    entry.asked = None;
    entry.rule = entry.rule.filter(|said| !entry.allowed && FILTERS.contains(&said.as_str()));
    entry
}

/// Rules by which a gateway refuses what the caller may open.
const FILTERS: [&str; 4] = [rule::NOT_SERVED, rule::NOT_IN_PROJECT, rule::UNKNOWN_METHOD, rule::CUT];

fn malformed(detail: String) -> Response {
    problem(axum::http::StatusCode::BAD_REQUEST, "malformed", "Malformed", detail).into_response()
}
