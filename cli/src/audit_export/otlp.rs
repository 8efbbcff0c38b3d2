//! OpenTelemetry logs: the JSON form of `ExportLogsServiceRequest`, as OTLP over HTTP takes it.
use mcpctl_api::client::AuditItem;
use mcpctl_api::otel::json as otlp;
use serde_json::{Value, json};

use super::event::{Source, Weight, fields, sentence};

/// One request with these entries as records.
pub fn request(source: &Source, items: &[AuditItem]) -> String {
    let resource = otlp::resource("mcpd", [("host.name", &*source.host)]);
    let scope = otlp::scope("mcpctl.audit");
    let records: Vec<Value> = items.iter().map(record).collect();
    json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": [{ "scope": scope, "logRecords": records }] }] })
        .to_string()
}

fn record(item: &AuditItem) -> Value {
    let (number, word) = match Weight::of(item) {
        Weight::Usual => (9, "INFO"),
        Weight::Failed => (13, "WARN"),
        Weight::Refused => (14, "WARN2"),
        Weight::Grave => (17, "ERROR"),
    };
    // 64-bit numbers are strings in the JSON form of protocol buffers.
    let nanos = u128::from(item.entry.at.as_millis()) * 1_000_000;
    let attributes: Vec<Value> = fields(item).iter().map(|(name, value)| attribute(name, value)).collect();
    json!({
        "timeUnixNano": nanos.to_string(),
        "observedTimeUnixNano": nanos.to_string(),
        "severityNumber": number,
        "severityText": word,
        "eventName": "mcpctl.audit",
        "body": { "stringValue": sentence(item) },
        "attributes": attributes,
    })
}

fn attribute(name: &str, value: &str) -> Value {
    let key = format!("mcpctl.audit.{name}");
    match (name, value.parse::<i64>()) {
        ("allowed", _) => json!({ "key": key, "value": { "boolValue": value == "true" } }),
        ("id" | "seq" | "durationUs" | "requestBytes" | "answerBytes", Ok(number)) => otlp::int(&key, number),
        _ => otlp::text(&key, value),
    }
}
