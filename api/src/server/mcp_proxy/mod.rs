//! One JSON-RPC message to one server of a project, with the caller's bearer: how a gateway elsewhere reaches servers.
//!
//! The caller is admitted to the project at each message, the project's filters hold here too, and what is called is
//! recorded here too: a gateway is nobody to be trusted with either.
mod call;
mod message;
mod stream;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;

use super::problem::{not_found, problem};
use super::traces::Traced;
use super::watch::{ForGateways, bearer_of, denied};
use crate::client::gateway_wire::{CONVERSATION, Conversation, Failure, FailureProblem, from_header};
use crate::plane::{Admission, CallerBearer, Plane as _, ServerView};
use crate::upstream::{SessionKey, UpstreamError};
use message::{Message, parse};

/// Most bytes of a message: as many as a server may send.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Routes of the proxy.
pub(super) fn routes() -> Router<ForGateways> {
    let path = post(message).get(messages).delete(end);
    Router::new().route("/api/v1/mcp/proxy", path.layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX)))
}

#[derive(Deserialize)]
struct About {
    project: String,
    server: String,
}

/// An admitted caller and the server that it wants.
struct Opened {
    bearer: CallerBearer,
    admission: Admission,
    server: ServerView,
    key: SessionKey,
}

async fn open(parts: &ForGateways, about: &About, headers: &HeaderMap) -> Result<Opened, Response> {
    let bearer = bearer_of(headers).map_err(IntoResponse::into_response)?;
    let admission = parts.plane.admit(&bearer, &about.project).await.map_err(|denial| denied(&denial))?;
    let server = admission.project.servers.iter().find(|s| s.name == about.server || s.uid.to_string() == about.server);
    let server = server.cloned().ok_or_else(|| {
        let server: String = about.server.chars().take(80).collect();
        not_found(format!("project {:?} has no server {server:?}", admission.project.name)).into_response()
    })?;
    let conversation: Conversation = match headers.get(CONVERSATION) {
        None => Conversation::default(),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(from_header)
            .ok_or_else(|| malformed(format!("the header {CONVERSATION} can't be read")))?,
    };
    let key = SessionKey {
        session: conversation.session.map(Into::into),
        capabilities: conversation.capabilities.map(Into::into),
        ..SessionKey::new(admission.project.uid, admission.caller.actor.uid)
    };
    Ok(Opened { bearer, admission, server, key })
}

/// Does something with a server as long as the access lasts. Whoever takes the access away waits until this has ended.
async fn until_cut<T>(
    opened: &Opened,
    work: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    let cut = &opened.admission.cut;
    let _inside = cut.enter().ok_or_else(|| over(opened))?;
    tokio::select! {
        biased;
        // Whatever the server answers after this is withheld.
        () = cut.cancelled() => Err(over(opened)),
        ended = work => if cut.is_cancelled() { Err(over(opened)) } else { ended },
    }
}

/// The access ended.
fn over(opened: &Opened) -> UpstreamError {
    UpstreamError::Unavailable {
        server: opened.server.name.clone(),
        why: "your access to the project ended during the call".to_owned(),
    }
}

fn malformed(detail: String) -> Response {
    problem(StatusCode::BAD_REQUEST, "malformed", "Malformed", detail).into_response()
}

/// A server that failed, as a problem that also says it in a form that a gateway can give on.
fn failed(error: UpstreamError) -> Response {
    let (status, title) = match &error {
        UpstreamError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "The server did not answer"),
        UpstreamError::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "The server is busy"),
        UpstreamError::Unrecorded { .. } => (StatusCode::SERVICE_UNAVAILABLE, "The audit log takes no entry"),
        _ => (StatusCode::BAD_GATEWAY, "The server failed"),
    };
    let answer = problem(status, "upstream", title, error.to_string());
    let body = FailureProblem { problem: (*answer.0).clone(), upstream: Some(Failure::from(error)) };
    let content_type = [(axum::http::header::CONTENT_TYPE, "application/problem+json")];
    (status, content_type, serde_json::to_vec(&body).unwrap_or_default()).into_response()
}

async fn message(
    Shared(parts): Shared<ForGateways>,
    Query(about): Query<About>,
    traced: Option<Extension<Traced>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let opened = match open(&parts, &about, &headers).await {
        Ok(opened) => opened,
        Err(refused) => return refused,
    };
    let message = match parse(&body) {
        Ok(message) => message,
        Err(what) => return malformed(format!("the body is no JSON-RPC 2.0 message: {what}")),
    };
    let sessions = parts.plane.sessions(&opened.bearer);
    let session = match until_cut(&opened, sessions.session(opened.server.uid, &opened.key)).await {
        Ok(session) => session,
        Err(error) => return failed(error),
    };
    let accepted = |done: Result<(), UpstreamError>| match done {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => failed(error),
    };
    match message {
        Message::Notification { method, params } => {
            accepted(until_cut(&opened, session.notify(&method, params.as_deref())).await)
        }
        Message::Answer { id, reply } => accepted(until_cut(&opened, session.respond(&id, reply)).await),
        Message::Request { id, method, params } => {
            let trace = traced.map(|Extension(Traced(place))| place);
            let asked = call::Asked { id, method, params, bytes: body.len(), trace };
            call::answer(&parts, opened, session, asked, &headers).await
        }
    }
}

async fn messages(Shared(parts): Shared<ForGateways>, Query(about): Query<About>, headers: HeaderMap) -> Response {
    let opened = match open(&parts, &about, &headers).await {
        Ok(opened) => opened,
        Err(refused) => return refused,
    };
    let sessions = parts.plane.sessions(&opened.bearer);
    match until_cut(&opened, sessions.session(opened.server.uid, &opened.key)).await {
        Ok(session) => stream::of_messages(session, opened.admission.cut, parts.stop),
        Err(error) => failed(error),
    }
}

async fn end(Shared(parts): Shared<ForGateways>, Query(about): Query<About>, headers: HeaderMap) -> Response {
    match open(&parts, &about, &headers).await {
        Ok(opened) => {
            parts.plane.sessions(&opened.bearer).end(&opened.key).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refused) => refused,
    }
}
