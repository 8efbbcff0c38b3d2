//! Conversations with MCP servers: what the gateway and the control plane may ask of any server, however it is reached.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_core::ids::Uid;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use zeroize::Zeroizing;

pub(crate) mod address_guard;
mod backoff;
mod breaker;
mod child;
mod conversation;
mod endpoint;
mod exchange;
pub(crate) mod fleet;
mod fleet_health;
mod fleet_server;
mod fleet_slots;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guardian;
mod handshake;
mod health;
mod http;
mod http_answer;
mod http_head;
mod http_headers;
mod http_io;
mod http_line;
mod http_stream;
mod inbox;
mod lines;
mod logs;
mod opening;
mod peer;
mod peer_open;
mod rpc;
mod sse_legacy;
mod sse_parser;
mod stdio;
#[cfg(test)]
mod testing;
pub mod trace;
mod watched;

pub use child::live_children;
pub use fleet::{FAILURES_MAX, Fleet, FleetLimits, InstanceState, InstanceStatus};
pub use health::{CALL_FAILURES_MAX, Check, HealthState, LastFailure, Probed, ServerHealth};
pub use logs::{LogLine, LogSource};
pub use watched::ListTap;

/// Which protocol generation a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// Before 2026-07-28: `initialize` and sessions.
    Legacy,
    /// 2026-07-28 and later: stateless.
    Modern,
}

/// How a server is started or reached, with every secret already resolved. Never logged, never serialised.
pub enum Launch {
    /// A child process that speaks over its standard input and output.
    Stdio {
        /// Program and arguments; never a shell line.
        argv: Vec<String>,
        /// Declared environment, added to the allow-listed one.
        env: BTreeMap<String, Zeroizing<String>>,
    },
    /// A Streamable HTTP endpoint.
    Http {
        /// Where.
        url: url::Url,
        /// Declared headers.
        headers: BTreeMap<String, Zeroizing<String>>,
        /// Whether the address may be loopback or private.
        allow_private_address: bool,
    },
    /// A server of the 2024-11-05 transport: GET stream plus POST.
    Sse {
        /// Where.
        url: url::Url,
        /// Declared headers.
        headers: BTreeMap<String, Zeroizing<String>>,
        /// Whether the address may be loopback or private.
        allow_private_address: bool,
    },
}

/// One server as the fleet needs it. A changed `revision` restarts it.
pub struct ServerPlan {
    /// Identity of the server object.
    pub uid: Uid,
    /// Its name, for messages and instance names.
    pub name: String,
    /// Changes whenever anything in `launch` may have changed.
    pub revision: u64,
    /// How to start or reach it.
    pub launch: Launch,
    /// Copies kept running; more are started for sessions of the legacy era, up to `sessions_max`.
    pub replicas: u32,
    /// Most conversations (processes, for STDIO) at once.
    pub sessions_max: u32,
    /// How its health is checked.
    pub check: Check,
}

/// Whose conversation it is: legacy servers keep state per session, so two keys never share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// Project through which the server is used.
    pub project: Uid,
    /// The caller: a token, a user, a service account.
    pub subject: Uid,
    /// The downstream session where there is one (legacy clients); `None` shares one per subject.
    pub session: Option<Arc<str>>,
    /// Client capabilities offered to a legacy server when it is opened: a JSON object, `None` offers none.
    /// A server may ask (sampling, elicitation, roots) only for what is offered here.
    pub capabilities: Option<Arc<str>>,
}

impl SessionKey {
    /// The key of a subject in a project that offers no client capabilities and has no downstream session.
    #[must_use]
    pub fn new(project: Uid, subject: Uid) -> Self {
        Self { project, subject, session: None, capabilities: None }
    }
}

/// What a server said of itself when the conversation was opened.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Generation spoken in this conversation.
    pub era: Era,
    /// Negotiated protocol version, such as `2025-11-25`.
    pub version: String,
    /// `serverInfo`, untouched.
    pub server_info: Option<Arc<RawValue>>,
    /// `capabilities`, untouched.
    pub capabilities: Option<Arc<RawValue>>,
    /// `instructions`.
    pub instructions: Option<Arc<str>>,
}

/// One request to a server. Everything is raw JSON: nothing is decoded that need not be.
pub struct Call {
    /// Method, such as `tools/call`.
    pub method: Arc<str>,
    /// `params` as they go upstream. `_meta` of the caller's era is already gone; the conversation adds its own.
    pub params: Option<Box<RawValue>>,
    /// The caller wants `notifications/progress`: the conversation draws a token of its own and reports through the sink.
    pub progress: bool,
    /// `Mcp-Name` for modern HTTP servers: the tool, prompt or resource, under its upstream name.
    pub target: Option<Arc<str>>,
    /// `Mcp-Param-*` headers and trace context to pass on, for HTTP servers.
    pub headers: Vec<(String, String)>,
    /// Client capabilities declared with this request to a modern server: a JSON object, `None` declares none.
    pub capabilities: Option<Arc<str>>,
    /// How long the answer may take.
    pub timeout: Duration,
}

