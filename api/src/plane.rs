//! What a gateway may ask of the control plane, in the same process or from afar.
use std::sync::Arc;

use async_trait::async_trait;
use mcpctl_core::access::Asked;
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::{ToolFilter, ToolNames};
use mcpctl_core::pins::Pins;
use mcpctl_core::plaintext::Plaintext;
use mcpctl_core::reach::Whose;
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cut::Cut;
use crate::upstream::Sessions;

/// A caller's bearer: a gateway has nothing else to show to the control plane, and it can be shown to nobody else.
#[derive(Clone)]
pub struct CallerBearer {
    raw: Arc<Plaintext>,
    digest: Digest,
}

impl CallerBearer {
    /// Takes the bearer of a request.
    #[must_use]
    pub fn new(raw: String) -> Self {
        let digest = Digest::sha256(raw.as_bytes());
        Self { raw: Arc::new(Plaintext::new(raw)), digest }
    }

    /// Whether it is this text. How long that takes to say tells nothing of where they differ.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let (own, text) = (self.raw.expose().as_bytes(), text.as_bytes());
        own.len() == text.len() && own.iter().zip(text).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }

    /// SHA-256 of it, by which it is known.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// A key that only who has this bearer can make, the same in every gateway: for what a client is to carry to the next
    /// one. `purpose` keeps keys of different uses apart.
    #[must_use]
    pub fn derive_key(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, self.raw.expose().as_bytes())
    }

    /// The text, for the control plane's client only.
    pub(crate) fn expose(&self) -> &str {
        self.raw.expose()
    }
}

/// Who a bearer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// The identity that acts: a token, or a person with a login (STDIO bridge).
    pub actor: Actor,
    /// Whose rights bound it, for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Actor>,
    /// SHA-256 of the bearer, for tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha: Option<Digest>,
}

/// A project as the gateway serves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectView {
    /// Identity.
    pub uid: Uid,
    /// Name.
    pub name: String,
    /// What agents are told about it.
    #[serde(default)]
    pub instructions: Option<String>,
    /// How tools are named.
    pub tool_names: ToolNames,
    /// Whether a call must be durably recorded before it goes upstream.
    #[serde(default)]
    pub strict: bool,
    /// Its servers, in the order of the project.
    pub servers: Vec<ServerView>,
    /// Changes whenever anything above does: the highest version among the project and its servers.
    pub version: Seq,
}

/// A server as the gateway serves it. What it runs, where it is and its secrets are not in here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerView {
    /// Identity.
    pub uid: Uid,
    /// Name: the prefix of its tools.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The server's own filter.
    #[serde(default)]
    pub tools: ToolFilter,
    /// The project's filter for it.
    #[serde(default)]
    pub project_tools: ToolFilter,
    /// The definitions of its tools that somebody approved; nothing when the project asks for no approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<Arc<Pins>>,
    /// Version of the server object.
    pub version: Seq,
}

impl ServerView {
    /// Whether the filters let a tool through, under the server's own name for it.
    #[must_use]
    pub fn lets_through(&self, tool: &str) -> bool {
        self.tools.serves(tool) && self.project_tools.serves(tool)
    }

