//! Conversations with servers through the control plane's proxy, with the bearer of the caller.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_core::ids::{Seq, Uid};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::ask::body;
use super::events::{Events, Parser};
use super::way::{Envelope, Way, text};
use crate::client::gateway_wire::{CALL, CallOptions, Conversation, FAILED_EVENT, Failure, HANDSHAKE, to_header};
use crate::otel::{TRACEPARENT, TRACESTATE};
use crate::plane::{CallerBearer, ProjectView};
use crate::upstream::{
    Call, CallSink, Era, Handshake, Reply, ServerMessage, Session, SessionKey, Sessions, UpstreamError,
};

/// Most conversations that are remembered; beyond that those that nobody holds are forgotten.
const CONVERSATIONS_MAX: usize = 4096;
/// How long a handshake and a notification may take.
const SHORT: Duration = Duration::from_secs(60);
/// The control plane waits for the server; this is for the way there and back.
const GRACE: Duration = Duration::from_secs(5);
/// Waits before messages are asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// Messages that a slow reader may leave lying.
const MESSAGES_MAX: usize = 64;

/// Conversations of one caller.
pub(super) struct RemoteSessions {
    shared: Arc<Shared>,
    bearer: CallerBearer,
}

impl RemoteSessions {
    pub(super) const fn new(shared: Arc<Shared>, bearer: CallerBearer) -> Self {
        Self { shared, bearer }
    }

    /// The project of a key, as it was admitted for this caller.
    fn project(&self, key: &SessionKey) -> Option<Arc<ProjectView>> {
        self.shared.views.lock().names(&self.bearer, key.project)
    }

    fn remembered(&self, server: Uid, key: &SessionKey, version: Seq) -> Option<Arc<RemoteSession>> {
        let known = self.shared.conversations.lock().get(&(self.bearer.digest(), server, key.clone())).cloned()?;
        (known.is_open() && known.version == version).then_some(known)
    }

    fn remember(&self, server: Uid, key: &SessionKey, session: &Arc<RemoteSession>) {
        let mut conversations = self.shared.conversations.lock();
        if conversations.len() >= CONVERSATIONS_MAX {
            conversations.retain(|_, other| other.is_open() && Arc::strong_count(other) > 1);
        }
        if conversations.len() < CONVERSATIONS_MAX {
            conversations.insert((self.bearer.digest(), server, key.clone()), session.clone());
        }
    }
}

#[async_trait]
impl Sessions for RemoteSessions {
    async fn session(&self, server: Uid, key: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        let gone = || UpstreamError::Unavailable {
            server: server.to_string(),
            why: "the project was not admitted, or has no such server any more: try again".to_owned(),
        };
        let project = self.project(key).ok_or_else(gone)?;
        let view = project.servers.iter().find(|view| view.uid == server).ok_or_else(gone)?;
        if let Some(known) = self.remembered(server, key, view.version) {
            return Ok(known);
        }
        let way = Way {
            shared: Arc::downgrade(&self.shared),
            bearer: self.bearer.clone(),
            project: project.name.clone(),
            server: view.name.clone(),
            conversation: Conversation {
                session: key.session.as_deref().map(str::to_owned),
                capabilities: key.capabilities.as_deref().map(str::to_owned),
            },
        };
        let session = Arc::new(RemoteSession::open(way, view.version).await?);
        self.remember(server, key, &session);
        Ok(session)
    }

    async fn end(&self, key: &SessionKey) {
        let mut ended: Vec<Arc<RemoteSession>> = Vec::new();
        self.shared.conversations.lock().retain(|(digest, _, of), session| {
            let other = *digest != self.bearer.digest() || of != key;
            if !other {
                ended.push(session.clone());
            }
            other
        });
        for session in ended {
            session.open.store(false, Ordering::Release);
            if let Ok(request) = session.way.request(Method::DELETE) {
                let _ = tokio::time::timeout(GRACE, request.send()).await;
            }
        }
    }
}

/// One conversation.
pub(super) struct RemoteSession {
    way: Way,
    version: Seq,
    handshake: Handshake,
    next_id: AtomicU64,
    open: AtomicBool,
    messages: broadcast::Sender<ServerMessage>,
    listening: AtomicBool,
    closed: CancellationToken,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    era: Era,
    version: String,
    #[serde(default)]
    server_info: Option<Box<RawValue>>,
    #[serde(default)]
    capabilities: Option<Box<RawValue>>,
    #[serde(default)]
    instructions: Option<String>,
}

impl RemoteSession {
    async fn open(way: Way, version: Seq) -> Result<Self, UpstreamError> {
        let request = way.request(Method::POST)?;
        let message = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{HANDSHAKE}"}}"#);
        let response = way.within(SHORT, way.send(request, message)).await?;
        let bytes = way.within(SHORT, async { body(response).await.map_err(|why| way.unavailable(why)) }).await?;
        let odd = || way.protocol("its handshake can't be read");
        let envelope: Envelope = serde_json::from_slice(&bytes).map_err(|_| odd())?;
        let said: Said = serde_json::from_str(envelope.result.ok_or_else(odd)?.get()).map_err(|_| odd())?;
        let handshake = Handshake {
            era: said.era,
            version: said.version,
            server_info: said.server_info.filter(|raw| raw.get() != "null").map(Into::into),
            capabilities: said.capabilities.filter(|raw| raw.get() != "null").map(Into::into),
            instructions: said.instructions.map(Into::into),
        };
        Ok(Self {
            way,
            version,
            handshake,
            next_id: AtomicU64::new(1),
            open: AtomicBool::new(true),
            messages: broadcast::Sender::new(MESSAGES_MAX),
            listening: AtomicBool::new(false),
            closed: CancellationToken::new(),
        })
    }

