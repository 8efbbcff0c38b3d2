//! `POST /audit/replay`: every mutation and every recorded decision made again, for who holds the operation `audit`.
//!
//! The answer is lines of JSON: how far it is now and then, and at the end what it came to.
mod again;
mod run;
#[cfg(test)]
mod tests;
pub(super) mod what_if;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use mcpctl_core::access::{Ask, decide};
use mcpctl_core::at::At;
use mcpctl_core::refusal::{Refusal, Violation};
use tokio::sync::{Semaphore, mpsc};

pub use self::run::{ReplayFailed, offline};
use self::run::{Running, run};
use super::app::App;
use super::audit::RIGHT;
use super::auth::Authenticated;
use super::problem::{Result, invalid, problem};
use super::{clock, json_body};
use crate::plane::AuditEntry;
use crate::replay_wire::{ReplayLine, ReplayRequest};

/// One replay at a time: it folds the whole log.
static TURN: Semaphore = Semaphore::const_new(1);
/// Lines that may wait for a slow reader; the replay waits with them.
const LINES: usize = 16;

/// The route.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/audit/replay", post(replay))
}

async fn replay(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let asked = read(&headers, &body)?;
    let (state, now) = (app.published.load(), clock::now());
    let ask = Ask::Operation(RIGHT);
    let verdict = decide(&*state, &caller.actor, &ask, now.max(state.last_at()));
    if !verdict.allowed {
        let missing = ask.to_string();
        return Err(Refusal::Forbidden { actor: caller.actor.to_string(), missing, at: verdict.at }.into());
    }
    let looked = AuditEntry {
        at: now,
        kind: "audit-read".to_owned(),
        method: "POST /audit/replay".to_owned(),
        actor: Some(caller.actor),
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    };
    let unavailable = |why: String| problem(StatusCode::SERVICE_UNAVAILABLE, "audit", "The audit log fails", why);
    app.audit.append(looked.decided(&ask, &verdict)).map_err(|error| unavailable(error.to_string()))?;
    let Ok(turn) = TURN.try_acquire() else {
        let detail = "another replay is running, and one runs at a time";
        return Err(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy", detail).retry_after(5));
    };
    let (lines, answer) = mpsc::channel::<ReplayLine>(LINES);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        // Whoever has gone away calls it off with that.
        let told = run(&Running { log: &*app.log, audit: &app.audit }, &asked, &mut |line| {
            !app.stop.is_cancelled() && lines.blocking_send(line).is_ok()
        });
        let last = match told {
            Ok(report) => ReplayLine::Report(Box::new(report)),
            Err(error) => ReplayLine::Failed(super::process::chain(&error)),
        };
        let _ = lines.blocking_send(last);
    });
    Ok(streamed(answer))
}

fn streamed(lines: mpsc::Receiver<ReplayLine>) -> Response {
    let lines = futures::stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await?;
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        Some((Ok::<_, std::convert::Infallible>(text), lines))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// The bounds: none in an empty body.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<ReplayRequest> {
    if body.is_empty() {
        return Ok(ReplayRequest::default());
    }
    let violation =
        |field: &str, message: String| invalid(vec![Violation { field: field.to_owned(), message, hint: None }]);
    let fields = json_body::object(headers, body)?;
    let asked: ReplayRequest =
        serde_json::from_value(fields.into()).map_err(|error| violation("", error.to_string()))?;
    for (field, bound) in [("from", &asked.from), ("to", &asked.to)] {
        if let Some(text) = bound {
            text.parse::<At>().map_err(|error| violation(field, error.to_string()))?;
        }
    }
    Ok(asked)
}
