//! `/audit/…` for who holds the operation `audit`: events, a stream of them, sessions. Each look is an entry itself.
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcpctl_core::access::{Ask, decide};
use mcpctl_core::log::LogError;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::erase::{Erasure, RIGHT as MAY_ERASE, Subject};
use super::sessions::ById;
use super::{AuditLog, AuditQuery, RIGHT, read_entry, tail};
use crate::audit_wire::EraseRequest;
use crate::plane::AuditEntry;
use crate::server::app::App;
use crate::server::auth::Authenticated;
use crate::server::problem::{Answer, Result, not_found, problem};
use crate::server::{clock, json_body};
use crate::wire::List;

/// Most looks at once: each reads files.
static LOOKS: Semaphore = Semaphore::const_new(2);

/// What a query came as.
type Asked = std::result::Result<Query<AuditQuery>, QueryRejection>;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/audit/events", get(events))
        .route("/api/v1/audit/tail", get(followed))
        .route("/api/v1/audit/erase", post(erase))
        .route("/api/v1/audit/sessions", get(sessions))
        .route("/api/v1/audit/sessions/{id}", get(session))
}

fn unavailable(why: String) -> Answer {
    problem(StatusCode::SERVICE_UNAVAILABLE, "audit", "The audit log fails", why)
}

fn query_of(asked: Asked) -> Result<AuditQuery> {
    let Query(query) = asked.map_err(|error| {
        problem(StatusCode::BAD_REQUEST, "malformed", "Malformed query", error.body_text()).hint(
            "filters: project, kind, userName, tokenName, tokenSha, session, server, tool, outcome, from, to, position, before, limit",
        )
    })?;
    if query.position.is_some() && query.before.is_some() {
        let detail = "position asks for entries from there on, before for those in front of it";
        return Err(
            problem(StatusCode::BAD_REQUEST, "malformed", "Malformed query", detail).hint("give one of the two")
        );
    }
    Ok(query)
}

/// Whether the caller may look; recorded before anything is shown.
pub(super) fn may_look(app: &App, caller: &Authenticated, method: &str, query: &AuditQuery) -> Result<()> {
    let (state, now) = (app.published.load(), clock::now());
    let verdict = decide(&*state, &caller.actor, &Ask::Operation(RIGHT), now.max(state.last_at()));
    let entry = read_entry(caller.credential(), method, query, &verdict, now);
    let entry = AuditEntry { on_behalf_of: caller.on_behalf_of().cloned(), ..entry };
    app.audit.append(entry).map_err(|error| unavailable(error.to_string()))?;
    if verdict.allowed {
        return Ok(());
    }
    let missing = Ask::Operation(RIGHT).to_string();
    Err(Refusal::Forbidden { actor: caller.actor.to_string(), missing, at: verdict.at }.into())
}

/// Looks into the log, where blocking is allowed, and not too often at once.
async fn looked<T: Send + 'static>(
    app: &App,
    look: impl FnOnce(&AuditLog) -> std::result::Result<T, LogError> + Send + 'static,
) -> Result<T> {
    let _look = LOOKS.acquire().await.map_err(|error| unavailable(error.to_string()))?;
    let audit = app.audit.clone();
    let found = tokio::task::spawn_blocking(move || look(&audit)).await;
    found.map_err(|error| unavailable(error.to_string()))?.map_err(|error| {
        tracing::error!(%error, "the audit log can't be read");
        unavailable(error.to_string())
    })
}

async fn events(Shared(app): Shared<Arc<App>>, caller: Authenticated, asked: Asked) -> Result<Response> {
    let query = query_of(asked)?;
    may_look(&app, &caller, "GET /audit/events", &query)?;
    let revision = app.published.load().seq();
    let (items, next) = looked(&app, move |audit| audit.page(&query)).await?;
    Ok(axum::Json(List { items, next, revision }).into_response())
}

