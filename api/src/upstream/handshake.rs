//! Opening words: how a server's generation is found out, and what it says of itself.
use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Era, Handshake, Reply, UpstreamError, inbox::shared, rpc};

/// The modern revision that is spoken.
pub(super) const MODERN: &str = "2026-07-28";
/// Legacy revisions that are spoken, the newest first: it is the one offered.
pub(super) const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

const CLIENT: &str = concat!("{\"name\":\"mcpctl\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");

/// `params` of `initialize`.
pub(super) fn initialize_params(capabilities: Option<&str>) -> Box<RawValue> {
    raw(format!(
        "{{\"protocolVersion\":\"{}\",\"capabilities\":{},\"clientInfo\":{CLIENT}}}",
        LEGACY[0],
        capabilities.unwrap_or("{}")
    ))
}

/// Members of `_meta` that a request carries: who asks, for the modern era, and the token of its progress.
pub(super) fn meta(era: Era, capabilities: Option<&str>, progress: Option<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    if era == Era::Modern {
        out.reserve(256);
        out.extend_from_slice(b"\"io.modelcontextprotocol/protocolVersion\":\"");
        out.extend_from_slice(MODERN.as_bytes());
        out.extend_from_slice(b"\",\"io.modelcontextprotocol/clientInfo\":");
        out.extend_from_slice(CLIENT.as_bytes());
        out.extend_from_slice(b",\"io.modelcontextprotocol/clientCapabilities\":");
        out.extend_from_slice(capabilities.unwrap_or("{}").as_bytes());
    }
    if let Some(token) = progress {
        let comma = if out.is_empty() { "" } else { "," };
        out.extend_from_slice(format!("{comma}\"progressToken\":{token}").as_bytes());
    }
    out
}

/// What the answer to `server/discover` says about the server's generation.
pub(super) enum Probe {
    /// It speaks our modern revision.
    Modern(Handshake),
    /// It refused our version and names the same one as good: it is asked once more (2026-07-28, versioning).
    Again,
    /// It is of the legacy era, or behaves so.
    Legacy,
    /// It is modern, but speaks none of our revisions.
    Foreign(UpstreamError),
}

/// Judges the answer to `server/discover`. No single error code means *legacy*: the specification (basic/versioning,
/// backward compatibility) has anything that is not a recognised modern answer count as such.
pub(super) fn judge_discover(server: &str, reply: &Reply) -> Probe {
    match reply {
        Reply::Result(result) => {
            let versions = string_list(result, "supportedVersions");
            if versions.iter().any(|v| v == MODERN) {
                return Probe::Modern(of_discover(result));
            }
            judge_versions(server, &versions)
        }
        Reply::Error(error) => {
            let code = rpc::member(error, "code").and_then(|raw| raw.get().parse::<i64>().ok());
            if code != Some(-32022) {
                return Probe::Legacy;
            }
            let versions = rpc::member(error, "data").map(|data| string_list(data, "supported")).unwrap_or_default();
            if versions.iter().any(|version| version == MODERN) {
                Probe::Again
            } else {
                judge_versions(server, &versions)
            }
        }
    }
}

fn judge_versions(server: &str, versions: &[String]) -> Probe {
    if versions.is_empty() || versions.iter().any(|v| LEGACY.contains(&v.as_str())) {
        return Probe::Legacy;
    }
    Probe::Foreign(foreign(server, &versions.join(", ")))
}

fn foreign(server: &str, versions: &str) -> UpstreamError {
    let what = format!("it speaks MCP {versions:?}; mcpctl speaks {MODERN} and {}", LEGACY.join(", "));
    UpstreamError::Protocol { server: server.into(), what }
}

