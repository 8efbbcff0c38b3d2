//! Shapes of the REST API that server and client share.
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::{FailureCause, Identity};
use mcpctl_core::record::Authz;
use mcpctl_core::refusal::Violation;
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Seq of the state that an answer was made from.
pub const REVISION: &str = "mcpctl-revision";
/// The newest signed checkpoint: `<origin> <size> <root>`. An event is in every checkpoint whose size is its seq or more.
pub const CHECKPOINT: &str = "mcpctl-checkpoint";
/// The answer must be from this seq or later.
pub const AT_LEAST: &str = "mcpctl-at-least";
/// Makes a retry of a mutation harmless.
pub const REQUEST_ID: &str = "mcpctl-request-id";
/// The service account that the caller acts as.
pub const SERVICE_ACCOUNT: &str = "x-service-account";
/// What became of a mutation: `created`, `changed`, `unchanged`, `deleted`.
pub const OUTCOME: &str = "mcpctl-outcome";
/// [`Fenced`] in JSON, on the answer to a change whose body is an object or a list.
pub const FENCED: &str = "mcpctl-fenced";

/// `application/problem+json` (RFC 9457), with fields and hints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable name, such as `urn:mcpctl:problem:forbidden`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened, this time.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong with which field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
    /// The state it was decided in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
}

/// A list of objects or other rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List<T = Map<String, Value>> {
    /// The rows.
    pub items: Vec<T>,
    /// Where to go on, when there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Seq of the state.
    pub revision: Seq,
}

/// Answer to `GET /<plural>?view=table`: what `get` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Titles: NAME, PROJECT for kinds that live in one, the kind's own, AGE.
    pub columns: Vec<String>,
    /// One row per object.
    pub rows: Vec<TableRow>,
    /// Seq of the state.
    pub revision: Seq,
}

/// One object of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableRow {
    /// Name of the object.
    pub name: String,
    /// Its project, for kinds that live in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// As many cells as there are columns.
    pub cells: Vec<String>,
}

/// One event of an object's history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryItem {
    /// Position in the log.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// `kind/name`.
    pub object: String,
    /// `<kind>.<event>`, such as `mcptoken.revoked`.
    pub event: String,
    /// Who.
    pub actor: Actor,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Actor>,
    /// Why it was done, or what it undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it was allowed.
    pub authz: Authz,
    /// Fields that changed, each as `field: before → after`, secrets never.
    pub changes: Vec<String>,
    /// What the subject that was asked about gained (`+edit servers`) and lost (`-edit servers`) by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<String>,
    /// blake3 of the record.
    pub hash: Digest,
}

/// Answer to `GET /auth/oidc`: where and as what a public client signs people in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcOffer {
    /// The provider, as it calls itself.
    pub issuer: String,
    /// The client to say one is.
    pub client_id: String,
    /// What to ask for, parted by spaces.
    pub scopes: String,
    /// Where the browser goes.
    pub authorization_endpoint: String,
    /// Where a code becomes tokens.
    pub token_endpoint: String,
    /// Where the device flow begins, if the provider has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_authorization_endpoint: Option<String>,
}

/// `POST /auth/oidc`. It holds what opens a login: no `Debug`.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcSignIn {
    /// What the provider gave.
    pub id_token: String,
    /// What the token's nonce was made of: nonce = base64url(SHA-256(verifier)).
    pub verifier: String,
}

/// `POST /auth/login`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// E-mail address.
    pub email: String,
    /// Password.
    pub password: String,
}

/// Answer to a login; shown once.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoginAnswer {
    /// The login's bearer.
    pub token: String,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// Who.
    pub user: String,
}

/// Answer to `/auth/me`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The identity of the credential.
    pub actor: Actor,
    /// The service account that it acts as; groups and rights are its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Actor>,
    /// Whose rights bound it, for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Actor>,
    /// Project, for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Who it is at the identity provider, for a user who signs in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Groups, for a user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Rights, as bindings read, such as `edit servers`.
    pub rights: Vec<String>,
    /// When the credential ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The state it was decided in.
    pub seq: Seq,
}

