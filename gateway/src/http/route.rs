//! Which path is what, and what every request must keep before it is looked at further.
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use mcpctl_api::plane::Denial;
use mcpctl_api::wire::Problem;

use super::body::{Body, Running};
use super::guard::{Bearer, Guard, bearer};
use super::mcp;
use super::wire::Wire;
use crate::audit::{Opened, now};
use crate::exchange::of_denial;
use crate::gateway::Gateway;
use crate::json::Object;
use crate::message::Message;
use crate::rpc_error::RpcError;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Seq of the newest state that the gateway knows.
const REVISION: HeaderName = HeaderName::from_static("mcpctl-revision");

/// What is to be done about a request.
pub(super) enum Step {
    /// It is answered.
    Done(Response<Body>),
    /// It runs.
    Run(Running),
}

impl From<Response<Body>> for Step {
    fn from(response: Response<Body>) -> Self {
        Self::Done(response)
    }
}

/// Looks at a request, reads its body if it comes to that, and answers it or begins it.
pub(super) async fn answer(gateway: &Arc<Gateway>, guard: &Guard, request: &Parts, wire: &mut Wire) -> Step {
    if !guard.takes_host(&request.uri, &request.headers, wire.last_host()) {
        let words = "the request came under a name that this listener does not have: use http://localhost or start it with --allow-host";
        return refuse(gateway, request, &RpcError::of_status(403, words)).await.into();
    }
    if !guard.takes_origin(&request.headers) {
        let words = "pages of this origin may not use the gateway: start it with --allow-origin if they should";
        return refuse(gateway, request, &RpcError::of_status(403, words)).await.into();
    }
    let Some(project) = project(request.uri.path()) else {
        return plain(gateway, &request.method, request.uri.path()).into();
    };
    // A browser asks without the token.
    if let Some(response) = guard.preflight(request) {
        return response.into();
    }
    match bearer(&request.headers, wire.last_bearer()) {
        Bearer::Token(bearer) => mcp::answer(gateway, request, wire, project, bearer).await,
        Bearer::Missing => refuse(gateway, request, &not_a_token("there is no bearer token")).await.into(),
        Bearer::NotAToken => {
            let words = "the bearer is not a project token (mcpctl_pat_…)";
            refuse(gateway, request, &not_a_token(words)).await.into()
        }
    }
}

/// The project of `/projects/<name>/mcp`.
fn project(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/projects/")?.strip_suffix("/mcp")?;
    (!name.is_empty() && name.len() <= 253 && !name.contains('/')).then_some(name)
}

fn not_a_token(words: &'static str) -> RpcError {
    of_denial(&Denial::NotAToken(words)).0
}

/// Pages that need no token.
fn plain(gateway: &Gateway, method: &Method, path: &str) -> Response<Body> {
    let looks = method == Method::GET || method == Method::HEAD;
    match path {
        "/healthz" | "/metrics" if !looks => not_allowed("GET"),
        "/healthz" => health(gateway),
        "/metrics" => {
            let spans = gateway.options.tracer.as_ref().map(|tracer| tracer.figures());
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            page(StatusCode::OK, kind, gateway.metrics.page(gateway.plane.watch_figures(), spans))
        }
        path if path.starts_with("/.well-known/") || path == "/register" => page(
            StatusCode::NOT_FOUND,
            JSON,
            hint(
                "there is no authorization server here: access is by bearer token. Make one with `mcpctl create mcptoken NAME -p PROJECT` and configure it as the header `Authorization: Bearer mcpctl_pat_…`",
            ),
        ),
        _ => page(
            StatusCode::NOT_FOUND,
            JSON,
            hint("nothing is here: projects are at /projects/<name>/mcp; `mcpctl get projects` lists them"),
        ),
    }
}

/// How the gateway is. One that refuses its control plane serves nobody, and is not well until a person has decided.
fn health(gateway: &Gateway) -> Response<Body> {
    let seq = gateway.plane.seq();
    let mut response = match gateway.plane.refused() {
        None => page(StatusCode::OK, JSON, format!("{{\"status\":\"ok\",\"seq\":{seq}}}\n")),
        Some(why) => {
            let problem = Problem {
                kind: "urn:mcpctl:problem:control-plane-refused".to_owned(),
                title: "The control plane is refused".to_owned(),
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                detail: why,
                seq: Some(seq),
                ..Problem::default()
            };
            let text = serde_json::to_string(&problem).expect("a problem is plain data, which always encodes");
            page(StatusCode::SERVICE_UNAVAILABLE, PROBLEM, text)
        }
    };
    let revision = HeaderValue::from_str(&seq.to_string()).expect("digits are a header value");
    response.headers_mut().insert(REVISION, revision);
    response
}

/// JSON that OAuth clients and people can read.
fn hint(words: &str) -> String {
    Object::new().text("error", "not_found").text("error_description", words).finish()
}

pub(super) fn page(status: StatusCode, kind: HeaderValue, text: String) -> Response<Body> {
    let mut response = Response::new(Body::of(Message::whole(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

pub(super) fn not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED, JSON, hint_of_method(allowed));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn hint_of_method(allowed: &str) -> String {
    Object::new().text("error", "method_not_allowed").text("error_description", &format!("use {allowed}")).finish()
}

/// A message as a whole answer, with what its status wants said in headers.
pub(super) fn with_status(status: u16, message: Message) -> Response<Body> {
    let mut response = Response::new(Body::of(message));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    match status {
        401 => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mcpctl\""))),
        503 => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        _ => {}
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Refuses a request that nobody is asked about, and leaves a line of it. Anybody can send such requests, so the lines of
/// one second are bounded; the next line says how many there were.
pub(super) async fn refuse(gateway: &Arc<Gateway>, request: &Parts, error: &RpcError) -> Response<Body> {
    let name = project(request.uri.path()).unwrap_or_default();
    refuse_of(gateway, &request.method, name, error).await
}

/// See [`refuse`].
pub(super) async fn refuse_of(
    gateway: &Arc<Gateway>,
    method: &Method,
    project: &str,
    error: &RpcError,
) -> Response<Body> {
    let body = Object::new().text("jsonrpc", "2.0").json("error", error.to_raw().get()).finish();
    let message = Message::whole(Bytes::from(body));
    gateway.metrics.anonymous.inc();
    let mut audit = Opened::new(gateway, None, project, 0);
    match gateway.anonymous.spend(now()) {
        None => audit.forget(),
        Some(unwritten) => {
            audit.asked(method.as_str(), None);
            let more = if unwritten > 0 { format!(" ({unwritten} more before)") } else { String::new() };
            audit.because(format!("{}{more}", error.message));
            if let Err(failed) = audit.close("denied", message.len()).await {
                tracing::error!(error = %failed, "a refusal could not be recorded");
            }
        }
    }
    with_status(error.status, message)
}
