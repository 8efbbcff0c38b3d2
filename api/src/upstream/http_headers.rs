//! Headers of a Streamable HTTP request: what each era wants to see outside of the body.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::{Call, Era, handshake};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Headers of a caller that may go on: tool parameters and trace context. Anything else, above all its bearer, stays here.
fn may_pass(era: Era, name: &HeaderName) -> bool {
    match name.as_str() {
        "traceparent" | "tracestate" | "baggage" => true,
        name => era == Era::Modern && name.starts_with("mcp-param-"),
    }
}

/// Headers of a POST that brings a message.
pub(super) fn post() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers
}

/// Headers of a POST in the modern era.
pub(super) fn modern(method: &str, call: Option<&Call>) -> HeaderMap {
    let mut headers = post();
    headers.insert(VERSION, HeaderValue::from_static(handshake::MODERN));
    headers.insert(METHOD, value(method));
    if let Some(target) = call.and_then(|call| call.target.as_deref()) {
        headers.insert(NAME, value(target));
    }
    call.into_iter().for_each(|call| pass(&mut headers, Era::Modern, call));
    headers
}

/// Headers of a POST in the legacy era, within a session.
pub(super) fn legacy(version: Option<&HeaderValue>, session: Option<&HeaderValue>, call: Option<&Call>) -> HeaderMap {
    let mut headers = post();
    in_session(&mut headers, version, session);
    call.into_iter().for_each(|call| pass(&mut headers, Era::Legacy, call));
    headers
}

/// Adds what every request of a legacy session carries.
pub(super) fn in_session(headers: &mut HeaderMap, version: Option<&HeaderValue>, session: Option<&HeaderValue>) {
    if let Some(version) = version {
        headers.insert(VERSION, version.clone());
    }
    if let Some(session) = session {
        headers.insert(SESSION, session.clone());
    }
}

/// Headers of a GET that waits for events.
pub(super) fn stream() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers
}

fn pass(headers: &mut HeaderMap, era: Era, call: &Call) {
    for (name, text) in &call.headers {
        // What is no header name can't have come in as one.
        let Ok(name) = HeaderName::try_from(name) else { continue };
        if may_pass(era, &name)
            && let Ok(value) = HeaderValue::try_from(text)
        {
            headers.insert(name, value);
        }
    }
}

/// A text as a header value: as it is where that is safe, else in the base64 form of the specification.
fn value(text: &str) -> HeaderValue {
    let safe = text.bytes().all(|b| (0x20..=0x7e).contains(&b)) && text.trim() == text && !text.is_empty();
    let sentinel = text.starts_with("=?base64?") && text.ends_with("?=");
    if safe && !sentinel {
        return HeaderValue::from_str(text).expect("visible ASCII is a header value");
    }
    HeaderValue::try_from(format!("=?base64?{}?=", STANDARD.encode(text))).expect("base64 is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn names_that_are_no_header_value_are_encoded() {
        for (text, wanted) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(value(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn of_the_callers_headers_only_parameters_and_trace_context_go_on() {
        let mut call = Call::new("tools/call", None, Duration::ZERO);
        let given =
            ["authorization", "cookie", "mcp-session-id", "mcp-method", "Mcp-Param-Region", "traceparent", "x y"];
        call.headers = given.map(|name| (name.to_owned(), "canary".to_owned())).to_vec();
        let passed = |headers: HeaderMap| {
            let mut names: Vec<_> =
                headers.iter().filter(|(_, v)| *v == "canary").map(|(n, _)| n.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(passed(modern("tools/call", Some(&call))), ["mcp-param-region", "traceparent"]);
        assert_eq!(passed(legacy(None, None, Some(&call))), ["traceparent"]);
    }
}
