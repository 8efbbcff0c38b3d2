//! Everything that the API port serves, and what holds for all of it: revisions, problems, limits.
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{FutureExt as _, StreamExt as _};
use mcpctl_core::ids::Seq;
use mcpctl_core::world::World as _;
use mcpctl_tlog::Checkpoint;
use tokio::time::Instant;

use super::app::App;
use super::auth::bearer;
use super::problem::{Answer, not_found, problem, unauthorized};
use super::revocation::ForStreams;
use super::watch::ForGateways;
use super::{
    apply_all, audit, evidence, impersonation, instances, limits, login, metrics, objects, oidc, openapi, pages,
    questions, refusal_audit, replay, revocation, tokens, tools, traces, undo, watch,
};
use crate::wire::{AT_LEAST, CHECKPOINT, REVISION};

/// Most bytes of a request body; a manifest is small.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a request body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// How long a request may wait for a state that it asks for.
const AT_LEAST_WAIT: Duration = Duration::from_millis(500);
/// Most bytes of a plain refusal that are kept for its problem.
const PLAIN_BYTES_MAX: usize = 1024;

/// Everything that the API port serves.
pub fn router(app: Arc<App>) -> Router {
    let (hub, log, evidence, stop) = (app.hub.clone(), app.log.clone(), app.evidence.clone(), app.stop.clone());
    let for_gateways = ForGateways::new(app.plane.clone(), hub.clone(), (log.clone(), evidence.clone()), stop.clone());
    let for_streams = ForStreams { hub, log, evidence, stop };
    Router::new()
        .merge(objects::routes())
        .merge(apply_all::routes())
        .merge(login::routes())
        .merge(oidc::routes())
        .merge(tokens::routes().layer(middleware::from_fn(impersonation::refused_here)))
        .merge(instances::routes())
        .merge(audit::routes())
        .merge(evidence::routes())
        .merge(questions::routes())
        .merge(revocation::gateway_routes())
        .merge(replay::routes())
        .merge(undo::routes())
        .merge(tools::routes())
        .layer(middleware::from_fn_with_state(app.clone(), limits::per_principal))
        // What a gateway asks is agents' traffic: it is bounded by sessions and calls, not by requests a minute.
        .merge(watch::routes(for_gateways).layer(middleware::from_fn(impersonation::refused_here)))
        .layer(middleware::from_fn_with_state(app.clone(), refusal_audit::record))
        .layer(middleware::from_fn(closed))
        .route("/healthz", get(health))
        .route("/health", get(health))
        .route("/metrics", get(metrics::page))
        .route("/openapi.json", get(openapi::page))
        .fallback(async || not_found("nothing is at this address").hint("see /openapi.json"))
        .method_not_allowed_fallback(async || {
            let detail = "this address does not take this method";
            problem(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed", detail)
        })
        .layer(middleware::from_fn(pages::of_this_machine))
        .layer(middleware::from_fn(as_problem))
        // It has no bearer, and its body ends when the gateway does.
        .merge(revocation::stream_routes(for_streams))
        .layer(middleware::from_fn_with_state(app.clone(), metrics::count))
        .layer(middleware::from_fn_with_state(app.clone(), traces::span))
        .layer(middleware::from_fn_with_state(app.clone(), revision))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// Whatever an address is for, nobody without a bearer is told more about it: but for signing in, which has none yet, and
/// for entries that are delivered late, whose ticket stands in its place.
async fn closed(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let open = matches!(path, "/api/v1/auth/login" | oidc::PATH) || watch::is_late(&request);
    if bearer(request.headers()).is_none() && !open {
        return unauthorized("the request carries no bearer").into_response();
    }
    next.run(request).await
}

async fn health(Shared(app): Shared<Arc<App>>) -> Response {
    let state = app.published.load();
    let broken = app.writer.figures().broken.lock().clone();
    let status = match (app.alarm(), broken) {
        (Some(_), _) => "log-altered",
        (None, Some(_)) => "read-only",
        (None, None) => "ok",
    };
    axum::Json(serde_json::json!({ "status": status, "seq": state.seq(), "version": env!("CARGO_PKG_VERSION") }))
        .into_response()
}

/// Whatever refuses says so as a problem: the framework's own limits and extractors say it in plain text. A bug in a
/// handler ends that request and nothing else.
async fn as_problem(request: Request, next: Next) -> Response {
    let Ok(response) = AssertUnwindSafe(next.run(request.map(in_time))).catch_unwind().await else {
        let detail = "answering failed: this is a bug in mcpctl";
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "bug", "Failed", detail).into_response();
    };
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let plain = content_type.is_none_or(|content_type| content_type.starts_with("text/plain"));
    if !plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (name, title) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("content-type", "Unsupported content type"),
        StatusCode::BAD_REQUEST => ("malformed", "Malformed request"),
        _ => ("refused", "Refused"),
    };
    let text = axum::body::to_bytes(response.into_body(), PLAIN_BYTES_MAX).await.unwrap_or_default();
    problem(status, name, title, String::from_utf8_lossy(&text)).into_response()
}

