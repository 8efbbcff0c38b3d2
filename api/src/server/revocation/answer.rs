//! What a change waits for before it is answered, and how the answer says so.
use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use mcpctl_core::command::Outcome;
use mcpctl_core::ids::Seq;

use super::hub::{Hub, Unconfirmed};
use crate::server::problem::{Answer, problem};
use crate::server::writer::Committed;
use crate::wire::{FENCED, Fenced};

/// Whether a change that takes access away is answered before it is dead everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Wait {
    /// Not before.
    UntilDead,
    /// At once: `?wait=false`, or `Prefer: respond-async` (RFC 7240).
    Not,
}

impl Wait {
    pub(in crate::server) fn of(query: &HashMap<String, String>, headers: &HeaderMap) -> Self {
        let prefers = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let asynchronous = prefers
            .flat_map(|value| value.split([',', ';']))
            .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"));
        let refuses = query.get("wait").is_some_and(|value| matches!(&**value, "false" | "0"));
        if asynchronous || refuses { Self::Not } else { Self::UntilDead }
    }
}

/// Waits, when something was taken away, and says how that went.
///
/// # Errors
/// When this process has not stopped what it should have.
pub(in crate::server) async fn fenced(
    hub: &Hub,
    wait: Wait,
    committed: &[Committed],
) -> Result<Option<Fenced>, Unconfirmed> {
    let reducing = committed.iter().filter(|committed| committed.reduces);
    let (Some(seq), Wait::UntilDead) = (reducing.map(|committed| committed.seq).max(), wait) else { return Ok(None) };
    let fenced = hub.fence(seq).await?;
    // What was so before was waited for, and is no doing of this change.
    let unchanged = committed.iter().all(|committed| committed.outcome == Outcome::Unchanged);
    Ok((!unchanged).then_some(fenced))
}

/// Says it on an answer whose body is something else.
pub(in crate::server) fn say(response: &mut Response, fenced: Option<&Fenced>) {
    let text = fenced.and_then(|fenced| serde_json::to_string(fenced).ok());
    if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(FENCED, value);
    }
}

impl From<Unconfirmed> for Answer {
    fn from(unconfirmed: Unconfirmed) -> Self {
        let Unconfirmed { seq: Seq(seq) } = unconfirmed;
        problem(StatusCode::SERVICE_UNAVAILABLE, "unconfirmed", "Not confirmed", unconfirmed.to_string())
            .hint(format!("the change at seq {seq} stands; do it again to wait for it, or restart mcpd"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_may_ask_not_to_wait_in_two_ways() {
        let wait = |query: &[(&str, &str)], prefer: Option<&'static str>| {
            let query = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let mut headers = HeaderMap::new();
            prefer.map(|prefer| headers.insert("prefer", HeaderValue::from_static(prefer)));
            Wait::of(&query, &headers)
        };
        assert_eq!(wait(&[], None), Wait::UntilDead);
        assert_eq!(wait(&[("wait", "true")], Some("return=minimal")), Wait::UntilDead);
        assert_eq!(wait(&[("wait", "false")], None), Wait::Not);
        assert_eq!(wait(&[], Some("return=minimal, Respond-Async")), Wait::Not);
    }
}
