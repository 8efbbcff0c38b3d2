//! JSON-RPC errors of the gateway's own: code, message, and the HTTP status that goes with them.
use crate::json::{Object, raw};
use serde_json::value::RawValue;

/// Not JSON.
pub(crate) const PARSE_ERROR: i64 = -32700;
/// JSON, but not a request.
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// Nothing here answers to that method.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// Unknown tool, bad cursor, missing `_meta`.
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// The server, or the gateway, failed.
pub(crate) const INTERNAL: i64 = -32603;
/// Headers and body differ (2026-07-28).
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// The client declared too little (2026-07-28).
pub(crate) const MISSING_CAPABILITY: i64 = -32021;
/// The version is not spoken here (2026-07-28).
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;
/// Of 2025-11-25 and earlier; the modern era says [`INVALID_PARAMS`].
pub(crate) const RESOURCE_NOT_FOUND: i64 = -32002;

/// A JSON-RPC error that the gateway answers with.
#[derive(Clone, Debug)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    pub(crate) message: String,
    /// JSON of `data`.
    pub(crate) data: Option<String>,
    /// HTTP status, where there is HTTP.
    pub(crate) status: u16,
}

impl RpcError {
    /// An error within a well-formed exchange: HTTP says 200.
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, status: 200 }
    }

    /// The request itself is at fault: HTTP says 400.
    pub(crate) fn bad_request(code: i64, message: impl Into<String>) -> Self {
        Self { status: 400, ..Self::new(code, message) }
    }

    /// Something outside of JSON-RPC: the HTTP status is the code too (2026-07-28, basic, error codes: own codes lie outside
    /// of the reserved range).
    pub(crate) fn of_status(status: u16, message: impl Into<String>) -> Self {
        Self { status, ..Self::new(i64::from(status), message) }
    }

    /// A method that nobody here answers to. The modern era wants a 404 with it.
    pub(crate) fn unknown_method(method: &str, modern: bool) -> Self {
        let shown: String = method.chars().take(80).collect();
        let status = if modern { 404 } else { 200 };
        Self { status, ..Self::new(METHOD_NOT_FOUND, format!("method {shown:?} is not known here")) }
    }

    pub(crate) fn with_data(mut self, json: String) -> Self {
        self.data = Some(json);
        self
    }

    /// The `error` member.
    pub(crate) fn to_raw(&self) -> Box<RawValue> {
        let mut object = Object::new();
        object.json("code", &self.code.to_string()).text("message", &self.message);
        if let Some(data) = &self.data {
            object.json("data", data);
        }
        raw(object.finish())
    }
}
