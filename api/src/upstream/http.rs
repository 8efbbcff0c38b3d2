//! A conversation over Streamable HTTP, in either era: each message is a POST, answered with JSON or a stream of events.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use http::header::HeaderValue;
use http::{Method, StatusCode, Uri};
use parking_lot::{Mutex, RwLock};
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::conversation::{Activity, Conversation, timed_out};
use super::endpoint::{Endpoint, Failed};
use super::exchange::Exchange;
use super::http_headers::Lines;
use super::inbox::{ANSWER_WITHIN, Asked, Inbox};
use super::rpc;
use super::{Call, CallSink, Era, Handshake, NoSink, Reply, ServerMessage, Session, UpstreamError, handshake};
use super::{http_headers, http_stream};

/// Limit on messages that no caller waits for: cancellations, answers to the server, the end of the session.
const ASIDE_WITHIN: Duration = Duration::from_secs(5);
/// How long a stream may go on after it brought its answer before its connection is closed.
const SETTLE_WITHIN: Duration = Duration::from_millis(250);

/// A conversation with an HTTP server. Clones share it.
pub(super) struct HttpSession {
    shared: Arc<Shared>,
    handshake: Handshake,
    activity: Activity,
}

/// What the tasks of the conversation share.
pub(super) struct Shared {
    pub(super) server: Arc<str>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) uri: Uri,
    pub(super) ended: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) inbox: Inbox,
    ids: AtomicU64,
    era: RwLock<Era>,
    /// Session id and version of the legacy era.
    legacy: RwLock<LegacySession>,
    reopening: tokio::sync::Mutex<()>,
    why: Mutex<Option<String>>,
}

#[derive(Clone, Default, PartialEq)]
pub(super) struct LegacySession {
    pub(super) id: Option<HeaderValue>,
    pub(super) version: Option<HeaderValue>,
}

/// How a POST failed.
pub(super) enum Trouble {
    /// The server does not know our session (any more).
    SessionLost,
    /// Any other.
    Error(UpstreamError),
}

impl From<UpstreamError> for Trouble {
    fn from(error: UpstreamError) -> Self {
        Self::Error(error)
    }
}

impl HttpSession {
    /// Finds out the server's era (a modern request first: 2026-07-28, Streamable HTTP, backward compatibility) and opens.
    pub(super) async fn open(
        server: Arc<str>,
        endpoint: Endpoint,
        uri: Uri,
        capabilities: Option<Arc<str>>,
        era: Option<Era>,
        limit: Duration,
    ) -> Result<Self, UpstreamError> {
        let shared = Arc::new(Shared {
            server,
            endpoint: Arc::new(endpoint),
            uri,
            ended: CancellationToken::new(),
            tasks: TaskTracker::new(),
            inbox: Inbox::new(capabilities),
            ids: AtomicU64::new(1),
            era: RwLock::new(Era::Modern),
            legacy: RwLock::default(),
            reopening: tokio::sync::Mutex::new(()),
            why: Mutex::new(None),
        });
        let opened = tokio::time::timeout(limit, shared.open(era, limit)).await;
        let handshake = opened.unwrap_or_else(|_| Err(shared.timed_out(limit)))?;
        if handshake.era == Era::Legacy {
            shared.tasks.spawn(http_stream::listen(shared.clone()));
        }
        Ok(Self { shared, handshake, activity: Activity::new() })
    }
}

impl Shared {
    async fn open(self: &Arc<Self>, era: Option<Era>, limit: Duration) -> Result<Handshake, UpstreamError> {
        if era != Some(Era::Legacy) {
            let found = async {
                match self.discover().await {
                    Ok(handshake::Probe::Again) => self.discover().await,
                    found => found,
                }
            };
            match tokio::time::timeout(limit / 2, found).await {
                Ok(Ok(handshake::Probe::Modern(said))) => return Ok(said),
                Ok(Ok(handshake::Probe::Foreign(why)) | Err(why)) => return Err(why),
                // Silence is how some old servers answer what they do not know.
                Ok(Ok(handshake::Probe::Legacy | handshake::Probe::Again)) | Err(_) => {}
            }
        }
        *self.era.write() = Era::Legacy;
        self.initialize().await
    }