/// Answer to `/mcptokens/introspect`: asked by whoever holds the token, about that token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Introspection {
    /// Whether it opens its project now.
    pub active: bool,
    /// Why not, when not: `revoked`, `expired`, `unknown`, or the right that its owner lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Identity of the token object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Name of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Whose rights bound it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Actor>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Events that made the grants which were used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<Seq>,
    /// The state it was decided in.
    pub seq: Seq,
}

/// What was waited for before a change that takes access away was answered: nobody serves by it any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fenced {
    /// Seq of the change.
    pub seq: Seq,
    /// Gateways that served by what was taken away.
    pub gateways: u32,
    /// Those that said that they have stopped.
    pub acked: u32,
    /// Milliseconds from the commit until the last of them said so.
    pub acked_ms: u64,
    /// Those that said nothing, and whose lease has run out.
    pub lease_expired: u32,
    /// Streams and calls of agents that were ended.
    pub streams_closed: u64,
    /// Milliseconds from the commit until nobody served any more.
    pub took_ms: u64,
}

/// A gateway, as `get gateways` shows it. It has no identity: it is known by the stream that it opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// First characters of its stream's name.
    pub name: String,
    /// Version of its program.
    pub version: String,
    /// Where it comes from.
    pub address: String,
    /// `OPEN`, or `LOST` while its lease has not run out yet.
    pub state: String,
    /// Since when its stream is open.
    pub since: Timestamp,
    /// Seq up to which it has done all that it was told.
    pub head: Seq,
    /// Milliseconds for which it may serve without another word.
    pub lease_ms: u64,
    /// Callers whose access it holds.
    pub tokens: usize,
    /// Milliseconds for which it has owed a confirmation.
    pub lag_ms: u64,
}

/// Answer to a delete or an action.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// `created`, `changed`, `unchanged` or `deleted`.
    pub outcome: String,
    /// Seq of the last event that it caused, or of the state when nothing changed.
    pub seq: Seq,
    /// How it became dead everywhere; nothing when that was not waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Fenced>,
    /// Objects that changed with it, such as tokens revoked with their owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

/// Answer to `/api/v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Head of the log.
    pub seq: Seq,
    /// `ok`, or `read-only` or `altered` with a reason.
    pub log: String,
    /// Objects by kind, as far as the caller may see them.
    pub objects: std::collections::BTreeMap<String, usize>,
    /// How the servers are that the caller may see.
    #[serde(default)]
    pub servers: Vec<ServerHealth>,
    /// Running copies of servers that the caller may see.
    pub instances: Vec<Instance>,
}

/// How a server is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerHealth {
    /// The server.
    pub server: String,
    /// `HEALTHY`; `FAILING`, but not often enough in a row to be left alone; `UNHEALTHY`, so that whoever calls it is answered
    /// at once; `IDLE`, to be started when it is first called; `UNKNOWN`, not answered yet.
    pub state: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// What sort of failure the last one was, also when all is well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<FailureCause>,
    /// What went wrong last, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<Timestamp>,
    /// How it is checked, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// The last probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe: Option<Probe>,
    /// When it is probed next, or tried while it is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_probe_at: Option<Timestamp>,
}

/// What a probe found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// When it began.
    pub at: Timestamp,
    /// Whether the server passed.
    pub passed: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// One running copy of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// `<server>-<n>`.
    pub name: String,
    /// Its server.
    pub server: String,
    /// `STARTING`, `RUNNING`, `BACKOFF`, `FAILED`, `STOPPED`.
    pub state: String,
    /// Process id, for what is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// `legacy` or `modern`, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<String>,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How often it was started again.
    pub restarts: u32,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Answer to `GET /log/state/grant`: whether a grant was in force, to be checked and not believed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantProof {
    /// The event after which it is asked.
    pub seq: Seq,
    /// The state root of then.
    pub root: ProvedRoot,
    /// The one after it; none when that was the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ProvedRoot>,
    /// The facts, with their paths to the root.
    pub facts: String,
}

/// An entry of the state log, and the proof that it is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProvedRoot {
    /// The entry.
    pub record: String,
    /// tlog-proof@v1.
    pub proof: String,
}

/// Answer to `GET /log/<log>/consistency/<size>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consistency {
    /// The signed checkpoint that the proof leads to.
    pub checkpoint: String,
    /// Hashes of the proof, base64 (RFC 6962, section 2.1.2).
    pub proof: Vec<String>,
}