/// Reads the answer to `initialize`.
pub(super) fn of_initialize(server: &str, reply: &Reply) -> Result<Handshake, UpstreamError> {
    let result = match reply {
        Reply::Result(result) => result,
        Reply::Error(error) => {
            let said = rpc::string_member(error, "message").unwrap_or_default();
            let what = format!("it refused `initialize`: {}", shortened(&said, 200));
            return Err(UpstreamError::Protocol { server: server.into(), what });
        }
    };
    let version = rpc::string_member(result, "protocolVersion").unwrap_or_default();
    if !LEGACY.contains(&version.as_str()) {
        return Err(foreign(server, &shortened(&version, 40)));
    }
    Ok(Handshake {
        era: Era::Legacy,
        version,
        server_info: rpc::member(result, "serverInfo").map(shared),
        capabilities: rpc::member(result, "capabilities").map(shared),
        instructions: rpc::string_member(result, "instructions").map(Arc::from),
    })
}

fn of_discover(result: &RawValue) -> Handshake {
    let meta = rpc::member(result, "_meta");
    let info = meta.and_then(|meta| rpc::member(meta, "io.modelcontextprotocol/serverInfo"));
    Handshake {
        era: Era::Modern,
        version: MODERN.into(),
        server_info: info.or_else(|| rpc::member(result, "serverInfo")).map(shared),
        capabilities: rpc::member(result, "capabilities").map(shared),
        instructions: rpc::string_member(result, "instructions").map(Arc::from),
    }
}

fn string_list(object: &RawValue, name: &str) -> Vec<String> {
    rpc::member(object, name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// At most `max` characters of a text that a server chose, without control characters.
pub(super) fn shortened(text: &str, max: usize) -> String {
    let mut short: String = text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        short.push('…');
    }
    short
}

/// JSON that this program wrote.
pub(super) fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("written by this program, so it is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> Reply {
        Reply::Result(raw(text.into()))
    }

    fn error(text: &str) -> Reply {
        Reply::Error(raw(text.into()))
    }

    #[test]
    fn a_discover_result_with_our_revision_is_modern() {
        let reply = result(
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"t"}}}"#,
        );
        let Probe::Modern(said) = judge_discover("s", &reply) else { panic!("not modern") };
        assert_eq!(said.server_info.unwrap().get(), r#"{"name":"t"}"#);
        assert_eq!(said.capabilities.unwrap().get(), r#"{"tools":{}}"#);
    }

    #[test]
    fn any_unrecognised_error_is_legacy() {
        for text in [r#"{"code":-32601,"message":"x"}"#, r#"{"code":-32602,"message":"x"}"#, r#"{"message":1}"#, "7"] {
            assert!(matches!(judge_discover("s", &error(text)), Probe::Legacy), "{text}");
        }
        let both = r#"{"code":-32022,"message":"x","data":{"supported":["2027-01-01","2025-11-25"]}}"#;
        assert!(matches!(judge_discover("s", &error(both)), Probe::Legacy));
        let ours = r#"{"code":-32022,"message":"x","data":{"supported":["2026-07-28"]}}"#;
        assert!(matches!(judge_discover("s", &error(ours)), Probe::Again));
    }

    #[test]
    fn a_server_of_unknown_revisions_only_is_named() {
        let reply = error(r#"{"code":-32022,"message":"x","data":{"supported":["2031-01-01"]}}"#);
        let Probe::Foreign(why) = judge_discover("s", &reply) else { panic!("not foreign") };
        assert!(why.to_string().contains("2031-01-01"), "{why}");
    }

    #[test]
    fn every_known_legacy_version_is_accepted_and_no_other() {
        for version in LEGACY {
            let reply = result(&format!(r#"{{"protocolVersion":"{version}","capabilities":{{}}}}"#));
            assert_eq!(of_initialize("s", &reply).unwrap().version, version);
        }
        for text in [r#"{"protocolVersion":"1999-01-01"}"#, "{}", r#"{"protocolVersion":3}"#] {
            assert!(of_initialize("s", &result(text)).is_err(), "{text}");
        }
        assert!(of_initialize("s", &error(r#"{"message":"no"}"#)).unwrap_err().to_string().contains("no"));
    }
}
