//! `POST /access/simulate`: what manifests would do to access, decided like an `apply` by the caller, and done nowhere.
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use mcpctl_core::manifest::Manifest;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use super::blast::{self, Blast};
use crate::access_wire::{SimulatedObject, Simulation};
use crate::server::app::App;
use crate::server::auth::Authenticated;
use crate::server::group::Group;
use crate::server::objects::outcome_word;
use crate::server::problem::{Result, problem};
use crate::server::writer::{Committed, Submission};
use crate::server::{apply_all, clock, history, prepare};

/// Answers the request.
pub(super) async fn answer(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let manifests = apply_all::read(&headers, &body)?;
    let actions = manifests.iter().map(|manifest| prepare::foreseen(&app, &caller, manifest)).collect::<Result<_>>()?;
    let submissions = apply_all::submissions(&caller, &manifests, actions, None);
    let state = app.published.load();
    let _place = super::place().await?;
    // A copy is decided on, beside the writer: a simulation keeps nobody waiting.
    let simulated = tokio::task::spawn_blocking(move || simulate(&state, &caller, &manifests, &submissions)).await;
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
) -> Result<Simulation> {
    let foreseen = Group::foresee(state.clone(), submissions).map_err(|error| apply_all::about(manifests, error))?;
    let objects = manifests.iter().zip(&foreseen.committed).map(|(manifest, committed)| object(manifest, committed));
    let objects = objects.collect();
    let Blast { access, added, complete } = blast::of_foreseen(state, caller, &foreseen);
    Ok(Simulation { seq: state.seq(), objects, access, added, complete })
}

fn object(manifest: &Manifest, committed: &Committed) -> SimulatedObject {
    let changed = committed.object.as_ref().filter(|object| {
        committed.before.as_ref().is_none_or(|before| before.meta.resource_version < object.meta.resource_version)
    });
    let now = clock::now();
    let changes = changed.map(|object| history::changes(committed.before.as_ref(), object, now)).unwrap_or_default();
    SimulatedObject { object: apply_all::title(manifest), outcome: outcome_word(committed.outcome).to_owned(), changes }
}
