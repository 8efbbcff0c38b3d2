//! `POST /history/{seq}/revert` and `…/restore`: what was, brought back by new events under the caller's rights.
//!
//! Both decide everything first and say what it would come to: objects, and who gains and loses what. Nothing is taken
//! out of the log; the new events say in their header what they undo.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use mcpctl_core::access::{Ask, Verb};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::log::{LogError, LogReader, read_record};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::record::Header;
use mcpctl_core::refusal::{Refusal, Violation};
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use mcpctl_projections::undo::Plan;

use super::app::App;
use super::auth::Authenticated;
use super::group::{Foreseen, Group};
use super::objects::{Call, is_dry_run, outcome_word};
use super::point::Point;
use super::problem::{Answer, Result, invalid, not_found, problem};
use super::questions::blast::{Blast, of_foreseen};
use super::revocation::{self, Wait};
use super::target::{may, may_view};
use super::writer::{Committed, Submission, WriteError};
use super::{clock, history, prepare};
use crate::access_wire::SimulatedObject;
use crate::undo_wire::{UndoConflict, Undoing};

/// Most events that one revert undoes.
const EVENTS_MAX: u64 = 4096;

/// The route of revert; restore belongs to the routes of every kind.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/history/{seq}/revert", post(revert))
}

/// How it is asked.
#[derive(Clone, Copy)]
struct How {
    dry_run: bool,
    force: bool,
}

impl How {
    fn of(query: &HashMap<String, String>) -> Self {
        let force = query.get("force").is_some_and(|value| matches!(value.as_str(), "" | "1" | "true"));
        Self { dry_run: is_dry_run(query), force }
    }
}

