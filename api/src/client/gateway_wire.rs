//! What goes between a gateway and the control plane: admissions, denials, conversations, failures of servers. The lines of
//! a gateway's stream are in `stream_wire`.
use mcpctl_core::ids::Seq;
use serde::{Deserialize, Serialize};

use super::stream_wire::{Anchor, Handle, ShownLog};
use crate::plane::{Caller, Denial, ProjectView};
use crate::upstream::UpstreamError;
use crate::wire::Problem;

/// Names the stream of the gateway that asks, so that what it is told of is held by that stream from the first moment.
pub(crate) const STREAM: &str = "mcpctl-stream";
/// Names the handle that the gateway has for what it asks about.
pub(crate) const HANDLE: &str = "mcpctl-watch-handle";
/// Names a place in the log, of which the answer shall say what is there.
pub(crate) const SAW: &str = "mcpctl-saw";
/// Names the size of the checkpoint that the gateway keeps, from which the answer shall show that the log goes on.
pub(crate) const LOG_SIZE: &str = "mcpctl-log-size";
/// Says whom audit entries are about that are delivered late, when the bearer is gone.
pub(crate) const TICKET: &str = "mcpctl-audit-ticket";
/// Whose conversation with a server it is: base64url of [`Conversation`] in JSON.
pub(crate) const CONVERSATION: &str = "mcpctl-conversation";
/// How a call is made: base64url of [`CallOptions`] in JSON.
pub(crate) const CALL: &str = "mcpctl-call";
/// Method that is answered by the proxy itself: what the server said of itself.
pub(crate) const HANDSHAKE: &str = "mcpctl/handshake";
/// Method of a line that is no message of the server: what it asked for and was refused follows it.
pub(crate) const REFUSED_PREFIX: &str = "mcpctl/refused:";
/// Type of the event with which a stream says that the server failed; its data is a [`Failure`].
pub(crate) const FAILED_EVENT: &str = "failed";

/// `GET /projects/<p>/view`, the introspection of a gateway: the caller may open the project.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdmittedView {
    pub(crate) project: ProjectView,
    pub(crate) caller: Caller,
    pub(crate) via: Vec<Seq>,
    pub(crate) seq: Seq,
    /// Good for learning what becomes of this access, and for nothing else.
    pub(crate) watch_handle: Handle,
    /// Good for recording what this caller did, later and without the bearer, and for nothing else.
    #[serde(default)]
    pub(crate) ticket: String,
    /// The stream that was named holds it already.
    #[serde(default)]
    pub(crate) held: bool,
    /// What the log has at the place that was named; its end, when it ends before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<Anchor>,
    /// The log's newest checkpoint, when it was asked for and can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shown: Option<ShownLog>,
}

/// A denial that comes back as the same denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "denied", content = "detail", rename_all = "kebab-case")]
pub(crate) enum DenialWire {
    NotAToken(String),
    Ended(String),
    OtherProject,
    Forbidden(String),
    NoProject(String),
    Unavailable(String),
}

impl From<&Denial> for DenialWire {
    fn from(denial: &Denial) -> Self {
        match denial {
            Denial::NotAToken(what) => Self::NotAToken((*what).to_owned()),
            Denial::Ended(how) => Self::Ended((*how).to_owned()),
            Denial::OtherProject => Self::OtherProject,
            Denial::Forbidden(what) => Self::Forbidden(what.clone()),
            Denial::NoProject(name) => Self::NoProject(name.clone()),
            Denial::Unavailable(why) => Self::Unavailable(why.clone()),
        }
    }
}

impl From<DenialWire> for Denial {
    fn from(wire: DenialWire) -> Self {
        match wire {
            DenialWire::NotAToken(_) => Self::NotAToken("the bearer is neither a login nor a project token of mcpctl"),
            DenialWire::Ended(how) => Self::Ended(ended(&how)),
            DenialWire::OtherProject => Self::OtherProject,
            DenialWire::Forbidden(what) => Self::Forbidden(what),
            DenialWire::NoProject(name) => Self::NoProject(name),
            DenialWire::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// The ways in which a token ends, as the control plane says them.
fn ended(how: &str) -> &'static str {
    const WAYS: [&str; 5] = ["revoked", "expired", "unknown", "of a disabled user", "of a disabled or deleted owner"];
    WAYS.into_iter().find(|way| *way == how).unwrap_or("no longer valid")
}

/// A problem document that also carries the denial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DenialProblem {
    #[serde(flatten)]
    pub(crate) problem: Problem,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) denial: Option<DenialWire>,
}

/// Whose conversation with a server it is, beyond the caller and the project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Conversation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capabilities: Option<String>,
}

/// How a call is made, beyond its method and params.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CallOptions {
    pub(crate) progress: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capabilities: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
}

/// Why a server did not answer: [`UpstreamError`] for the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "failure", rename_all = "kebab-case")]
pub(crate) enum Failure {
    Unavailable { server: String, why: String },
    TimedOut { server: String, seconds: u64 },
    Protocol { server: String, what: String },
    Busy { server: String, limit: u32 },
    Gone { server: String },
    Unrecorded { why: String },
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Unavailable { server, why } => Self::Unavailable { server, why },
            UpstreamError::TimedOut { server, seconds } => Self::TimedOut { server, seconds },
            UpstreamError::Protocol { server, what } => Self::Protocol { server, what },
            UpstreamError::Busy { server, limit } => Self::Busy { server, limit },
            UpstreamError::Gone { server } => Self::Gone { server },
            UpstreamError::Unrecorded { why } => Self::Unrecorded { why },
        }
    }
}

impl From<Failure> for UpstreamError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable { server, why } => Self::Unavailable { server, why },
            Failure::TimedOut { server, seconds } => Self::TimedOut { server, seconds },
            Failure::Protocol { server, what } => Self::Protocol { server, what },
            Failure::Busy { server, limit } => Self::Busy { server, limit },
            Failure::Gone { server } => Self::Gone { server },
            Failure::Unrecorded { why } => Self::Unrecorded { why },
        }
    }
}

/// A problem document that also carries the failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FailureProblem {
    #[serde(flatten)]
    pub(crate) problem: Problem,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<Failure>,
}

/// Puts a value into a header.
pub(crate) fn to_header<T: Serialize>(value: &T) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap_or_default())
}

/// Reads it back; `None` when it is none of ours.
pub(crate) fn from_header<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_denial_comes_back_as_it_was() {
        for denial in [
            Denial::Ended("revoked"),
            Denial::Ended("of a disabled or deleted owner"),
            Denial::OtherProject,
            Denial::Forbidden("x".to_owned()),
            Denial::NoProject("p".to_owned()),
            Denial::Unavailable("y".to_owned()),
        ] {
            let text = serde_json::to_string(&DenialWire::from(&denial)).unwrap();
            let back: DenialWire = serde_json::from_str(&text).unwrap();
            assert_eq!(Denial::from(back), denial, "{text}");
        }
    }

    #[test]
    fn headers_carry_any_text() {
        let call = CallOptions { target: Some("a\r\nb: ä".to_owned()), timeout_ms: Some(5), ..CallOptions::default() };
        let header = to_header(&call);
        assert!(header.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        assert_eq!(from_header::<CallOptions>(&header), Some(call));
        assert_eq!(from_header::<CallOptions>("%"), None);
    }
}
