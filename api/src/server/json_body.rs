//! Bodies of requests: JSON as it is meant, in which no member stands twice.
use axum::http::{HeaderMap, StatusCode, header};
use mcpctl_core::strict::Strict;
use serde_json::{Map, Value};

use super::problem::{Answer, Result, problem};

/// The fields of a body: one JSON object.
pub(super) fn object(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>> {
    is_json(headers)?;
    match serde_json::from_slice(body) {
        Ok(Strict(Value::Object(fields))) => Ok(fields),
        Ok(_) => Err(malformed("the body is JSON, but no object".to_owned())),
        // The parser says where and what; it quotes names of members, never their values.
        Err(error) => Err(malformed(format!("the body is not JSON: {error}"))),
    }
}

/// Refuses what does not say that it is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> Result<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let shown: String = given.chars().take(80).collect();
    let what =
        if shown.is_empty() { "the body has no content type".to_owned() } else { format!("the body is {shown:?}") };
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Err(problem(status, "content-type", "Unsupported content type", what)
        .hint("send it with Content-Type: application/json"))
}

/// A body that can't be read.
pub(super) fn malformed(detail: String) -> Answer {
    problem(StatusCode::BAD_REQUEST, "malformed", "Malformed JSON", detail)
}
