//! What a fuzzer gives to the readers of what comes from agents, and what must hold then. For `fuzz/` alone.
use bytes::BytesMut;

use crate::call::{Incoming, Malformed};
use crate::http::read_request_head;

/// A message of an agent: what is authorized is what was parsed, so a member that is there twice must never get through.
pub fn json_rpc(bytes: &[u8]) {
    let parsed = match Incoming::read(bytes) {
        Ok(Incoming::Request(parsed) | Incoming::Notification(parsed)) => parsed,
        Ok(Incoming::Answer { .. } | Incoming::Batch(_)) => return,
        Err(Malformed { error, .. }) => return assert!(error.code < 0 && !error.message.is_empty()),
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).expect("what was read is JSON");
    assert_eq!(value["method"].as_str(), Some(&*parsed.method));
    assert_eq!(value.get("id").is_some(), parsed.id.is_some());
    if let Some(name) = parsed.members.text("name") {
        assert_eq!(value["params"]["name"].as_str(), Some(&*name), "another reader sees another name");
    }
}

/// The head of a request.
pub fn http_head(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    let Ok(Some(())) = read_request_head(&mut input) else { return };
    let length = bytes.len() - input.len();
    let mut shorter = BytesMut::from(&bytes[..length - 1]);
    assert!(!matches!(read_request_head(&mut shorter), Ok(Some(()))), "less than a head is a head");
}
