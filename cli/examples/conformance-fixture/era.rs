//! Which protocol era is served, and how a server of one era refuses the other.
//!
//! The refusals are those of servers in the field: clients that open with one era and fall back on the other decide by
//! them.
use http::{HeaderMap, Method};
use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Dual,
    /// Versions until 2025-11-25: `initialize` and sessions.
    Legacy,
    /// 2026-07-28: no sessions.
    Modern,
}

/// An answer that is not the server's: status and, where there is one, a body.
#[derive(Debug)]
pub struct Refusal {
    pub status: u16,
    pub body: Option<Value>,
}

impl Era {
    /// The refusal of a request that belongs to the other era.
    pub fn refuse(self, method: &Method, headers: &HeaderMap, body: &[u8]) -> Option<Refusal> {
        match self {
            Self::Dual => None,
            Self::Legacy => {
                let message: Value = serde_json::from_slice(body).unwrap_or_default();
                let error = json!({"code": -32000, "message": "Bad Request: Server not initialized"});
                is_modern(headers, &message).then(|| refusal(&message, error))
            }
            Self::Modern if method != Method::POST => Some(Refusal { status: 405, body: None }),
            Self::Modern => {
                let message: Value = serde_json::from_slice(body).unwrap_or_default();
                if is_modern(headers, &message) {
                    return None;
                }
                let requested = message["params"]["protocolVersion"].as_str().or(version(headers)).unwrap_or("unknown");
                let data = json!({"supported": [ProtocolVersion::V_2026_07_28], "requested": requested});
                let error = json!({"code": -32022, "message": "Unsupported protocol version", "data": data});
                Some(refusal(&message, error))
            }
        }
    }
}

fn refusal(message: &Value, error: Value) -> Refusal {
    Refusal { status: 400, body: Some(json!({"jsonrpc": "2.0", "id": message["id"], "error": error})) }
}

fn version(headers: &HeaderMap) -> Option<&str> {
    headers.get("mcp-protocol-version").and_then(|v| v.to_str().ok())
}

fn is_modern(headers: &HeaderMap, message: &Value) -> bool {
    message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string()
        || version(headers).is_some_and(|v| v >= "2026")
}
