//! An answer of a server as the caller's era wants it. Within one era it is passed on as it came.
use mcpctl_api::upstream::{Era, Reply};
use serde_json::value::RawValue;

use crate::aggregate::cacheable;
use crate::json::{Members, Object, may_have_key, raw, with_member};
use crate::rpc_error::{
    HEADER_MISMATCH, INTERNAL, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY, RESOURCE_NOT_FOUND,
    UNSUPPORTED_VERSION,
};

/// An answer, translated; and the HTTP status that the caller's era wants with it.
pub(crate) fn translate(reply: Reply, server: Era, caller: Era, method: &str) -> (Reply, u16) {
    match (reply, server, caller) {
        (Reply::Result(result), Era::Legacy, Era::Modern) => (Reply::Result(completed(result, method)), 200),
        (Reply::Result(result), ..) => (Reply::Result(result), 200),
        (Reply::Error(error), server, Era::Modern) => of_error(error, server),
        (Reply::Error(error), _, Era::Legacy) => (Reply::Error(error), 200),
    }
}

/// A legacy result with what every modern one has.
fn completed(result: Box<RawValue>, method: &str) -> Box<RawValue> {
    let text = result.get();
    let has = |key| may_have_key(text, &format!("\"{key}\"")) && Members::of(&result).get(key).is_some();
    if method == "resources/read" && !has("ttlMs") && !has("resultType") {
        let mut object = Object::with_capacity(text.len() + 200);
        object.members(Members::of(&result).without("_meta"));
        cacheable(&mut object, 0);
        return raw(object.finish());
    }
    match text.strip_prefix('{') {
        Some(rest) if !has("resultType") => {
            let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
            raw(format!("{{\"resultType\":\"complete\"{comma}{rest}"))
        }
        _ => result,
    }
}

/// Errors of the server for a modern client: codes of earlier revisions are not sent any more, and what the gateway itself
/// did wrong towards the server must not look like a fault of the client's.
fn of_error(error: Box<RawValue>, server: Era) -> (Reply, u16) {
    let members = Members::of(&error);
    let code = members.get("code").and_then(|raw| raw.get().parse().ok()).unwrap_or(INTERNAL);
    let recoded = |code: i64| Reply::Error(raw(with_member(&members, "code", &code.to_string())));
    match (code, server) {
        (RESOURCE_NOT_FOUND, _) => (recoded(INVALID_PARAMS), 200),
        (METHOD_NOT_FOUND, _) => (Reply::Error(error), 404),
        // A server is offered what the client declared, whatever its era: what is missing is the client's.
        (MISSING_CAPABILITY, _) => (Reply::Error(error), 400),
        // Other headers than `Mcp-Param-*` are made here, from a body that was checked: what does not agree is the client's.
        (HEADER_MISMATCH, Era::Modern) => (Reply::Error(error), 400),
        (HEADER_MISMATCH | UNSUPPORTED_VERSION, _) => (recoded(INTERNAL), 200),
        _ => (Reply::Error(error), 200),
    }
}

/// Whether the result of a tool says that the tool failed. A cheap look before a dear one: most results don't.
pub(crate) fn is_tool_error(result: &RawValue) -> bool {
    let says = memchr::memmem::find_iter(result.get().as_bytes(), b"\"isError\"").any(|at| {
        let rest = result.get()[at + 9..].trim_start().strip_prefix(':').map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with("true"))
    });
    says && Members::of(result).get("isError").is_some_and(|value| value.get() == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str, server: Era, caller: Era, method: &str) -> String {
        match translate(Reply::Result(raw(text.into())), server, caller, method).0 {
            Reply::Result(raw) | Reply::Error(raw) => raw.get().to_owned(),
        }
    }

    #[test]
    fn a_legacy_result_gets_what_a_modern_client_demands() {
        let of = |text| result(text, Era::Legacy, Era::Modern, "tools/call");
        assert_eq!(of(r#"{"content":[]}"#), r#"{"resultType":"complete","content":[]}"#);
        assert_eq!(of("{ }"), r#"{"resultType":"complete" }"#);
        assert_eq!(of(r#"{"resultType":"x"}"#), r#"{"resultType":"x"}"#);
        assert_eq!(of(r#"{"a":{"resultType":1}}"#), r#"{"resultType":"complete","a":{"resultType":1}}"#);
        let read = result(r#"{"contents":[]}"#, Era::Legacy, Era::Modern, "resources/read");
        assert!(read.contains(r#""ttlMs":0"#) && read.contains(r#""cacheScope":"private""#), "{read}");
    }

    #[test]
    fn within_one_era_not_a_byte_changes() {
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(result(r#"{ "x" :1.0}"#, era, era, "tools/call"), r#"{ "x" :1.0}"#);
        }
    }

    #[test]
    fn errors_become_those_of_the_callers_era() {
        let of = |code: i64, server| {
            let error = raw(format!(r#"{{"code":{code},"message":"m"}}"#));
            let (Reply::Error(error), status) = translate(Reply::Error(error), server, Era::Modern, "m") else {
                panic!()
            };
            (Members::of(&error).get("code").unwrap().get().parse::<i64>().unwrap(), status)
        };
        assert_eq!(of(-32002, Era::Legacy), (-32602, 200));
        assert_eq!(of(-32601, Era::Legacy), (-32601, 404));
        assert_eq!(of(-32021, Era::Modern), (-32021, 400));
        assert_eq!(of(-32021, Era::Legacy), (-32021, 400));
        assert_eq!(of(-32020, Era::Modern), (-32020, 400));
        assert_eq!(of(-32020, Era::Legacy), (-32603, 200));
        assert_eq!(of(-32022, Era::Modern), (-32603, 200));
        assert_eq!(of(-32000, Era::Legacy), (-32000, 200));
    }

    #[test]
    fn only_the_results_own_flag_makes_a_tool_error() {
        assert!(is_tool_error(&raw(r#"{"content":[],"isError" : true}"#.into())));
        assert!(!is_tool_error(&raw(r#"{"content":[{"x":{"isError":true}}],"isError":false}"#.into())));
        assert!(!is_tool_error(&raw(r#"{"content":[]}"#.into())));
    }
}
