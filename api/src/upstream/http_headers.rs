//! Headers of a Streamable HTTP request: what each era wants to see outside of the body.
use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};

use super::{Call, Era, handshake};

const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: &str = "last-event-id";

/// Headers as they are written on the wire, in order: what is made for each request is looked up in by nobody.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    /// Adds a line. The value must be a header value, and the name not one that is there already.
    fn put(&mut self, name: &str, value: &[u8]) {
        debug_assert!(HeaderValue::from_bytes(value).is_ok(), "{name} has a value that would end its line");
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    /// The lines, each with its end.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Headers of a caller that may go on: tool parameters and trace context. Anything else, above all its bearer, stays here.
fn may_pass(era: Era, name: &HeaderName) -> bool {
    match name.as_str() {
        "traceparent" | "tracestate" | "baggage" => true,
        name => era == Era::Modern && name.starts_with("mcp-param-"),
    }
}

/// Headers of a POST that brings a message.
pub(super) fn post() -> Lines {
    let mut lines = Lines::new();
    lines.0.extend_from_slice(b"content-type: application/json\r\naccept: application/json, text/event-stream\r\n");
    lines
}

/// Headers of a POST in the modern era.
pub(super) fn modern(method: &str, call: Option<&Call>) -> Lines {
    let mut lines = post();
    lines.put(VERSION, handshake::MODERN.as_bytes());
    lines.put(METHOD, value(method).as_bytes());
    if let Some(target) = call.and_then(|call| call.target.as_deref()) {
        lines.put(NAME, value(target).as_bytes());
    }
    call.into_iter().for_each(|call| pass(&mut lines, Era::Modern, call));
    lines
}

/// Headers of a POST in the legacy era, within a session.
pub(super) fn legacy(version: Option<&HeaderValue>, session: Option<&HeaderValue>, call: Option<&Call>) -> Lines {
    let mut lines = post();
    put_session(&mut lines, version, session);
    call.into_iter().for_each(|call| pass(&mut lines, Era::Legacy, call));
    lines
}

/// What every request of a legacy session carries, and nothing else.
pub(super) fn in_session(version: Option<&HeaderValue>, session: Option<&HeaderValue>) -> Lines {
    let mut lines = Lines::default();
    put_session(&mut lines, version, session);
    lines
}

fn put_session(lines: &mut Lines, version: Option<&HeaderValue>, session: Option<&HeaderValue>) {
    for (name, value) in [(VERSION, version), (SESSION.as_str(), session)] {
        value.into_iter().for_each(|value| lines.put(name, value.as_bytes()));
    }
}

/// Headers of a GET that waits for events, in a session or outside of one; `last` is the event that was heard last.
pub(super) fn stream(
    version: Option<&HeaderValue>,
    session: Option<&HeaderValue>,
    last: Option<&HeaderValue>,
) -> Lines {
    let mut lines = Lines::new();
    lines.put("accept", b"text/event-stream");
    put_session(&mut lines, version, session);
    last.into_iter().for_each(|last| lines.put(LAST_EVENT, last.as_bytes()));
    lines
}

fn pass(lines: &mut Lines, era: Era, call: &Call) {
    for (index, (name, text)) in call.headers.iter().enumerate() {
        // Of one that is given twice the last counts.
        let again = call.headers[index + 1..].iter().any(|(later, _)| later.eq_ignore_ascii_case(name));
        // What is no header name can't have come in as one.
        let Ok(name) = HeaderName::try_from(name) else { continue };
        if !again
            && may_pass(era, &name)
            && let Ok(value) = HeaderValue::try_from(text)
        {
            lines.put(name.as_str(), value.as_bytes());
        }
    }
}

/// A text as a header value: as it is where that is safe, else in the base64 form of the specification.
fn value(text: &str) -> Cow<'_, str> {
    let safe = text.bytes().all(|b| (0x20..=0x7e).contains(&b)) && text.trim() == text && !text.is_empty();
    let sentinel = text.starts_with("=?base64?") && text.ends_with("?=");
    if safe && !sentinel {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("=?base64?{}?=", STANDARD.encode(text)))
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
        let passed = |lines: Lines| {
            let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
            let names = text.split("\r\n").filter_map(|line| line.strip_suffix(": canary").map(str::to_owned));
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        assert_eq!(passed(modern("tools/call", Some(&call))), ["mcp-param-region", "traceparent"]);
        assert_eq!(passed(legacy(None, None, Some(&call))), ["traceparent"]);
    }

    #[test]
    fn no_text_of_a_caller_begins_a_line_of_its_own() {
        let mut call = Call::new("tools/call", None, Duration::ZERO);
        call.target = Some("a\r\nauthorization: forged".into());
        call.headers = vec![
            ("traceparent".to_owned(), "first".to_owned()),
            ("baggage".to_owned(), "x\r\ncookie: forged".to_owned()),
            ("Traceparent".to_owned(), "last".to_owned()),
        ];
        for lines in [modern("a\nb", Some(&call)), legacy(None, None, Some(&call))] {
            let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
            assert!(!text.contains("forged") && text.ends_with("\r\n"), "{text}");
            let traces: Vec<&str> = text.lines().filter(|line| line.starts_with("traceparent")).collect();
            assert_eq!(traces, ["traceparent: last"], "of one that is given twice the last counts");
            assert!(text.lines().all(|line| line.contains(": ")), "{text}");
        }
    }
}