impl Call {
    /// A call with nothing but a method, params and a limit.
    #[must_use]
    pub fn new(method: impl Into<Arc<str>>, params: Option<Box<RawValue>>, timeout: Duration) -> Self {
        Self {
            method: method.into(),
            params,
            progress: false,
            target: None,
            headers: Vec::new(),
            capabilities: None,
            timeout,
        }
    }
}

/// What arrives from a server while a call runs, or outside of any call.
#[derive(Clone, Debug)]
pub enum ServerMessage {
    /// A notification, whole: `{"jsonrpc":"2.0","method":…,"params":…}` taken apart one level.
    /// For progress of a call the `progressToken` is the conversation's own; the receiver puts the caller's in.
    Notification {
        /// Method.
        method: Arc<str>,
        /// Its `params`, untouched.
        params: Option<Arc<RawValue>>,
    },
    /// A request of a legacy server to its client (sampling, elicitation, roots, ping is answered below).
    Request {
        /// The server's id, to be given back to [`Session::respond`].
        id: Arc<RawValue>,
        /// Method.
        method: Arc<str>,
        /// Its `params`, untouched.
        params: Option<Arc<RawValue>>,
    },
    /// The server asked for something that its client had not offered, and was refused. If the call fails now, that may be
    /// why.
    Refused {
        /// Method, such as `sampling/createMessage`.
        method: Arc<str>,
    },
}

/// Receives what arrives while a call runs. Must not block.
pub trait CallSink: Send + Sync {
    /// One message that belongs to the call.
    fn message(&self, message: ServerMessage);
}

/// A sink for callers that want the answer only.
pub struct NoSink;
impl CallSink for NoSink {
    fn message(&self, _: ServerMessage) {}
}

/// The answer to a call: the server's `result` or `error` member, untouched.
#[derive(Debug)]
pub enum Reply {
    /// `result`.
    Result(Box<RawValue>),
    /// `error`, an object with `code` and `message`.
    Error(Box<RawValue>),
}

/// Why a server did not answer. The text names the server and is fit for the agent: no address, no header, no argument.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// It can't be started or reached.
    #[error("server {server:?} is not available: {why}")]
    Unavailable {
        /// Name of the server.
        server: String,
        /// What happened and what to do.
        why: String,
    },
    /// It did not answer in time.
    #[error("server {server:?} did not answer within {seconds} s")]
    TimedOut {
        /// Name of the server.
        server: String,
        /// The limit.
        seconds: u64,
    },
    /// It sent something that is not MCP.
    #[error("server {server:?} broke the protocol: {what}")]
    Protocol {
        /// Name of the server.
        server: String,
        /// What was wrong.
        what: String,
    },
    /// All of its conversations are taken.
    #[error("server {server:?} has {limit} sessions open, its limit: try again later or raise `sessionsMax`")]
    Busy {
        /// Name of the server.
        server: String,
        /// The limit.
        limit: u32,
    },
    /// The call can't be recorded: in a strict project it was not made, elsewhere what it came to is withheld.
    #[error("the audit log takes no entry of the call, so there is no answer: {why}")]
    Unrecorded {
        /// What is wrong with the audit log.
        why: String,
    },
    /// The conversation ended (the process died, the session was closed) while the call ran.
    #[error("server {server:?} went away during the call")]
    Gone {
        /// Name of the server.
        server: String,
    },
}

/// One conversation with one server.
#[async_trait]
pub trait Session: Send + Sync {
    /// What the server said of itself.
    fn handshake(&self) -> &Handshake;

    /// Sends a request and waits for its answer. Dropping the future cancels the request upstream, in the way of its era.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    async fn request(&self, call: Call, sink: Arc<dyn CallSink>) -> Result<Reply, UpstreamError>;

    /// Sends a notification.
    ///
    /// # Errors
    /// When the server is gone.
    async fn notify(&self, method: &str, params: Option<&RawValue>) -> Result<(), UpstreamError>;

    /// Answers a request that the server made (legacy).
    ///
    /// # Errors
    /// When the server is gone.
    async fn respond(&self, id: &RawValue, reply: Reply) -> Result<(), UpstreamError>;

    /// Messages that belong to no call: `list_changed`, `resources/updated`, log messages. A slow reader is told that it lagged.
    fn messages(&self) -> broadcast::Receiver<ServerMessage>;

    /// Whether the conversation can still be used.
    fn is_open(&self) -> bool;
}

/// Where sessions come from: the fleet of this process, or the control plane's proxy from afar.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Opens the conversation of this key with this server, or gives the open one.
    /// A server that just failed fails fast until its back-off is over.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    async fn session(&self, server: Uid, key: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError>;

    /// Ends every conversation of this downstream session.
    async fn end(&self, key: &SessionKey);

    /// Why no conversation can be opened at all, whoever asks and however often: what stands in the way is on this side.
    fn unavailable(&self) -> Option<String> {
        None
    }
}
