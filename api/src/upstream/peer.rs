//! One server behind a two-way channel of messages (STDIO, or the 2024-11-05 transport): ids, pending calls, routing.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::conversation::timed_out;
use super::inbox::{ANSWER_WITHIN, Asked, Inbox};
use super::rpc::{self, Message, Outcome};
use super::{Call, CallSink, Era, NoSink, Reply, ServerMessage, UpstreamError, handshake};

/// Messages that may wait to be written to a server that reads slowly.
pub(super) const OUT_MAX: usize = 256;
/// Lines in a row that are not JSON-RPC before the server is given up.
const GARBAGE_MAX: u32 = 100;

/// A message on its way to the server.
pub(super) struct Outgoing {
    /// The message, without a line break.
    pub(super) bytes: Vec<u8>,
    /// The call that fails if it can't be sent.
    pub(super) call: Option<u64>,
}

type Answer = Result<Reply, UpstreamError>;

struct Waiting {
    answer: oneshot::Sender<Answer>,
    sink: Arc<dyn CallSink>,
}

#[derive(Default)]
struct Calls {
    waiting: HashMap<u64, Waiting>,
    /// Why no further call is taken.
    ended: Option<End>,
}

/// Why a conversation ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The other side went away, in these words.
    Gone(String),
    /// It broke the protocol.
    Broken(String),
}

impl End {
    fn error(&self, server: &str) -> UpstreamError {
        match self {
            End::Gone(_) => UpstreamError::Gone { server: server.into() },
            End::Broken(what) => UpstreamError::Protocol { server: server.into(), what: what.clone() },
        }
    }

    pub(super) fn words(&self) -> &str {
        match self {
            End::Gone(why) | End::Broken(why) => why,
        }
    }
}

/// The near end of the channel. The transport feeds [`Peer::incoming`] and drains the receiver it was made with.
pub(super) struct Peer {
    server: Arc<str>,
    ids: AtomicU64,
    era: OnceLock<Era>,
    out: mpsc::Sender<Outgoing>,
    calls: Mutex<Calls>,
    inbox: Inbox,
    garbage: Mutex<u32>,
    /// Set once the conversation has ended; the transport stops on it.
    pub(super) ended: CancellationToken,
    /// Owner of the tasks of this conversation.
    pub(super) tasks: TaskTracker,
}

