//! What an examination found.
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

/// The result of an examination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything was as it should be.
    Pass,
    /// There was no answer.
    Unreachable,
    /// The token was refused.
    Refused,
    /// The answers were not what they should be.
    Contract,
}

/// One step and how it went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What was tried.
    pub name: String,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took.
    pub took_ms: u64,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The endpoint.
    pub url: String,
    /// The result.
    pub verdict: Verdict,
    /// Why not, when not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `modern` or `legacy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<&'static str>,
    /// Revision of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What the server says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Value>,
    /// Names of the tools.
    pub tools: Vec<String>,
    /// Result of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Step by step.
    pub steps: Vec<Step>,
}

/// Why an examination ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Of which sort it is.
    pub verdict: Verdict,
    /// In words.
    pub reason: String,
}

impl Trouble {
    /// The answers were not what they should be.
    pub fn contract(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Contract, reason: reason.into() }
    }
    /// There was no answer.
    pub fn unreachable(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Unreachable, reason: reason.into() }
    }
    /// The token was refused.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Refused, reason: reason.into() }
    }
}

impl Report {
    /// Nothing found yet.
    pub fn new(url: String) -> Self {
        let (reason, era, protocol, server, result) = (None, None, None, None, None);
        Self {
            url,
            verdict: Verdict::Pass,
            reason,
            era,
            protocol,
            server,
            tools: Vec::new(),
            result,
            steps: Vec::new(),
        }
    }

    /// Notes how a step went.
    pub fn step<T>(&mut self, name: &str, begun: Instant, went: Result<(T, String), Trouble>) -> Result<T, Trouble> {
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (ok, detail) = match &went {
            Ok((_, detail)) => (true, detail.clone()),
            Err(trouble) => (false, trouble.reason.clone()),
        };
        self.steps.push(Step {
            name: name.to_owned(),
            ok,
            took_ms,
            detail: Some(detail).filter(|text| !text.is_empty()),
        });
        went.map(|(value, _)| value)
    }
}