    /// How a tool is to be shown: as the project says, else as its server's manifest does.
    fn overridden<'s, T: ?Sized>(
        &'s self,
        tool: &str,
        what: impl Fn(&'s mcpctl_core::kinds::ToolOverride) -> Option<&'s T>,
    ) -> Option<&'s T> {
        [&self.project_tools, &self.tools].into_iter().find_map(|filter| filter.overrides.get(tool).and_then(&what))
    }

    /// The name by which agents know a tool, without the server's.
    #[must_use]
    pub fn shown_name<'s>(&'s self, tool: &'s str) -> &'s str {
        self.overridden(tool, |shown| shown.name.as_deref()).unwrap_or(tool)
    }

    /// What agents are told of a tool instead of what its server says.
    #[must_use]
    pub fn shown_description(&self, tool: &str) -> Option<&str> {
        self.overridden(tool, |shown| shown.description.as_deref())
    }

    /// The server's own name of a tool that agents know by a name; nothing when it is the own name of one that has another.
    #[must_use]
    pub fn own_name<'s>(&'s self, shown: &'s str) -> Option<&'s str> {
        let all = [&self.project_tools, &self.tools].into_iter().flat_map(|filter| filter.overrides.keys());
        let mut renamed = all.filter(|tool| self.shown_name(tool) == shown && *tool != shown);
        match renamed.next() {
            Some(tool) => Some(tool),
            None => (self.shown_name(shown) == shown).then_some(shown),
        }
    }

    /// Whether a tool has a definition that may be seen and called.
    #[must_use]
    pub fn is_approved(&self, tool: &str) -> bool {
        self.pins.as_ref().is_none_or(|pins| pins.contains_key(tool))
    }

    /// Whether a tool is served.
    #[must_use]
    pub fn serves(&self, tool: &str) -> bool {
        self.lets_through(tool) && self.is_approved(tool)
    }

    /// Whether a tool is served with this definition. One that has none that could be hashed is not, where approval is asked.
    #[must_use]
    pub fn shows(&self, tool: &str, definition: Option<Digest>) -> bool {
        let approved = |pins: &Arc<Pins>| pins.get(tool).zip(definition).is_some_and(|(all, one)| all.contains(&one));
        self.lets_through(tool) && self.pins.as_ref().is_none_or(approved)
    }

    /// Whether nothing of it is withheld, so that a method which nobody knows can go around nothing.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tools.is_empty() && self.project_tools.is_empty() && self.pins.is_none()
    }
}

/// A caller that may open a project, decided at a seq.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Who.
    pub caller: Arc<Caller>,
    /// The project.
    pub project: Arc<ProjectView>,
    /// The state it was decided in.
    pub seq: Seq,
    /// Events that made the grants which were used.
    pub via: Arc<[Seq]>,
    /// Says when the access is over, and counts who is inside: live streams and calls in flight end with it.
    pub cut: Cut,
}

impl Admission {
    /// Whose access it is.
    #[must_use]
    pub fn whose(&self) -> Whose {
        let owner = self.caller.owner.as_ref().map(|owner| owner.uid);
        Whose { subject: self.caller.actor.uid, owner, project: self.project.uid }
    }
}

/// Why a caller may not open a project. The text is fit for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No bearer, or none of the form of a project token: 401.
    #[error("{0}")]
    NotAToken(&'static str),
    /// A well-formed token that is not known, revoked or expired, as the control plane said: 401.
    #[error("the token is {0}")]
    Ended(&'static str),
    /// A live token of another project: 403.
    #[error("the token is for another project")]
    OtherProject,
    /// The caller, or the token's owner, lacks a right: 403.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such project (told only to who may see projects): 404.
    #[error("project {0:?} does not exist")]
    NoProject(String),
    /// The control plane can't be asked, or the lease ran out: 503, fail closed.
    #[error("the control plane can't be asked now: {0}")]
    Unavailable(String),
}

/// Rules by which a request is refused that are none of access.
pub mod rule {
    /// A filter of the server or of the project hides the tool.
    pub const NOT_SERVED: &str = "not-served";
    /// The tool's definition waits for approval.
    pub const QUARANTINED: &str = "tool-quarantined";
    /// The project does not have the server.
    pub const NOT_IN_PROJECT: &str = "not-in-project";
    /// A method that could go around the server's filters.
    pub const UNKNOWN_METHOD: &str = "unknown-method";
    /// The access was taken away meanwhile.
    pub const CUT: &str = "cut";
    /// More was to be given than the giver holds.
    pub const CEILING: &str = "ceiling";
    /// E-mail address and password.
    pub const PASSWORD: &str = "password";
}

/// Kinds of audit entries that are written besides the one that closes a request.
pub mod kind {
    /// A call of a strict project that goes upstream next: durable before it does.
    pub const CALL_ADMITTED: &str = "call.admitted";
    /// A call, a stream or a conversation with a server that ended because the access did.
    pub const SESSION_CUT: &str = "session.cut";
}

/// Whether a request to a server is one that a strict project records before it is made: everything but lists and what says
/// how to speak to the server, and what tells how a call stands that was recorded when it was made. A method that nobody thought
/// of is recorded.
#[must_use]
pub fn is_call(method: &str) -> bool {
    const SPEAKING: [&str; 10] = [
        "ping",
        "initialize",
        "server/discover",
        "mcpctl/handshake",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "subscriptions/listen",
        "tasks/get",
        "tasks/result",
    ];
    !SPEAKING.contains(&method) && !method.ends_with("/list")
}

/// One line of the audit log: a call, a refusal, a login.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Drawn by the gateway that wrote it, 32 hexadecimal digits: what is delivered twice is recorded once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it began.
    pub at: Timestamp,
    /// What sort of line: `call`, `list`, `refusal`, `session`, `login`, `secret-read`, `audit-read`, `recovery`, `proxy`,
    /// `call.admitted`, `session.cut`.
    pub kind: String,
    /// MCP method or REST operation, such as `tools/call`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Who, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The service account that they acted as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Actor>,
    /// Whose rights bound the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Actor>,
    /// SHA-256 of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha: Option<Digest>,
    /// Project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Downstream session, shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Upstream server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Tool, prompt or resource, under the server's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// The state it was decided in.
    pub seq: Seq,
    /// Events that made the grants which were used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<Seq>,
    /// The question that was decided: asked again of the state at `seq`, it must be answered the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// By which rule it was decided: one of access (`rbac`, `own`, `token`, `no-grant`, …) or one of [`rule`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What came of it: `ok`, `tool-error`, `input-required`, `error`, `denied`, `timeout`, `cancelled`, `cut`, `unavailable`.
    pub outcome: String,
    /// More on the outcome; never an argument or a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Microseconds from the first byte parsed to the answer.
    pub duration_us: u64,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the answer.
    pub answer_bytes: u64,
    /// Hash of the definition by which the tool was known when it was called: what the agent had been shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Digest>,
    /// blake3 of the raw arguments; stored under a key of the control plane, so that short arguments can't be guessed from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Digest>,
    /// blake3 of the result or the error that was answered; stored under the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Digest>,
    /// What was taken out before it was stored, because it looked like a secret or was one: the field, and what it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
}