impl Peer {
    pub(super) fn new(server: Arc<str>, capabilities: Option<Arc<str>>) -> (Arc<Self>, mpsc::Receiver<Outgoing>) {
        let (out, queue) = mpsc::channel(OUT_MAX);
        let peer = Self {
            server,
            ids: AtomicU64::new(1),
            era: OnceLock::new(),
            out,
            calls: Mutex::default(),
            inbox: Inbox::new(capabilities),
            garbage: Mutex::new(0),
            ended: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        (Arc::new(peer), queue)
    }

    pub(super) fn server(&self) -> &Arc<str> {
        &self.server
    }

    pub(super) fn set_era(&self, era: Era) {
        self.era.get_or_init(|| era);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<ServerMessage> {
        self.inbox.subscribe()
    }

    pub(super) fn capabilities(&self) -> Option<&str> {
        self.inbox.capabilities().map(|text| &**text)
    }

    /// Ends the conversation: every call fails, and no further one is taken. The first reason stays.
    pub(super) fn end(&self, end: End) {
        let mut calls = self.calls.lock();
        let reason = calls.ended.get_or_insert(end).clone();
        let waiting = std::mem::take(&mut calls.waiting);
        drop(calls);
        for call in waiting.into_values() {
            // The caller may have gone.
            drop(call.answer.send(Err(reason.error(&self.server))));
        }
        self.ended.cancel();
    }

    pub(super) fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Why it ended, or a general word.
    pub(super) fn end_words(&self) -> String {
        self.calls.lock().ended.as_ref().map_or_else(|| "ended".to_owned(), |end| end.words().to_owned())
    }

    /// Sends a request and waits for its answer; cancels it upstream when the limit passes or the future is dropped.
    pub(super) async fn request(self: &Arc<Self>, call: &Call, sink: Arc<dyn CallSink>) -> Answer {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let era = self.era.get().copied().unwrap_or(Era::Legacy);
        let meta = handshake::meta(era, call.capabilities.as_deref(), call.progress.then_some(id));
        let bytes = rpc::write_request(id, &call.method, call.params.as_deref(), &meta);
        let mut running = Running { peer: self, id, cancel: true };
        let asked = async { self.exchange(id, bytes, sink).await };
        match tokio::time::timeout(call.timeout, asked).await {
            Ok(answer) => {
                running.cancel = false;
                answer
            }
            Err(_) => Err(timed_out(&self.server, call.timeout)),
        }
    }

    /// A request of the handshake: it is never cancelled (`initialize` must not be), it is only no longer waited for.
    pub(super) async fn ask(self: &Arc<Self>, method: &str, params: Option<&RawValue>, meta: &[u8]) -> Answer {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let _running = Running { peer: self, id, cancel: false };
        self.exchange(id, rpc::write_request(id, method, params, meta), Arc::new(NoSink)).await
    }

    async fn exchange(&self, id: u64, bytes: Vec<u8>, sink: Arc<dyn CallSink>) -> Answer {
        let (answer, answered) = oneshot::channel();
        {
            let mut calls = self.calls.lock();
            if let Some(end) = &calls.ended {
                return Err(end.error(&self.server));
            }
            calls.waiting.insert(id, Waiting { answer, sink });
        }
        self.send(Outgoing { bytes, call: Some(id) }).await?;
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    pub(super) async fn notify(&self, method: &str, params: Option<&RawValue>) -> Result<(), UpstreamError> {
        let meta = match self.era.get() {
            Some(Era::Modern) => handshake::meta(Era::Modern, None, None),
            _ => Vec::new(),
        };
        self.send(Outgoing { bytes: rpc::write_notification(method, params, &meta), call: None }).await
    }

    pub(super) async fn respond(&self, id: &RawValue, reply: &Reply) -> Result<(), UpstreamError> {
        if !self.inbox.answered(id) {
            return Ok(());
        }
        self.send(Outgoing { bytes: rpc::write_answer(id, reply), call: None }).await
    }

    async fn send(&self, message: Outgoing) -> Result<(), UpstreamError> {
        tokio::select! {
            sent = self.out.send(message) => sent.map_err(|_| self.gone()),
            () = self.ended.cancelled() => Err(self.gone()),
        }
    }

    fn gone(&self) -> UpstreamError {
        match &self.calls.lock().ended {
            Some(end) => end.error(&self.server),
            None => UpstreamError::Gone { server: self.server.to_string() },
        }
    }

    /// Fails one call, such as when its message could not be sent.
    pub(super) fn fail(&self, id: u64, why: UpstreamError) {
        if let Some(call) = self.calls.lock().waiting.remove(&id) {
            drop(call.answer.send(Err(why)));
        }
    }

    /// Takes one message of the server. `Err` holds the shortened text of what is not a message, for the server's log.
    pub(super) fn incoming(self: &Arc<Self>, bytes: &[u8]) -> Result<(), String> {
        let message = match rpc::parse(bytes) {
            Ok(message) => message,
            Err(why) => return Err(self.garbage(bytes, &why)),
        };
        *self.garbage.lock() = 0;
        match message {
            Message::Answer { id: Some(id), outcome } => self.answered(id, outcome),
            // An answer to nothing we asked; late ones and errors without an id end here.
            Message::Answer { id: None, .. } => {}
            Message::Notification { method, params } => self.notified(&method, params),
            Message::Request { id, method, params } => self.asked(id, &method, params),
        }
        Ok(())
    }

    fn garbage(&self, bytes: &[u8], why: &rpc::Malformed) -> String {
        let mut count = self.garbage.lock();
        *count += 1;
        if *count >= GARBAGE_MAX {
            self.end(End::Broken(format!("{GARBAGE_MAX} lines in a row were not JSON-RPC, the last one {why}")));
        }
        let head = &bytes[..bytes.len().min(800)];
        format!("{why}: {}", handshake::shortened(&String::from_utf8_lossy(head), 200))
    }

    fn answered(&self, id: u64, outcome: Outcome<'_>) {
        let waiting = self.calls.lock().waiting.remove(&id);
        if let Some(call) = waiting {
            drop(call.answer.send(Ok(outcome.to_reply())));
        }
    }

    fn notified(&self, method: &str, params: Option<&RawValue>) {
        if method == "notifications/cancelled" && self.era.get() == Some(&Era::Modern) {
            // The server takes a subscription down; nothing else may be cancelled by it.
            let id = params.and_then(|p| rpc::member(p, "requestId")).and_then(|raw| raw.get().parse().ok());
            return if let Some(id) = id {
                self.fail(id, self.gone())
            };
        }
        let sink = self.sink_of_notification(method, params);
        if sink.is_none() && method == "notifications/progress" {
            // Of a call that was answered or given up.
            return;
        }
        self.inbox.notification(method, params, sink.as_ref());
    }

    /// Progress finds its call by our token, which is the id of the request; what a subscription sends carries that id too.
    fn sink_of_notification(&self, method: &str, params: Option<&RawValue>) -> Option<Arc<dyn CallSink>> {
        if method == "notifications/progress" {
            let token = params.and_then(|p| rpc::member(p, "progressToken"))?;
            return self.sink(token.get().parse().ok()?);
        }
        if self.era.get() != Some(&Era::Modern) {
            return None;
        }
        let meta = params.and_then(|p| rpc::member(p, "_meta"));
        let subscription = meta.and_then(|meta| rpc::member(meta, "io.modelcontextprotocol/subscriptionId"));
        match subscription {
            Some(id) => self.sink(id.get().parse().ok()?),
            None => self.only_sink(),
        }
    }

    fn sink(&self, id: u64) -> Option<Arc<dyn CallSink>> {
        self.calls.lock().waiting.get(&id).map(|call| call.sink.clone())
    }

    /// The sink of the running call, if exactly one runs: with two, nobody can tell whose message it is.
    fn only_sink(&self) -> Option<Arc<dyn CallSink>> {
        let calls = self.calls.lock();
        let mut sinks = calls.waiting.values().map(|call| &call.sink);
        match (sinks.next(), sinks.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }

    fn asked(self: &Arc<Self>, id: &RawValue, method: &str, params: Option<&RawValue>) {
        match self.inbox.request(id, method, params, self.only_sink().as_ref()) {
            Asked::Answer(bytes) => self.send_now(bytes),
            Asked::HandedOn => {
                let (peer, id) = (Arc::clone(self), id.to_owned());
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = tokio::time::sleep(ANSWER_WITHIN) => {}
                        () = peer.ended.cancelled() => return,
                    }
                    if peer.inbox.answered(&id) {
                        peer.send_now(rpc::write_refusal(&id, -32601, "the client did not answer"));
                    }
                });
            }
        }
    }

    /// Sends without waiting. A server that does not read its input loses what it would not have read.
    fn send_now(&self, bytes: Vec<u8>) {
        drop(self.out.try_send(Outgoing { bytes, call: None }));
    }
}

/// A call that runs. Dropped early, it is taken off the table and the server is told.
struct Running<'a> {
    peer: &'a Arc<Peer>,
    id: u64,
    cancel: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let waited = self.peer.calls.lock().waiting.remove(&self.id).is_some();
        if waited && self.cancel {
            let params = handshake::raw(format!("{{\"requestId\":{}}}", self.id));
            let meta = match self.peer.era.get() {
                Some(Era::Modern) => handshake::meta(Era::Modern, None, None),
                _ => Vec::new(),
            };
            self.peer.send_now(rpc::write_notification("notifications/cancelled", Some(&params), &meta));
        }
    }
}