    async fn discover(self: &Arc<Self>) -> Result<handshake::Probe, UpstreamError> {
        let meta = handshake::meta(Era::Modern, None, None);
        let id = self.next_id();
        let body = rpc::write_request(id, "server/discover", None, &meta);
        let headers = http_headers::modern("server/discover", None);
        match self.converse(id, &headers, body, true, &no_sink()).await {
            Ok(reply) => Ok(handshake::judge_discover(&self.server, &reply)),
            // Not heard at all, or sent away: a second question would not fare better.
            Err(Trouble::Error(error @ UpstreamError::Unavailable { .. })) if !self.answered(&error) => Err(error),
            Err(_) => Ok(handshake::Probe::Legacy),
        }
    }

    /// Whether the server itself said no, other than to our credentials: old servers answer all kinds of statuses.
    fn answered(&self, error: &UpstreamError) -> bool {
        matches!(error, UpstreamError::Unavailable { why, .. } if why.starts_with(STATUS_WORDS))
    }

    async fn initialize(self: &Arc<Self>) -> Result<Handshake, UpstreamError> {
        *self.legacy.write() = LegacySession::default();
        let params = handshake::initialize_params(self.inbox.capabilities().map(|text| &**text));
        let id = self.next_id();
        let body = rpc::write_request(id, "initialize", Some(&params), &[]);
        let mut exchange = self.post(&http_headers::post(), body.into(), true).await?;
        let session = exchange.head.session.clone();
        let answer = self.answer(id, &mut exchange, &no_sink()).await;
        self.settle(exchange);
        let reply = match answer {
            Ok(reply) => reply,
            Err(Trouble::Error(error)) => return Err(error),
            Err(Trouble::SessionLost) => return Err(self.status(StatusCode::NOT_FOUND)),
        };
        let said = handshake::of_initialize(&self.server, &reply)?;
        *self.legacy.write() = LegacySession { id: session, version: HeaderValue::try_from(&said.version).ok() };
        self.aside(rpc::write_notification("notifications/initialized", None, &[])).await?;
        Ok(said)
    }

