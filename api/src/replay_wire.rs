//! Shapes of `audit replay`, which server and client share.
use mcpctl_core::ids::Seq;
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What is to be decided again. Without bounds, everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReplayRequest {
    /// Not before: a seq, a moment, or how long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Not after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Something that was not allowed, or was refused and should not have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotProved {
    /// Seq of the event, or position in the audit log.
    pub position: Seq,
    /// The state that it was decided in.
    pub seq: Seq,
    /// When it happened.
    pub at: Timestamp,
    /// Who is said to have done it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What was done, or asked for.
    pub what: String,
    /// Why it is not proved.
    pub why: String,
}

/// What the replay of one log came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// Entries read.
    pub read: u64,
    /// Entries that were decided again.
    pub checked: u64,
    /// Entries in which nothing was decided that could be: a password, a malformed request.
    pub undecided: u64,
    /// Entries decided again that came out otherwise.
    pub not_proved: u64,
    /// The first of them, at most a hundred.
    pub findings: Vec<NotProved>,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// The last event that was read.
    pub seq: Seq,
    /// Events of the configuration: each was allowed in the state before it.
    pub mutations: Replayed,
    /// Calls, refusals and looks of the audit log: each is decided the same way in the state that it names.
    pub decisions: Replayed,
    /// How long the mutations took, in milliseconds.
    pub mutations_ms: u64,
    /// How long the decisions took, in milliseconds.
    pub decisions_ms: u64,
}

impl ReplayReport {
    /// Whether everything was proved.
    #[must_use]
    pub const fn proved(&self) -> bool {
        self.mutations.not_proved == 0 && self.decisions.not_proved == 0
    }
}

/// One line of the answer: how far it is, what it came to, or why it can't go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReplayLine {
    /// So many of so many are done.
    #[serde(rename_all = "camelCase")]
    Progress {
        /// `mutations` or `decisions`.
        phase: String,
        /// Done.
        done: u64,
        /// Of so many.
        of: u64,
    },
    /// It is over.
    Report(Box<ReplayReport>),
    /// It can't go on: the log can't be read, or an event does not follow from those before it.
    Failed(String),
}