async fn revert(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(seq): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response> {
    let state = app.published.load();
    let seq: Seq =
        seq.parse().map_err(|_| not_found(format!("{:?} is no seq", seq.chars().take(40).collect::<String>())))?;
    if seq == Seq(0) || seq > state.seq() {
        return Err(not_found(format!("there is no event {seq}: the log ends at {}", state.seq())));
    }
    let log = app.log.clone();
    let batch = tokio::task::spawn_blocking(move || Batch::around(&*log, seq)).await;
    let batch = batch.map_err(|error| unreadable(error.to_string()))?.map_err(|error| unreadable(error.to_string()))?;
    let seen = batch.objects.iter().all(|uid| {
        let then = [Seq(batch.first.0 - 1), batch.last].map(|seq| state.object_at(*uid, seq));
        then.into_iter().flatten().all(|object| may_view(&state, &caller, &object))
    });
    if !seen {
        let missing = format!("view what seq {seq} is about");
        return Err(Refusal::Forbidden { actor: caller.actor.to_string(), missing, at: state.seq() }.into());
    }
    let plan = state.undo(batch.first, batch.last, &batch.objects);
    let reason = if batch.first == batch.last {
        format!("reverts seq {seq}")
    } else {
        format!("reverts seq {} to {}", batch.first, batch.last)
    };
    finish(app, caller, plan, reason, How::of(&query)).await
}

fn unreadable(why: String) -> Answer {
    tracing::error!(%why, "the log can't be read");
    problem(StatusCode::SERVICE_UNAVAILABLE, "log", "The log can't be read", why)
}

/// Answers `POST …/restore?at=`.
pub(super) async fn restore(call: &Call) -> Result<Response> {
    let state = call.app.published.load();
    let Some(point) = Point::of(&state, &call.query)? else {
        let message = "is missing: the point that is brought back".to_owned();
        let hint = Some("a seq, a moment, or `2 days ago`".to_owned());
        return Err(invalid(vec![Violation { field: "at".to_owned(), message, hint }]));
    };
    let target = &call.target;
    let name = target.parsed_name()?;
    let project = target.project.as_deref().map(|text| Name::parse(NameRule::Label, text)).transpose();
    let project = project.map_err(|error| not_found(error.to_string()))?;
    let view = state.at(point.seq);
    let scope = project.as_ref().and_then(|project| view.by_name(mcpctl_core::kinds::Kind::Project, None, project));
    let was = view.by_name(target.kind, scope.map(|project| project.meta.uid), &name);
    let Some(was) = was.filter(|was| may_view(&state, &call.caller, was)) else {
        let ask = Ask::named(Verb::View, target.kind, None, &name);
        if may(&state, &call.caller, &ask) {
            let hint = format!("see `mcpctl history {}/{name}`", target.kind);
            return Err(not_found(format!("{}/{name} did not exist at seq {}", target.kind, point.seq)).hint(hint));
        }
        return Err(target.hidden(&state, &call.caller, Verb::View));
    };
    let reason = format!("restores {} as of seq {}", was.title(), point.seq);
    let plan = state.restore(target.kind, project.as_ref(), &name, point.seq).unwrap_or_default();
    finish(call.app.clone(), call.caller.clone(), plan, reason, How::of(&call.query)).await
}

/// The events that were decided together, and those of the same request.
struct Batch {
    first: Seq,
    last: Seq,
    objects: BTreeSet<Uid>,
}

impl Batch {
    fn around(log: &dyn LogReader, seq: Seq) -> std::result::Result<Self, LogError> {
        let header = |seq| Ok::<_, LogError>(read_record(log, seq)?.map(|record| record.header));
        let Some(this) = header(seq)? else { return Ok(Self { first: seq, last: seq, objects: BTreeSet::new() }) };
        let mut batch = Self { first: seq, last: seq, objects: BTreeSet::from([this.object]) };
        while batch.first > Seq(1) && batch.last.0 - batch.first.0 < EVENTS_MAX {
            let Some(other) = header(Seq(batch.first.0 - 1))?.filter(|other| together(&this, other)) else { break };
            batch.first = other.seq;
            batch.objects.insert(other.object);
        }
        while batch.last.0 - batch.first.0 < EVENTS_MAX {
            let Some(other) = header(batch.last.next())?.filter(|other| together(&this, other)) else { break };
            batch.last = other.seq;
            batch.objects.insert(other.object);
        }
        Ok(batch)
    }
}

/// Whether two events are of one command, or of commands that one request gave together.
fn together(one: &Header, other: &Header) -> bool {
    let of_request = |header: &Header| {
        let id = header.request.as_ref()?.as_str();
        let (id, number) = id.rsplit_once('.')?;
        number.parse::<u32>().ok().map(|_| id.to_owned())
    };
    one.authz.at == other.authz.at
        || (one.actor == other.actor && of_request(one).is_some() && of_request(one) == of_request(other))
}

/// Foresees a plan, and unless it is a dry run does it.
async fn finish(app: Arc<App>, caller: Authenticated, plan: Plan, reason: String, how: How) -> Result<Response> {
    if plan.steps.is_empty() && !plan.lost.is_empty() {
        let detail = format!("this can't be undone: {}", plan.lost.join("; "));
        return Err(problem(StatusCode::CONFLICT, "irreversible", "Not reversible", detail));
    }
    let state = app.published.load();
    let mut undoing = {
        let (state, caller, plan, reason) = (state.clone(), caller.clone(), plan.clone(), reason.clone());
        let told = tokio::task::spawn_blocking(move || foresee(&state, &caller, &plan, reason)).await;
        told.map_err(|error| {
            tracing::error!(%error, "undoing could not be foreseen");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", "see the log of mcpd")
        })??
    };
    if how.dry_run || plan.steps.is_empty() {
        return Ok(axum::Json(undoing).into_response());
    }
    if !plan.conflicts.is_empty() && !how.force {
        return Err(in_conflict(&undoing.conflicts));
    }
    let committed = carry_out(app, caller, plan, reason).await?;
    undoing.seq = committed.iter().map(|committed| committed.seq).max().unwrap_or(undoing.seq);
    undoing.done = true;
    Ok(axum::Json(undoing).into_response())
}

fn in_conflict(conflicts: &[UndoConflict]) -> Answer {
    let line = |conflict: &UndoConflict| {
        let since: Vec<String> = conflict.since.iter().map(ToString::to_string).collect();
        let by = if since.is_empty() { String::new() } else { format!(" (seq {})", since.join(", ")) };
        format!("{}: {}{by}", conflict.object, conflict.why)
    };
    let detail = conflicts.iter().map(line).collect::<Vec<_>>().join("; ");
    problem(StatusCode::CONFLICT, "conflict", "Changed in the meantime", detail)
        .hint("undo the later events first, or use force to undo what they did as well")
}

fn submissions(plan: &Plan, caller: &Authenticated, stated: bool) -> Vec<Submission> {
    let each = plan.steps.iter().map(|step| step.command(stated));
    each.map(|command| Submission::by(caller, command, None)).collect()
}

/// What the plan comes to. Decided as it will be: with the rights of the caller, all or nothing.
fn foresee(state: &State, caller: &Authenticated, plan: &Plan, reason: String) -> Result<Undoing> {
    let foreseen = Group::foresee(state.clone(), &submissions(plan, caller, false));
    let foreseen = foreseen.map_err(|error| about(plan, error))?;
    let Blast { access, complete, .. } = of_foreseen(state, caller, &foreseen);
    let conflicts = plan.conflicts.iter().cloned();
    Ok(Undoing {
        reason,
        done: false,
        seq: state.seq(),
        objects: objects(plan, &foreseen),
        lost: plan.lost.clone(),
        conflicts: conflicts.map(|c| UndoConflict { object: c.object, since: c.since, why: c.why }).collect(),
        access,
        complete,
    })
}

fn objects(plan: &Plan, foreseen: &Foreseen) -> Vec<SimulatedObject> {
    let now = clock::now();
    let each = plan.steps.iter().zip(&foreseen.committed).map(|(step, committed)| {
        let after = committed.object.as_ref().filter(|_| step.change.word() != "delete");
        let changes = after.map(|object| history::changes(committed.before.as_ref(), object, now));
        let outcome = outcome_word(committed.outcome).to_owned();
        SimulatedObject { object: step.title(), outcome, changes: changes.unwrap_or_default() }
    });
    each.collect()
}

/// A refusal that says which object it is about.
fn about(plan: &Plan, error: WriteError) -> Answer {
    let title = match &error {
        WriteError::Refused { index, .. } => plan.steps.get(*index).map(mcpctl_projections::undo::Step::title),
        _ => None,
    };
    let mut answer = Answer::from(error);
    if let Some(title) = title {
        answer.0.detail = format!("{title}: {}", answer.0.detail);
    }
    answer
}

/// Does it, if everything is still as it was when the plan was made. It goes on to its end when the caller hangs up.
async fn carry_out(app: Arc<App>, caller: Authenticated, plan: Plan, reason: String) -> Result<Vec<Committed>> {
    let (titles, hub) = (plan.clone(), app.hub.clone());
    let work = async move {
        // Versions are stated when something changed meanwhile: then the command about it is refused, and so are all.
        let following = move |state: &State| submissions(&plan, &caller, !plan.fits(state));
        let result = app.writer.submit_for(reason, following).await;
        if let Ok(all) = &result {
            all.iter().for_each(|committed| prepare::shred_old(&app, committed, &[]));
        }
        result
    };
    let done = tokio::spawn(work).await.unwrap_or(Err(WriteError::NoAnswer));
    let committed = done.map_err(|error| about(&titles, error))?;
    revocation::fenced(&hub, Wait::UntilDead, &committed).await?;
    Ok(committed)
}