async fn followed(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    asked: std::result::Result<Query<tail::TailQuery>, QueryRejection>,
) -> Result<Response> {
    let asked = asked.map_err(|error| {
        problem(StatusCode::BAD_REQUEST, "malformed", "Malformed query", error.body_text())
            .hint("filters are those of /audit/events; limit says how many of the newest to begin with")
    })?;
    let Query(asked) = asked;
    let query = query_of(Ok(Query(asked.query())))?;
    may_look(&app, &caller, if asked.follow { "GET /audit/tail?follow" } else { "GET /audit/tail" }, &query)?;
    let (audit, published, stop) = (app.audit.clone(), app.published.clone(), app.stop.clone());
    tail::stream(tail::Sources { audit, published, stop }, &caller, query, asked.follow)
}

/// Erases what the log says of a subject, or counts it. Either is an entry, which does not name the subject.
async fn erase(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let (state, now) = (app.published.load(), clock::now());
    let verdict = decide(&*state, &caller.actor, &Ask::Operation(MAY_ERASE), now.max(state.last_at()));
    if !verdict.allowed {
        let missing = Ask::Operation(MAY_ERASE).to_string();
        return Err(Refusal::Forbidden { actor: caller.actor.to_string(), missing, at: verdict.at }.into());
    }
    let asked = json_body::object(&headers, &body)?;
    let asked: EraseRequest =
        serde_json::from_value(Value::Object(asked)).map_err(|error| json_body::malformed(error.to_string()))?;
    let mut subject = Subject::parse(&asked.subject).map_err(|should| {
        let detail = "the subject can't be read".to_owned();
        problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "No subject", detail).hint(should)
    })?;
    subject.find(&state);
    let erasure = Erasure {
        subject,
        by: caller.credential().clone(),
        on_behalf_of: caller.on_behalf_of().cloned(),
        seq: verdict.at,
        via: verdict.via.clone(),
        rule: verdict.rule.word().to_owned(),
        at: now,
    };
    let erased = match asked.dry_run {
        true => {
            let look = AuditEntry {
                at: now,
                kind: "audit-read".to_owned(),
                method: "POST /audit/erase".to_owned(),
                actor: Some(erasure.by.clone()),
                on_behalf_of: erasure.on_behalf_of.clone(),
                outcome: "ok".to_owned(),
                reason: Some("looks how many entries an erasure would reach".to_owned()),
                ..AuditEntry::default()
            };
            let look = look.decided(&Ask::Operation(MAY_ERASE), &verdict);
            app.audit.append(look).map_err(|error| unavailable(error.to_string()))?;
            looked(&app, move |audit| audit.would_erase(&erasure.subject)).await?
        }
        // What was begun is finished, whether anybody waits for it or not.
        false => looked(&app, move |audit| audit.erase(&erasure)).await?,
    };
    Ok(axum::Json(erased).into_response())
}

async fn sessions(Shared(app): Shared<Arc<App>>, caller: Authenticated, asked: Asked) -> Result<Response> {
    let query = query_of(asked)?;
    if let Some(field) = super::sessions::cannot_filter(&query) {
        let detail = format!("sessions can't be looked for by {field}");
        return Err(problem(StatusCode::BAD_REQUEST, "malformed", "Malformed query", detail)
            .hint("filters: project, userName, tokenName, tokenSha, from, to, before, limit"));
    }
    may_look(&app, &caller, "GET /audit/sessions", &query)?;
    let revision = app.published.load().seq();
    let (items, next) = looked(&app, move |audit| audit.sessions(&query, clock::now())).await?;
    Ok(axum::Json(List { items, next, revision }).into_response())
}

async fn session(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Response> {
    let query = query_of(asked)?;
    let shown: String = id.chars().take(40).collect();
    let unknown = || not_found(format!("the audit log shows no session {shown:?}")).hint("mcpctl audit sessions");
    let by_id = ById::parse(&id);
    may_look(&app, &caller, "GET /audit/sessions/{id}", &AuditQuery { session: Some(shown.clone()), ..query.clone() })?;
    let by_id = by_id.ok_or_else(unknown)?;
    let found = looked(&app, move |audit| audit.session(&by_id, &query, clock::now())).await?;
    found.map(|shown| axum::Json(shown).into_response()).ok_or_else(unknown)
}
