//! The JSON form of OTLP: ids in hexadecimal, 64-bit numbers as text.
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Attribute, Settings, Span, SpanKind};

/// A text with a name.
#[must_use]
pub fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// A number with a name.
#[must_use]
pub fn int(key: &str, value: i64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

/// Nanoseconds since 1970, as text.
#[must_use]
pub fn nanos(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

/// What tells of the program that says something.
#[must_use]
pub fn resource<'a>(service: &'a str, more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let own = [("service.name", service), ("service.version", env!("CARGO_PKG_VERSION"))];
    let attributes: Vec<Value> = own.into_iter().chain(more).map(|(key, value)| text(key, value)).collect();
    json!({ "attributes": attributes })
}

/// Which part of the program says it.
#[must_use]
pub fn scope(name: &str) -> Value {
    json!({ "name": name, "version": env!("CARGO_PKG_VERSION") })
}

/// `ExportTraceServiceRequest`.
pub(super) fn request(settings: &Settings, spans: &[Span]) -> Vec<u8> {
    let more = settings.attributes.iter().map(|(key, value)| (&**key, &**value));
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let scopes = json!([{ "scope": scope(super::export::SCOPE), "spans": spans }]);
    let all = json!({ "resourceSpans": [{ "resource": resource(&settings.service, more), "scopeSpans": scopes }] });
    all.to_string().into_bytes()
}

fn span(span: &Span) -> Value {
    let attribute = |(key, value): &(&str, Attribute)| match value {
        Attribute::Text(value) => text(key, value),
        Attribute::Int(value) => int(key, *value),
    };
    let mut out = json!({
        "traceId": format!("{:032x}", span.context.trace),
        "spanId": format!("{:016x}", span.context.span),
        "name": span.name,
        "kind": match span.kind { SpanKind::Server => 2, SpanKind::Client => 3 },
        "startTimeUnixNano": nanos(span.begun),
        "endTimeUnixNano": nanos(span.begun + span.took),
        "attributes": span.attributes.iter().map(attribute).collect::<Vec<_>>(),
        "status": if span.failed { json!({ "code": 2 }) } else { json!({}) },
        "flags": u8::from(span.context.sampled),
    });
    if let Some(parent) = span.parent {
        out["parentSpanId"] = format!("{parent:016x}").into();
    }
    if let Some(state) = &span.state {
        out["traceState"] = (&**state).into();
    }
    out
}

/// How many spans an answer says were refused.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedSpans"];
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}