    /// After this failure the next caller begins anew, with a handshake.
    fn noticed<T>(&self, result: Result<T, UpstreamError>) -> Result<T, UpstreamError> {
        if let Err(UpstreamError::Gone { .. } | UpstreamError::Unavailable { .. }) = &result {
            self.open.store(false, Ordering::Release);
        }
        result
    }

    async fn ask(&self, call: Call, sink: &dyn CallSink) -> Result<Reply, UpstreamError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let options = CallOptions {
            progress: call.progress,
            target: call.target.as_deref().map(str::to_owned),
            headers: call.headers,
            capabilities: call.capabilities.as_deref().map(str::to_owned),
            timeout_ms: u64::try_from(call.timeout.as_millis()).ok(),
        };
        let mut request = self.way.request(Method::POST)?.header(CALL, to_header(&options));
        // The control plane is a part of the trace too.
        for (name, value) in options.headers.iter().filter(|(name, _)| matches!(&**name, TRACEPARENT | TRACESTATE)) {
            request = request.header(name, value);
        }
        let response = self.way.send(request, text(Some(id), &call.method, call.params.as_deref())).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            let bytes = body(response).await.map_err(|why| self.way.unavailable(why))?;
            let envelope: Option<Envelope> = serde_json::from_slice(&bytes).ok();
            return envelope.and_then(Envelope::reply).ok_or_else(|| self.way.protocol("its answer can't be read"));
        }
        let mut events = Events { response, parser: Parser::default() };
        while let Some(event) = events.next().await.map_err(|why| self.way.unavailable(why))? {
            if event.kind == FAILED_EVENT {
                let failure: Option<Failure> = serde_json::from_str(&event.data).ok();
                return Err(failure.map_or_else(|| self.way.protocol("it failed unreadably"), Into::into));
            }
            let envelope: Envelope =
                serde_json::from_str(&event.data).map_err(|_| self.way.protocol("a message can't be read"))?;
            if envelope.method.is_none() {
                return envelope.reply().ok_or_else(|| self.way.protocol("its answer can't be read"));
            }
            if let Some(message) = envelope.message() {
                sink.message(message);
            }
        }
        Err(UpstreamError::Gone { server: self.way.server.clone() })
    }

    /// Starts to listen for messages that belong to no call, when somebody wants them for the first time.
    fn listen(&self) {
        if self.listening.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(shared) = self.way.shared.upgrade() else { return };
        let (way, messages, closed, stop) =
            (self.way.clone(), self.messages.clone(), self.closed.clone(), shared.stop.clone());
        shared.tasks.spawn(async move {
            let work = async {
                loop {
                    let _ = listen_once(&way, &messages).await;
                    tokio::time::sleep(AGAIN).await;
                }
            };
            tokio::select! {
                () = closed.cancelled() => {}
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }
}

impl Drop for RemoteSession {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn listen_once(way: &Way, messages: &broadcast::Sender<ServerMessage>) -> Option<()> {
    let response =
        way.request(Method::GET).ok()?.send().await.ok().filter(|response| response.status().is_success())?;
    let mut events = Events { response, parser: Parser::default() };
    while let Some(event) = events.next().await.ok()? {
        if let Some(message) = serde_json::from_str::<Envelope>(&event.data).ok().and_then(Envelope::message) {
            let _ = messages.send(message);
        }
    }
    Some(())
}

#[async_trait]
impl Session for RemoteSession {
    fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    async fn request(&self, call: Call, sink: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        let limit = call.timeout + GRACE;
        self.noticed(self.way.within(limit, self.ask(call, &*sink)).await)
    }

    async fn notify(&self, method: &str, params: Option<&RawValue>) -> Result<(), UpstreamError> {
        let request = self.way.request(Method::POST)?;
        self.noticed(self.way.within(SHORT, self.way.send(request, text(None, method, params))).await.map(drop))
    }

    async fn respond(&self, id: &RawValue, reply: Reply) -> Result<(), UpstreamError> {
        let (member, raw) = match &reply {
            Reply::Result(raw) => ("result", raw),
            Reply::Error(raw) => ("error", raw),
        };
        let message = format!(r#"{{"jsonrpc":"2.0","id":{},"{member}":{}}}"#, id.get(), raw.get());
        let request = self.way.request(Method::POST)?;
        self.noticed(self.way.within(SHORT, self.way.send(request, message)).await.map(drop))
    }

    fn messages(&self) -> broadcast::Receiver<ServerMessage> {
        let receiver = self.messages.subscribe();
        self.listen();
        receiver
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }
}
