//! The endpoint of a project: POST of a message, GET of a stream, DELETE of a session.
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use mcpctl_api::plane::CallerBearer;

use super::body::{Body, Events, Running};
use super::guard::{accepts, is_json, is_param, passes};
use super::route::{Step, not_allowed, refuse_of, with_status};
use super::wire::{NoBody, Wire};
use crate::dialect::MODERN;
use crate::exchange::{Answered, Arrival, Way};
use crate::gateway::Gateway;
use crate::message::Message;
use crate::modern::{Given, Mirrored, from_sentinel};
use crate::outlet::outlet;
use crate::resumable::{EventId, Resumed};
use crate::rpc_error::RpcError;

const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers a request with a token of the right shape, or begins it.
pub(super) async fn answer(
    gateway: &Arc<Gateway>,
    request: &Parts,
    wire: &mut Wire,
    project: &str,
    bearer: CallerBearer,
) -> Step {
    match request.method {
        Method::POST => post(gateway, &request.headers, wire, project, bearer).await,
        Method::GET | Method::DELETE => of_session(gateway, request, project, bearer).await.into(),
        _ => not_allowed("POST, GET, DELETE").into(),
    }
}

async fn post(
    gateway: &Arc<Gateway>,
    headers: &HeaderMap,
    wire: &mut Wire,
    project: &str,
    bearer: CallerBearer,
) -> Step {
    let read = match check_post(headers, gateway) {
        Ok(()) => read(wire, gateway).await,
        Err(error) => Err(error),
    };
    let body = match read {
        Ok(body) => body,
        Err(error) => return refuse_of(gateway, &Method::POST, project, &error).await.into(),
    };
    let way = Way::Http {
        mirrored: mirrored(headers),
        session: given(headers, &SESSION).as_deref().map(str::to_owned),
        pass: passed(headers),
    };
    let (outlet, waiting) = outlet();
    let arrival = Arrival { bearer, project: project.to_owned(), body, way };
    let handling = gateway.clone().handle(arrival, outlet);
    Step::Run(Running::new(gateway.clone(), waiting, Box::pin(handling)))
}

/// The message of an answer that says nothing else, by status or header.
pub(super) fn plain(answered: Answered) -> Result<Message, Answered> {
    match answered {
        Answered { status: 200, message: Some(message), session: None, .. } => Ok(message),
        answered => Err(answered),
    }
}

pub(super) fn whole(answered: Answered) -> Response<Body> {
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

pub(super) fn events(events: Box<Events>) -> Response<Body> {
    let mut response = Response::new(Body::Events(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

/// Sessions have a stream and an end; the modern era has neither.
async fn of_session(gateway: &Arc<Gateway>, request: &Parts, project: &str, bearer: CallerBearer) -> Response<Body> {
    let headers = &request.headers;
    let (Given::Once(session), true) = (given(headers, &SESSION), given(headers, &VERSION).as_deref() != Some(MODERN))
    else {
        return not_allowed("POST");
    };
    if request.method == Method::DELETE {
        let answered = gateway.close_session(&bearer, project, &session).await;
        return whole(answered);
    }
    if !accepts(headers, &["text/event-stream"]) {
        let error = RpcError::of_status(406, "the stream is text/event-stream: accept it");
        return refuse_of(gateway, &Method::GET, project, &error).await;
    }
    let (outlet, waiting) = outlet();
    let (context, open) = match gateway.open_stream(&bearer, project, &session, outlet).await {
        Ok(opened) => opened,
        Err(answered) => return whole(answered),
    };
    context.outlet.by_access(&context.admission.cut);
    let streams = context.client.resumable().cloned();
    let after = last_event(headers).filter(|_| streams.is_some());
    if let (Some(streams), Some(after)) = (&streams, after)
        && let Some(resumed) = streams.resume(after.stream).await
    {
        match resumed {
            Resumed::Live(source) if !source.is_own() => return events(Events::resumed(source, after)),
            // The stream of the session that is thought to be open still: its place is taken below.
            Resumed::Live(mut source) => source.leave(),
            Resumed::Over(replay) => {
                let nothing = Box::pin(std::future::ready(Answered::empty(200)));
                return events(Events::left(Running::new(gateway.clone(), waiting, nothing), &replay, after));
            }
        }
    }
    let streaming = Box::pin(async move { context.stream_all(Some(open)).await });
    events(Events::own(Running::new(gateway.clone(), waiting, streaming), streams.as_ref(), after))
}

/// The event after which a client takes a stream up again. What is no id of ours names no event.
fn last_event(headers: &HeaderMap) -> Option<EventId> {
    match given(headers, &LAST_EVENT) {
        Given::Once(text) => text.parse().ok(),
        Given::Absent | Given::Bad => None,
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

/// Reads the body, within its limits.
async fn read(wire: &mut Wire, gateway: &Gateway) -> Result<Bytes, RpcError> {
    let read = wire.body(gateway.options.body_bytes_max, gateway.options.body_read).await;
    read.map_err(|why| match why {
        NoBody::TooLarge => too_large(gateway),
        NoBody::Late => RpcError::of_status(408, "the body took too long"),
        NoBody::Broken => RpcError::of_status(400, "the body ended early"),
    })
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