/// A body that fails when it takes too long: a client that sends a byte now and then holds nothing for ever.
fn in_time(body: Body) -> Body {
    let until = Instant::now() + BODY_WAIT;
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the body did not arrive in time");
    let chunks = futures::stream::unfold(Some(body.into_data_stream()), move |chunks| async move {
        let mut chunks = chunks?;
        match tokio::time::timeout_at(until, chunks.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(chunks))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Err(_) => Some((Err(late()), None)),
        }
    });
    Body::from_stream(chunks)
}

/// Waits for the state that a request asks for, and says from which one it was answered: for a look, one that it
/// certainly saw; for a change, one that has it.
async fn revision(Shared(app): Shared<Arc<App>>, request: Request, next: Next) -> Response {
    let wanted = match wanted(request.headers()) {
        Ok(wanted) => wanted,
        Err(malformed) => return with_revision(&app, malformed.into_response(), app.published.load().seq()),
    };
    let before = match caught_up(&app, wanted).await {
        Ok(seq) => seq,
        Err(behind) => return with_revision(&app, behind, app.published.load().seq()),
    };
    let looks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let response = next.run(request).await;
    with_revision(&app, response, if looks { before } else { app.published.load().seq() })
}

/// The seq that a request asks for. One that can't be read is refused: the caller would believe that it was waited for.
fn wanted(headers: &HeaderMap) -> Result<Option<Seq>, Answer> {
    let mut all = headers.get_all(AT_LEAST).iter();
    let (Some(value), more) = (all.next(), all.next()) else { return Ok(None) };
    let digits = value.to_str().ok().map(str::trim).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| text.parse().ok()).filter(|_| more.is_none()) {
        Some(seq) => Ok(Some(seq)),
        None => Err(problem(StatusCode::BAD_REQUEST, "at-least", "Malformed header", "Mcpctl-At-Least is not one seq")
            .hint("send the number that an answer carried as Mcpctl-Revision")),
    }
}

async fn caught_up(app: &App, wanted: Option<Seq>) -> Result<Seq, Response> {
    if let Some(wanted) = wanted {
        let mut states = app.published.follow();
        let arrived = tokio::time::timeout(AT_LEAST_WAIT, states.wait_for(|state| state.seq() >= wanted)).await;
        if arrived.is_err() {
            let detail = format!("the state is at seq {}, and {wanted} was asked for", app.published.load().seq());
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(problem(status, "behind", "Not there yet", detail).retry_after(1).into_response());
        }
    }
    Ok(app.published.load().seq())
}

/// The state that was answered from, and the newest checkpoint: an event of seq n is in every checkpoint of a size of n or
/// more, so that whoever made a change knows which one to ask a proof of it against.
fn with_revision(app: &App, mut response: Response, seq: Seq) -> Response {
    if let Ok(value) = HeaderValue::from_str(&seq.to_string()) {
        response.headers_mut().insert(REVISION, value);
    }
    let checkpoint = app.evidence.newest().map(|signed| {
        let Checkpoint { origin, size, root } = &signed.checkpoint;
        format!("{origin} {size} {root}")
    });
    if let Some(value) = checkpoint.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(CHECKPOINT, value);
    }
    response
}