/// The audit log can't take an entry: the call it is about must not be answered with success.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the audit log takes no entries: {0}")]
pub struct AuditFailed(pub String);

/// Figures of the word by which a gateway serves, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchFigures {
    /// Accesses that are held now.
    pub held: u64,
    /// Streams that began anew because something was missed.
    pub resyncs: u64,
    /// Accesses that ended because the control plane was not heard in time.
    pub lapses: u64,
    /// Calls and streams that a revocation ended.
    pub cut: u64,
    /// Calls and streams that a lapse ended.
    pub lapsed: u64,
    /// Since the ping was sent that was answered last, in milliseconds: how old the word is. Nothing while no stream is open.
    pub lease_age_ms: Option<u64>,
    /// For how long a line of the stream has not been done that takes something away, in milliseconds.
    pub lag_ms: u64,
    /// Whether nobody is served because the control plane's log is another one than was seen before.
    pub refused: bool,
}

/// The control plane as a gateway sees it.
#[async_trait]
pub trait Plane: Send + Sync + 'static {
    /// Decides whether a bearer may open a project now. Never answered from a cache with a time to live.
    ///
    /// # Errors
    /// See [`Denial`].
    async fn admit(&self, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial>;

    /// Conversations with servers on behalf of this caller.
    fn sessions(&self, bearer: &CallerBearer) -> Arc<dyn Sessions>;

    /// Writes down that a call of a strict project was admitted, before a server is called. When it returns, the entry is
    /// durable: it survives a power cut. A plane whose servers are reached through another process leaves it to that one,
    /// which is the one that calls them.
    ///
    /// # Errors
    /// When the entry is not durable in time. The server must not be called then.
    async fn admitted(&self, bearer: Option<&CallerBearer>, entry: AuditEntry) -> Result<(), AuditFailed>;

    /// Writes an audit entry. When it returns, the entry survives the death of this process.
    ///
    /// # Errors
    /// When the entry could not be written.
    async fn record(&self, bearer: Option<&CallerBearer>, entry: AuditEntry) -> Result<(), AuditFailed>;

    /// Seq of the newest state that this gateway knows, for `/healthz`.
    fn seq(&self) -> Seq;

    /// Why nobody is served by what the control plane says, until a person decides: its log is another one than was seen
    /// before. Never in the process that has the log.
    fn refused(&self) -> Option<String> {
        None
    }

    /// Figures of the word by which this gateway serves, for `/metrics`. All zero in the process that decides.
    fn watch_figures(&self) -> WatchFigures {
        WatchFigures::default()
    }
}
