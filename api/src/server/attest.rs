//! `POST /rbac/<name>/attest`: a reviewer says that what an `rbac` gives is still right.
use axum::body::Bytes;
use axum::response::Response;
use mcpctl_core::access::Verb;
use mcpctl_core::command::Deed;
use mcpctl_core::kinds::RbacAction;
use mcpctl_core::refusal::Violation;
use serde_json::Value;

use super::json_body;
use super::objects::{Call, finish};
use super::problem::{Result, invalid};

/// Records the attestation as an event. Each is an event of its own, also when nothing else changed since the last.
pub(super) async fn attest(call: &Call, body: &Bytes) -> Result<Response> {
    let note = note(call, body)?;
    let state = call.app.published.load();
    let object = call.target.reachable(&state, &call.caller, Verb::Edit)?;
    finish(call, &object, Deed::Act(Box::new(RbacAction::Attest { note }))).await
}

/// `{"note": "…"}`, or no body at all.
fn note(call: &Call, body: &Bytes) -> Result<Option<String>> {
    if body.is_empty() {
        return Ok(None);
    }
    let mut fields = json_body::object(&call.headers, body)?;
    let note = fields.remove("note");
    let wrong = |field: &str, message: &str| {
        invalid(vec![Violation { field: field.to_owned(), message: message.to_owned(), hint: None }])
    };
    if let Some(other) = fields.keys().next() {
        return Err(wrong(other, "is no field of an attestation: give note"));
    }
    match note {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong("note", "is no text")),
    }
}
