//! Rules that a request of the modern era (2026-07-28) must keep before anything is done about it.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::call::Parsed;
use crate::dialect::{MODERN, versions_json};
use crate::json::{Object, text};
use crate::rpc_error::{HEADER_MISMATCH, INVALID_PARAMS, RpcError, UNSUPPORTED_VERSION};

/// A header that may be given once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Given {
    /// Not there.
    #[default]
    Absent,
    /// There, with this text.
    Once(String),
    /// Given twice, or with characters that no header has.
    Bad,
}

impl Given {
    pub(crate) fn as_deref(&self) -> Option<&str> {
        match self {
            Self::Once(text) => Some(text),
            Self::Absent | Self::Bad => None,
        }
    }
}

/// Headers that mirror the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirrored {
    pub(crate) version: Given,
    pub(crate) method: Given,
    pub(crate) name: Given,
    /// Some `Mcp-Param-*` header is not readable.
    pub(crate) bad_param: bool,
}

/// Whether headers and body agree, as far as they must. The version is compared first: the rest is that version's rule.
pub(crate) fn check_headers(parsed: &Parsed<'_>, headers: &Mirrored) -> Result<(), RpcError> {
    let version = parsed.meta.version.as_deref();
    same("MCP-Protocol-Version", &headers.version, version)?;
    check_version(parsed)?;
    if parsed.id.is_none() {
        // Headers of notifications are not defined (transports, sending messages, note).
        return Ok(());
    }
    same("Mcp-Method", &headers.method, Some(&parsed.method))?;
    let name = match &*parsed.method {
        "tools/call" | "prompts/get" => parsed.members.get("name"),
        "resources/read" => parsed.members.get("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => parsed.members.get("taskId"),
        _ => None,
    };
    if let Some(name) = name.and_then(text) {
        same("Mcp-Name", &decoded(&headers.name), Some(&name))?;
    }
    if headers.bad_param {
        return Err(mismatch("an Mcp-Param header is not readable".into()));
    }
    Ok(())
}

/// Whether `_meta` says all that it must.
pub(crate) fn check_version(parsed: &Parsed<'_>) -> Result<(), RpcError> {
    match parsed.meta.version.as_deref() {
        None => Err(RpcError::bad_request(
            INVALID_PARAMS,
            "`_meta` must say io.modelcontextprotocol/protocolVersion and io.modelcontextprotocol/clientCapabilities",
        )),
        Some(MODERN) => Ok(()),
        Some(other) => Err(unsupported(other)),
    }
}

/// Whether `_meta` says what the client can do.
pub(crate) fn check_capabilities(parsed: &Parsed<'_>) -> Result<(), RpcError> {
    match parsed.meta.capabilities {
        Some(raw) if raw.get().starts_with('{') => Ok(()),
        _ if parsed.id.is_none() => Ok(()),
        _ => Err(RpcError::bad_request(
            INVALID_PARAMS,
            "`_meta` must say io.modelcontextprotocol/clientCapabilities, an object",
        )),
    }
}

/// A version that is not spoken, with those that are.
pub(crate) fn unsupported(requested: &str) -> RpcError {
    let requested: String = requested.chars().take(64).collect();
    let data = Object::new().json("supported", &versions_json()).text("requested", &requested).finish();
    RpcError::bad_request(UNSUPPORTED_VERSION, "Unsupported protocol version").with_data(data)
}

fn same(header: &str, given: &Given, body: Option<&str>) -> Result<(), RpcError> {
    match (given, body) {
        (Given::Once(given), Some(body)) if given == body => Ok(()),
        (Given::Once(_), None) => Ok(()),
        (Given::Absent, _) => Err(mismatch(format!("the header {header} is missing"))),
        (Given::Once(_), Some(_)) => Err(mismatch(format!("the header {header} says something else than the body"))),
        (Given::Bad, _) => Err(mismatch(format!("the header {header} is given twice, or is not readable"))),
    }
}

fn mismatch(what: String) -> RpcError {
    RpcError::bad_request(HEADER_MISMATCH, format!("Header mismatch: {what}"))
}

/// A header value out of its base64 form, if it is in it.
fn decoded(given: &Given) -> Given {
    let Given::Once(text) = given else { return given.clone() };
    match from_sentinel(text) {
        None => given.clone(),
        Some(Some(text)) => Given::Once(text),
        Some(None) => Given::Bad,
    }
}

/// The text behind `=?base64?…?=`. The outer `None` is a plain value, the inner one is not base64 of a text.
pub(crate) fn from_sentinel(text: &str) -> Option<Option<String>> {
    let inner = text.strip_prefix("=?base64?")?.strip_suffix("?=")?;
    Some(STANDARD.decode(inner).ok().and_then(|bytes| String::from_utf8(bytes).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Incoming;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn check(method: &str, params: &str, headers: [&str; 3]) -> Result<(), i64> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
        let Incoming::Request(parsed) = Incoming::read(text.as_bytes()).unwrap() else { panic!("not a request") };
        let given = |text: &str| if text.is_empty() { Given::Absent } else { Given::Once(text.into()) };
        let [version, method, name] = headers.map(given);
        check_headers(&parsed, &Mirrored { version, method, name, bad_param: false }).map_err(|error| error.code)
    }

    #[test]
    fn headers_and_body_must_say_the_same() {
        let call = format!(r#""name":"wetter ☀",{META}"#);
        let name = "=?base64?d2V0dGVyIOKYgA==?=";
        assert_eq!(check("tools/call", &call, ["2026-07-28", "tools/call", name]), Ok(()));
        for headers in [
            ["", "tools/call", name],
            ["2025-11-25", "tools/call", name],
            ["2026-07-28", "", name],
            ["2026-07-28", "tools/list", name],
            ["2026-07-28", "tools/call", ""],
            ["2026-07-28", "tools/call", "other"],
            ["2026-07-28", "tools/call", "=?base64?###?="],
        ] {
            assert_eq!(check("tools/call", &call, headers), Err(HEADER_MISMATCH), "{headers:?}");
        }
        assert_eq!(check("tools/list", META, ["2026-07-28", "tools/list", ""]), Ok(()), "a list has no name");
        let task = format!(r#""taskId":"t1",{META}"#);
        assert_eq!(check("tasks/get", &task, ["2026-07-28", "tasks/get", "t1"]), Ok(()), "a task is named by its id");
        assert_eq!(check("tasks/get", &task, ["2026-07-28", "tasks/get", "t2"]), Err(HEADER_MISMATCH));
    }

    #[test]
    fn a_version_that_is_not_spoken_is_named_as_such() {
        let meta = META.replace("2026-07-28", "1900-01-01");
        assert_eq!(check("tools/list", &meta, ["1900-01-01", "tools/list", ""]), Err(UNSUPPORTED_VERSION));
        assert!(unsupported("x").data.unwrap().contains("\"2026-07-28\",\"2025-11-25\""));
        assert_eq!(check("tools/list", "", ["2026-07-28", "tools/list", ""]), Err(INVALID_PARAMS));
    }
}