    /// Opens a new session in place of one that the server no longer knows. One opens, the others wait and use it.
    async fn reopen(self: &Arc<Self>, lost: &LegacySession) -> Result<(), UpstreamError> {
        let _one = self.reopening.lock().await;
        if *self.legacy.read() != *lost {
            return Ok(());
        }
        self.initialize().await.map(drop).inspect_err(|error| self.end(&error.to_string()))
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn legacy(&self) -> LegacySession {
        self.legacy.read().clone()
    }

    pub(super) fn era(&self) -> Era {
        *self.era.read()
    }

    async fn call(self: &Arc<Self>, id: u64, call: &Call, sink: &Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        let era = self.era();
        let meta = handshake::meta(era, call.capabilities.as_deref(), call.progress.then_some(id));
        let body: Bytes = rpc::write_request(id, &call.method, call.params.as_deref(), &meta).into();
        // A tool may have acted before the connection broke; a list or a read may be asked for again.
        let repeatable = &*call.method != "tools/call";
        let mut reopened = false;
        loop {
            let session = if era == Era::Legacy { self.legacy() } else { LegacySession::default() };
            let headers = match era {
                Era::Modern => http_headers::modern(&call.method, Some(call)),
                Era::Legacy => http_headers::legacy(session.version.as_ref(), session.id.as_ref(), Some(call)),
            };
            match self.converse(id, &headers, body.clone(), repeatable, sink).await {
                Ok(reply) => return Ok(reply),
                Err(Trouble::Error(error)) => return Err(error),
                Err(Trouble::SessionLost) if reopened => return Err(self.gone()),
                Err(Trouble::SessionLost) => self.reopen(&session).await?,
            }
            reopened = true;
        }
    }

    async fn converse(
        self: &Arc<Self>,
        id: u64,
        headers: &Lines,
        body: impl Into<Bytes>,
        repeatable: bool,
        sink: &Arc<dyn CallSink>,
    ) -> Result<Reply, Trouble> {
        let mut exchange = self.post(headers, body.into(), repeatable).await?;
        let reply = self.answer(id, &mut exchange, sink).await;
        self.settle(exchange);
        reply
    }

    /// Lets a stream that brought its answer come to its end, so that its connection can be kept. Nobody waits for it.
    fn settle(&self, mut exchange: Exchange) {
        let at_end = |chunk| !matches!(chunk, Ok(Some(_)));
        if exchange.chunk().now_or_never().is_some_and(at_end) {
            return;
        }
        self.tasks.spawn(tokio::time::timeout(SETTLE_WITHIN, async move { while !at_end(exchange.chunk().await) {} }));
    }

    async fn post(&self, headers: &Lines, body: Bytes, repeatable: bool) -> Result<Exchange, UpstreamError> {
        let exchange = self.endpoint.exchange(Method::POST, &self.uri, headers, body, repeatable).await;
        exchange.map_err(|failed| self.failed(failed))
    }

    fn failed(&self, failed: Failed) -> UpstreamError {
        match failed {
            Failed::Unreachable(error) => {
                self.end(&error.to_string());
                error
            }
            Failed::Lost => self.gone(),
        }
    }

    /// Takes a request of the server, from the stream of a call or from the one outside of calls.
    pub(super) fn asked(
        self: &Arc<Self>,
        id: &RawValue,
        method: &str,
        params: Option<&RawValue>,
        sink: Option<&Arc<dyn CallSink>>,
    ) {
        let shared = self.clone();
        match self.inbox.request(id, method, params, sink) {
            Asked::Answer(bytes) => drop(self.tasks.spawn(async move { shared.aside(bytes).await })),
            Asked::HandedOn => {
                let id = id.to_owned();
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = tokio::time::sleep(ANSWER_WITHIN) => {}
                        () = shared.ended.cancelled() => return,
                    }
                    if shared.inbox.answered(&id) {
                        drop(shared.aside(rpc::write_refusal(&id, -32601, "the client did not answer")).await);
                    }
                });
            }
        }
    }

    /// Sends a message that has no answer.
    async fn aside(&self, bytes: Vec<u8>) -> Result<(), UpstreamError> {
        let session = self.legacy();
        let headers = http_headers::legacy(session.version.as_ref(), session.id.as_ref(), None);
        self.aside_with(&headers, bytes).await
    }

    async fn aside_with(&self, headers: &Lines, bytes: Vec<u8>) -> Result<(), UpstreamError> {
        let sent = async {
            let mut exchange = self.post(headers, bytes.into(), true).await?;
            let status = exchange.head.status;
            if !status.is_success() {
                return Err(self.status(status));
            }
            exchange.whole().await.map(drop)
        };
        tokio::time::timeout(ASIDE_WITHIN, sent).await.unwrap_or_else(|_| Err(self.timed_out(ASIDE_WITHIN)))
    }

    /// Ends the conversation; the first reason stays.
    pub(super) fn end(&self, why: &str) {
        self.why.lock().get_or_insert_with(|| why.to_owned());
        self.ended.cancel();
    }

    pub(super) fn gone(&self) -> UpstreamError {
        UpstreamError::Gone { server: self.server.to_string() }
    }

    pub(super) fn protocol(&self, what: &str) -> UpstreamError {
        UpstreamError::Protocol { server: self.server.to_string(), what: what.to_owned() }
    }

    fn timed_out(&self, limit: Duration) -> UpstreamError {
        timed_out(&self.server, limit)
    }

    pub(super) fn status(&self, status: StatusCode) -> UpstreamError {
        let why = match status.as_u16() {
            401 | 403 => format!("it refused our credentials (HTTP {status}): check its `headers` and their secrets"),
            300..=399 => format!("it redirects (HTTP {status}), which is not followed: set its final address"),
            404 | 405 => format!("{STATUS_WORDS} {status}: check its url; an older server may need `transport: SSE`"),
            429 => format!("{STATUS_WORDS} {status}: try again later"),
            _ => format!("{STATUS_WORDS} {status}"),
        };
        UpstreamError::Unavailable { server: self.server.to_string(), why }
    }
}

