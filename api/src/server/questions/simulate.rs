//! `POST /access/simulate`: what manifests would do to access, decided like an `apply` by the caller, and done nowhere.
use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use mcpctl_core::access::{Ask, decide};
use mcpctl_core::at::At;
use mcpctl_core::manifest::Manifest;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use super::blast::{self, Blast};
use crate::access_wire::{RecordedCalls, SimulatedObject, Simulation};
use crate::plane::AuditEntry;
use crate::server::app::App;
use crate::server::audit::RIGHT;
use crate::server::auth::Authenticated;
use crate::server::group::{Foreseen, Group};
use crate::server::objects::outcome_word;
use crate::server::problem::{Result, problem};
use crate::server::replay::what_if::{TwoStates, flips};
use crate::server::writer::{Committed, Submission};
use crate::server::{apply_all, clock, history, prepare};

/// Answers the request.
pub(super) async fn answer(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let since = since(&app, &caller, &query)?;
    let manifests = apply_all::read(&headers, &body)?;
    let actions = manifests.iter().map(|manifest| prepare::foreseen(&app, &caller, manifest)).collect::<Result<_>>()?;
    let submissions = apply_all::submissions(&caller, &manifests, actions, None);
    let state = app.published.load();
    let _place = super::place().await?;
    // A copy is decided on, beside the writer: a simulation keeps nobody waiting.
    let work = move || {
        let (simulated, foreseen) = simulate(&state, &caller, &manifests, &submissions)?;
        let recorded = since.map(|since| recorded(&app, &state, &foreseen.state, since)).transpose()?;
        Ok(Simulation { recorded, ..simulated })
    };
    let simulated = tokio::task::spawn_blocking(work).await;
    let simulated = simulated.unwrap_or_else(|error| {
        tracing::error!(%error, "a simulation failed");
        Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", "see the log of mcpd"))
    })?;
    Ok(axum::Json(simulated).into_response())
}

pub(super) fn simulate(
    state: &State,
    caller: &Authenticated,
    manifests: &[Manifest],
    submissions: &[Submission],
) -> Result<(Simulation, Foreseen)> {
    let foreseen = Group::foresee(state.clone(), submissions).map_err(|error| apply_all::about(manifests, error))?;
    let objects = manifests.iter().zip(&foreseen.committed).map(|(manifest, committed)| object(manifest, committed));
    let objects = objects.collect();
    let Blast { access, added, complete } = blast::of_foreseen(state, caller, &foreseen);
    Ok((Simulation { seq: state.seq(), objects, access, added, complete, recorded: None }, foreseen))
}

/// Since when recorded calls are to be looked at, which takes the right to read the audit log.
fn since(app: &App, caller: &Authenticated, query: &HashMap<String, String>) -> Result<Option<Timestamp>> {
    let Some(text) = query.get("replay") else { return Ok(None) };
    let state = app.published.load();
    let now = clock::now().max(state.last_at());
    let at: At =
        text.parse().map_err(|error: mcpctl_core::at::InvalidAt| super::violation("replay", error.to_string()))?;
    let ask = Ask::Operation(RIGHT);
    let verdict = decide(&*state, &caller.actor, &ask, now);
    if !verdict.allowed {
        let missing = ask.to_string();
        return Err(Refusal::Forbidden { actor: caller.actor.to_string(), missing, at: verdict.at }.into());
    }
    let moment = match at {
        At::Seq(seq) => state.time_of(seq),
        At::Moment(_) | At::Ago(_) => at.moment(now),
    };
    // Recorded as every look at the audit log is.
    let looked = AuditEntry {
        at: clock::now(),
        kind: "audit-read".to_owned(),
        method: "POST /access/simulate".to_owned(),
        actor: Some(caller.actor.clone()),
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    };
    app.audit
        .append(looked.decided(&ask, &verdict))
        .map_err(|error| problem(StatusCode::SERVICE_UNAVAILABLE, "audit", "The audit log fails", error.to_string()))?;
    moment.map(Some).ok_or_else(|| super::violation("replay", format!("there is no event {text}")))
}

/// The recorded calls that would be answered otherwise.
fn recorded(app: &App, now: &State, after: &State, since: Timestamp) -> Result<RecordedCalls> {
    let states = TwoStates { now, after, moment: clock::now().max(after.last_at()) };
    flips(&app.audit, &states, since).map_err(|error| {
        tracing::error!(%error, "the audit log can't be read");
        problem(StatusCode::SERVICE_UNAVAILABLE, "audit", "The audit log fails", error.to_string())
    })
}

fn object(manifest: &Manifest, committed: &Committed) -> SimulatedObject {
    let changed = committed.object.as_ref().filter(|object| {
        committed.before.as_ref().is_none_or(|before| before.meta.resource_version < object.meta.resource_version)
    });
    let now = clock::now();
    let changes = changed.map(|object| history::changes(committed.before.as_ref(), object, now)).unwrap_or_default();
    SimulatedObject { object: apply_all::title(manifest), outcome: outcome_word(committed.outcome).to_owned(), changes }
}
