//! Facts about the health of a server: that it is left alone because it fails, and that it answers again.
//!
//! How it is at a moment is an observation and no fact of the log; that this changed is one. What is written says what sort
//! of failure it was, in words of ours: what the server itself said may hold anything, and the log is kept for ever.
use std::fmt;

use serde::{Deserialize, Serialize};

use super::server_tools::ServerEvent;
use crate::ids::Uid;
use crate::time::Timestamp;

/// What sort of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCause {
    /// It can't be started or reached, or sends everybody away.
    Unavailable,
    /// It did not answer in time.
    TimedOut,
    /// It ended, or closed the connection.
    Gone,
    /// What it sent is no MCP.
    Protocol,
    /// The check that was declared for it failed.
    CheckFailed,
}

impl FailureCause {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Unavailable => "it can't be started or reached",
            Self::TimedOut => "it did not answer in time",
            Self::Gone => "it ended or closed the connection",
            Self::Protocol => "what it sends is no MCP",
            Self::CheckFailed => "its healthCheck fails",
        }
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// A server that is left alone because it failed too often in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unhealthy {
    /// What sort of failure it was last.
    pub cause: FailureCause,
    /// How often its health changed since the last such event without an event of its own: a server that comes and goes
    /// shall not fill the log.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unrecorded: u64,
}

/// A server that answers again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answers {
    /// As in [`Unhealthy`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unrecorded: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Name of the event that a server is left alone because it fails.
pub const FAILED: &str = "failed";
/// Name of the event that it answers again.
pub const RECOVERED: &str = "recovered";

/// What the control plane notes about the health of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthAction {
    /// It is left alone.
    Fail {
        /// The server that is meant, so that another one that has its name now is not; a replay knows no other.
        server: Option<Uid>,
        /// What is noted.
        what: Unhealthy,
    },
    /// It answers again.
    Recover {
        /// As above.
        server: Option<Uid>,
        /// What is noted.
        what: Answers,
    },
}

impl HealthAction {
    /// The fact that it leaves of a server that is `failing` so far; nothing when that is known, or another one is meant.
    pub(super) fn decide(&self, of: Uid, failing: bool) -> Vec<ServerEvent> {
        let (Self::Fail { server, .. } | Self::Recover { server, .. }) = self;
        if server.is_some_and(|server| server != of) {
            return Vec::new();
        }
        match self {
            Self::Fail { what, .. } if !failing => vec![ServerEvent::Failed(what.clone())],
            Self::Recover { what, .. } if failing => vec![ServerEvent::Recovered(what.clone())],
            Self::Fail { .. } | Self::Recover { .. } => Vec::new(),
        }
    }

    /// The action that left an event, if it was one of these.
    pub(super) fn of(event: &ServerEvent) -> Option<Self> {
        match event {
            ServerEvent::Failed(what) => Some(Self::Fail { server: None, what: what.clone() }),
            ServerEvent::Recovered(what) => Some(Self::Recover { server: None, what: what.clone() }),
            ServerEvent::Seen { .. } | ServerEvent::Drifted { .. } => None,
        }
    }
}

/// Since when a server is left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub cause: FailureCause,
}
