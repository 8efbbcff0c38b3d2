//! The endpoint of a project: POST of a message, GET of a stream, DELETE of a session.
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mcpctl_api::plane::CallerBearer;

use super::body::{Body, Events, Next, Running};
use super::guard::{accepts, is_json, is_param, passes};
use super::route::{not_allowed, refuse_of, with_status};
use crate::dialect::MODERN;
use crate::exchange::{Answered, Arrival, Way};
use crate::gateway::Gateway;
use crate::modern::{Given, Mirrored, from_sentinel};
use crate::outlet::outlet;
use crate::rpc_error::RpcError;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers a request with a token of the right shape.
pub(super) async fn answer(
    gateway: Arc<Gateway>,
    request: Request<Incoming>,
    project: String,
    token: String,
) -> Response<Body> {
    let bearer = CallerBearer::new(token);
    match *request.method() {
        Method::POST => post(gateway, request, project, bearer).await,
        Method::GET | Method::DELETE => of_session(gateway, request, project, bearer).await,
        _ => not_allowed("POST, GET, DELETE"),
    }
}

async fn post(
    gateway: Arc<Gateway>,
    request: Request<Incoming>,
    project: String,
    bearer: CallerBearer,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let read = match check_post(&head.headers, &gateway) {
        Ok(()) => read(body, &gateway).await,
        Err(error) => Err(error),
    };
    let body = match read {
        Ok(body) => body,
        Err(error) => return refuse_of(&gateway, &Method::POST, &project, &error).await,
    };
    let way = Way::Http {
        mirrored: mirrored(&head.headers),
        session: given(&head.headers, &SESSION).as_deref().map(str::to_owned),
        pass: passed(&head.headers),
    };
    let (outlet, waiting) = outlet();
    let handling = gateway.clone().handle(Arrival { bearer, project, body, way }, outlet);
    begin(Running::new(gateway, waiting, Box::pin(handling))).await
}

/// One message as JSON where nothing comes before it, else a stream.
async fn begin(mut running: Running) -> Response<Body> {
    let mut answer = None;
    let next = std::future::poll_fn(|context| running.poll_next(&mut answer, context)).await;
    match next {
        Next::Answer(answered) => whole(answered),
        Next::Message(first) => events(Events::new(running, Some(first), answer)),
    }
}

fn whole(answered: Answered) -> Response<Body> {
    let Some(message) = answered.message else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::ACCEPTED);
        return response;
    };
    let mut response = with_status(answered.status, message);
    if let Some(session) = answered.session {
        let id = HeaderValue::from_str(&session).expect("an id is hexadecimal");
        response.headers_mut().insert(SESSION, id);
    }
    response
}

fn events(events: Box<Events>) -> Response<Body> {
    let access = events.access().cloned();
    let mut response = Response::new(Body::Events(events));
    access.map(|cut| response.extensions_mut().insert(cut));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

/// Sessions have a stream and an end; the modern era has neither.
async fn of_session(
    gateway: Arc<Gateway>,
    request: Request<Incoming>,
    project: String,
    bearer: CallerBearer,
) -> Response<Body> {
    let headers = request.headers();
    let deletes = request.method() == Method::DELETE;
    let (Given::Once(session), true) = (given(headers, &SESSION), given(headers, &VERSION).as_deref() != Some(MODERN))
    else {
        return not_allowed("POST");
    };
    if deletes {
        let answered = gateway.close_session(&bearer, &project, &session).await;
        return whole(answered);
    }
    if !accepts(headers, &["text/event-stream"]) {
        let error = RpcError::of_status(406, "the stream is text/event-stream: accept it");
        return refuse_of(&gateway, &Method::GET, &project, &error).await;
    }
    let (outlet, waiting) = outlet();
    match gateway.open_stream(&bearer, &project, &session, outlet).await {
        Ok((context, open)) => {
            context.outlet.by_access(&context.admission.cut);
            let streaming = Box::pin(async move { context.stream_all(Some(open)).await });
            events(Events::new(Running::new(gateway, waiting, streaming), None, None))
        }
        Err(answered) => whole(answered),
    }
}

fn check_post(headers: &HeaderMap, gateway: &Gateway) -> Result<(), RpcError> {
    if !is_json(headers) {
        return Err(RpcError::of_status(415, "send Content-Type: application/json"));
    }
    if !accepts(headers, &["application/json", "text/event-stream"]) {
        return Err(RpcError::of_status(406, "send Accept: application/json, text/event-stream"));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    if length.is_some_and(|length: usize| length > gateway.options.body_bytes_max) {
        return Err(too_large(gateway));
    }
    Ok(())
}

fn too_large(gateway: &Gateway) -> RpcError {
    RpcError::of_status(413, format!("the body is larger than {} bytes", gateway.options.body_bytes_max))
}

/// Reads the body, within its limits. Most come in one piece, which is then not copied.
async fn read(mut body: Incoming, gateway: &Gateway) -> Result<Bytes, RpcError> {
    let reading = async {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| RpcError::of_status(400, "the body ended early"))?;
            let Ok(piece) = frame.into_data() else { continue };
            if first.len() + all.len() + piece.len() > gateway.options.body_bytes_max {
                return Err(too_large(gateway));
            }
            if first.is_empty() && all.is_empty() {
                first = piece;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&piece);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    };
    let read = tokio::time::timeout(gateway.options.body_read, reading).await;
    read.unwrap_or_else(|_| Err(RpcError::of_status(408, "the body took too long")))
}

fn given(headers: &HeaderMap, name: &HeaderName) -> Given {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Given::Absent,
        (Some(value), None) => value.to_str().map_or(Given::Bad, |text| Given::Once(text.trim().to_owned())),
        (Some(_), Some(_)) => Given::Bad,
    }
}

fn mirrored(headers: &HeaderMap) -> Mirrored {
    let readable = |value: &HeaderValue| value.to_str().is_ok_and(|text| !matches!(from_sentinel(text), Some(None)));
    let bad_param = headers.iter().any(|(name, value)| is_param(name) && !readable(value));
    Mirrored {
        version: given(headers, &VERSION),
        method: given(headers, &METHOD),
        name: given(headers, &NAME),
        bad_param,
    }
}

fn passed(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    headers.iter().filter(|(name, _)| passes(name)).filter_map(text).collect()
}
