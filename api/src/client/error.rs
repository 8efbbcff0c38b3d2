//! What can go wrong when the control plane is asked.
use std::time::Duration;

use mcpctl_core::refusal::Violation;

use crate::wire::Problem;

/// The control plane said no, or could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It answered with a problem.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// It can't be reached, or the connection broke.
    #[error("the control plane at {address} can't be reached: {why}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the connection said.
        why: String,
    },
    /// It did not answer in time.
    #[error("the control plane at {address} did not answer within {} s", limit.as_secs())]
    TimedOut {
        /// Where it was asked.
        address: String,
        /// How long was waited.
        limit: Duration,
    },
    /// It sends somewhere else. The bearer does not follow.
    #[error("{address} answers with a redirect to {to}")]
    Redirected {
        /// Where it was asked.
        address: String,
        /// Where it points.
        to: String,
    },
    /// What answered is not a control plane.
    #[error("{address} does not answer like a control plane: {what}")]
    NotOurs {
        /// Where it was asked.
        address: String,
        /// What is odd about the answer.
        what: String,
    },
}

impl ClientError {
    /// HTTP status of the refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            _ => None,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(problem) => problem.hint.clone(),
            Self::Unreachable { .. } => {
                Some("start it with `mcpctl up`, or choose another with --context or MCPCTL_API".to_owned())
            }
            Self::TimedOut { .. } => Some("see `mcpctl status` and the log of the control plane".to_owned()),
            Self::Redirected { to, .. } => {
                Some(format!("if that is right, set the address: mcpctl config set-context NAME --api {to}"))
            }
            Self::NotOurs { .. } => Some("check the address: `mcpctl config view` shows it".to_owned()),
        }
    }

    /// What is wrong with which field.
    #[must_use]
    pub fn fields(&self) -> &[Violation] {
        match self {
            Self::Refused(problem) => &problem.errors,
            _ => &[],
        }
    }

    /// Whether the object changed since it was read, or exists already.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Whether there is no such thing (or none that the caller may know of).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
}
