//! Shapes of the audit routes that server and client share.
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::client::AuditItem;

/// A line of `GET /audit/tail` that is no entry: where to go on, and why there is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TailWord {
    /// Position of the next entry to be told: everything before it was.
    pub next: Seq,
    /// Why the stream ends; nothing while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<TailEnd>,
}

/// Why a stream of entries ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TailEnd {
    /// All was told that there is, and nobody asked for more.
    Level,
    /// The reader took too long.
    Slow,
    /// The reader may not read any more.
    Refused,
    /// The control plane stops.
    Stopping,
    /// The log can't be read.
    Failed,
}

/// What an agent did in one go: in a session of MCP, or, where there are none, until it was silent for half an hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditSession {
    /// The session as far as the log shows it, or `run-<position of its first entry>`.
    pub id: String,
    /// Project.
    pub project: String,
    /// Who acted.
    pub actor: Actor,
    /// Whose rights bound the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Actor>,
    /// SHA-256 of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha: Option<Digest>,
    /// Begin of the first entry.
    pub from: Timestamp,
    /// End of the last entry.
    pub to: Timestamp,
    /// Position of the first entry.
    pub first: Seq,
    /// Position of the last entry.
    pub last: Seq,
    /// Calls that were allowed.
    pub calls: u64,
    /// Lists that were shown.
    pub lists: u64,
    /// What was refused.
    pub refusals: u64,
    /// Servers that were called.
    pub servers: Vec<String>,
    /// How it ended.
    pub ended: SessionEnd,
    /// It began before what was read for this answer: there is more of it than is counted here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// Body of `POST /audit/erase`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EraseRequest {
    /// `User:<e-mail>`, `ServiceAccount:<name>` or `McpToken:<SHA-256>`.
    pub subject: String,
    /// Only says what would be erased.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was erased, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// Entries.
    pub entries: u64,
    /// Position of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Seq>,
    /// Position of the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Seq>,
    /// Position of the entry that says so, when it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Seq>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionEnd {
    /// It goes on, or nobody said that it does not.
    Open,
    /// The client ended it.
    Closed,
    /// The access was taken away.
    Cut,
    /// Nothing was heard for half an hour.
    Idle,
}

/// Answer to `GET /audit/sessions/<id>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionShown {
    /// The session.
    pub session: AuditSession,
    /// Its entries, in order.
    pub items: Vec<AuditItem>,
    /// Position where to go on, when there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