const STATUS_WORDS: &str = "it answered HTTP";

fn no_sink() -> Arc<dyn CallSink> {
    Arc::new(NoSink)
}

/// A call in flight. Given up early, a legacy server is told; a modern one sees its response stream close.
struct InFlight<'a> {
    shared: &'a Arc<Shared>,
    id: u64,
    cancel: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.cancel || self.shared.era() == Era::Modern || self.shared.ended.is_cancelled() {
            return;
        }
        let params = handshake::raw(format!("{{\"requestId\":{}}}", self.id));
        let (shared, ended) = (self.shared.clone(), self.shared.ended.clone());
        self.shared.tasks.spawn(async move {
            let message = rpc::write_notification("notifications/cancelled", Some(&params), &[]);
            tokio::select! {
                // Nobody is left to hear that it failed.
                sent = shared.aside(message) => drop(sent),
                () = ended.cancelled() => {}
            }
        });
    }
}

impl HttpSession {
    /// Makes a request, within its limit.
    async fn make(&self, call: Call, sink: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        let id = self.shared.next_id();
        let mut flight = InFlight { shared: &self.shared, id, cancel: true };
        let answered = async {
            tokio::select! {
                biased;
                reply = self.shared.call(id, &call, &sink) => reply,
                () = self.shared.ended.cancelled() => Err(self.shared.gone()),
            }
        };
        match tokio::time::timeout(call.timeout, answered).await {
            Ok(reply) => {
                flight.cancel = false;
                reply
            }
            Err(_) => Err(self.shared.timed_out(call.timeout)),
        }
    }
}

#[async_trait]
impl Session for HttpSession {
    fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    async fn request(&self, call: Call, sink: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        let _busy = self.activity.begin();
        let answer = self.make(call, sink).await;
        self.activity.outcome(&answer, self.end_is_failure());
        answer
    }

    async fn notify(&self, method: &str, params: Option<&RawValue>) -> Result<(), UpstreamError> {
        if self.handshake.era == Era::Legacy {
            return self.shared.aside(rpc::write_notification(method, params, &[])).await;
        }
        let meta = handshake::meta(Era::Modern, None, None);
        let body = rpc::write_notification(method, params, &meta);
        self.shared.aside_with(&http_headers::modern(method, None), body).await
    }

    async fn respond(&self, id: &RawValue, reply: Reply) -> Result<(), UpstreamError> {
        if !self.shared.inbox.answered(id) {
            return Ok(());
        }
        self.shared.aside(rpc::write_answer(id, &reply)).await
    }

    fn messages(&self) -> broadcast::Receiver<ServerMessage> {
        self.shared.inbox.subscribe()
    }

    fn is_open(&self) -> bool {
        !self.shared.ended.is_cancelled()
    }
}

#[async_trait]
impl Conversation for HttpSession {
    fn activity(&self) -> &Activity {
        &self.activity
    }

    async fn ask(&self, call: Call) -> Result<Reply, UpstreamError> {
        self.make(call, no_sink()).await
    }

    fn end_is_failure(&self) -> bool {
        false
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    async fn closed(&self) -> String {
        self.shared.ended.cancelled().await;
        self.shared.why.lock().clone().unwrap_or_else(|| "ended".into())
    }

    async fn close(&self) {
        let was_open = self.is_open();
        self.shared.end("stopped");
        let session = self.shared.legacy();
        if was_open && session.id.is_some() {
            let headers = http_headers::in_session(session.version.as_ref(), session.id.as_ref());
            let shared = &self.shared;
            let deleted = shared.endpoint.exchange(Method::DELETE, &shared.uri, &headers, Bytes::new(), true);
            // Servers need not support it (405), and one that is gone has no session left.
            drop(tokio::time::timeout(ASIDE_WITHIN, deleted).await);
        }
        self.shared.endpoint.close();
        self.shared.tasks.close();
        drop(tokio::time::timeout(ASIDE_WITHIN, self.shared.tasks.wait()).await);
    }
}

impl Drop for HttpSession {
    fn drop(&mut self) {
        self.shared.end("dropped");
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
