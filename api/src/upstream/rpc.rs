//! JSON-RPC messages, read one level deep and written by hand: what lies inside `params`, `result` and `error` is never decoded.
use std::borrow::Cow;
use std::fmt;

use memchr::memmem;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Reply;
use crate::json_key::Key;

/// Largest message that is read from a server, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A message as it came, borrowed from the bytes it came in.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// An answer. The id is `None` when it is not one of ours (ours are unsigned integers), such as `null`.
    Answer { id: Option<u64>, outcome: Outcome<'a> },
    /// The server asks something.
    Request { id: &'a RawValue, method: Cow<'a, str>, params: Option<&'a RawValue> },
    /// The server tells something.
    Notification { method: Cow<'a, str>, params: Option<&'a RawValue> },
}

/// `result` or `error` of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome<'a> {
    /// `result`.
    Result(&'a RawValue),
    /// `error`.
    Error(&'a RawValue),
}

impl Outcome<'_> {
    /// The same, owned.
    pub(super) fn to_reply(self) -> Reply {
        match self {
            Outcome::Result(raw) => Reply::Result(raw.to_owned()),
            Outcome::Error(raw) => Reply::Error(raw.to_owned()),
        }
    }
}

/// The bytes are not a JSON-RPC 2.0 message.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    /// Not JSON, or a member of the envelope twice or of the wrong type.
    #[error("not a JSON-RPC message")]
    Json(#[source] serde_json::Error),
    /// JSON, but not an object. Batches are only ever answers to batches, and none is sent.
    #[error("not a JSON object")]
    NotAnObject,
    /// `jsonrpc` is missing or not `2.0`, or there is neither a method nor an outcome, or too much of both.
    #[error("not a JSON-RPC 2.0 envelope")]
    Envelope,
}

/// Duplicate members are refused by the derived visitor: two readers must never see two different messages.
#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// `null` is a value here, not an absence.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(d: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(d).map(Some)
}

/// Reads one message.
pub(super) fn parse(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    // The derived reader would take an array for a struct.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Malformed::NotAnObject);
    }
    let e: Envelope<'_> = serde_json::from_slice(bytes).map_err(Malformed::Json)?;
    if e.jsonrpc.is_none_or(|v| v.get() != "\"2.0\"") {
        return Err(Malformed::Envelope);
    }
    match (e.method, e.id, e.result, e.error) {
        (Some(method), Some(id), None, None) => Ok(Message::Request { id, method: string(method)?, params: e.params }),
        (Some(method), None, None, None) => Ok(Message::Notification { method: string(method)?, params: e.params }),
        (None, id, Some(result), None) => Ok(Message::Answer { id: own_id(id), outcome: Outcome::Result(result) }),
        (None, id, None, Some(error)) => Ok(Message::Answer { id: own_id(id), outcome: Outcome::Error(error) }),
        // Some servers send both members, one of them null.
        (None, id, Some(result), Some(error)) if error.get() == "null" => {
            Ok(Message::Answer { id: own_id(id), outcome: Outcome::Result(result) })
        }
        (None, id, Some(result), Some(error)) if result.get() == "null" => {
            Ok(Message::Answer { id: own_id(id), outcome: Outcome::Error(error) })
        }
        _ => Err(Malformed::Envelope),
    }
}

fn own_id(id: Option<&RawValue>) -> Option<u64> {
    id.and_then(|raw| raw.get().parse().ok())
}

fn string(raw: &RawValue) -> Result<Cow<'_, str>, Malformed> {
    let text = raw.get();
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        None => Err(Malformed::Envelope),
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        Some(_) => serde_json::from_str(text).map(Cow::Owned).map_err(Malformed::Json),
    }
}

/// The members of a JSON object in their order, each value untouched.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Shallow;
        impl<'de> Visitor<'de> for Shallow {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::with_capacity(4);
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    if members.iter().any(|(known, _)| *known == key) {
                        return Err(A::Error::custom(format_args!("duplicate member {key:?}")));
                    }
                    members.push((key, value));
                }
                Ok(members)
            }
        }
        d.deserialize_map(Shallow).map(Members)
    }
}

/// One member of a raw object, if the raw value is an object that has it.
pub(super) fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let Members(members) = serde_json::from_str(object.get()).ok()?;
    members.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// A string member of a raw object.
pub(super) fn string_member(object: &RawValue, name: &str) -> Option<String> {
    member(object, name).and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// Writes a request. `meta` are the members of `_meta` that the conversation adds: `"k":v,"k":v` or nothing.
pub(super) fn write_request(id: u64, method: &str, params: Option<&RawValue>, meta: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(96 + method.len() + meta.len() + params.map_or(0, |p| p.get().len()));
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    push_number(&mut out, id);
    push_method(&mut out, method);
    push_params(&mut out, params, meta);
    out.push(b'}');
    out
}

/// Writes a notification.
pub(super) fn write_notification(method: &str, params: Option<&RawValue>, meta: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(96 + method.len() + meta.len() + params.map_or(0, |p| p.get().len()));
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
    push_method(&mut out, method);
    push_params(&mut out, params, meta);
    out.push(b'}');
    out
}

/// Writes the answer to a request of the server.
pub(super) fn write_answer(id: &RawValue, reply: &Reply) -> Vec<u8> {
    let (name, raw) = match reply {
        Reply::Result(raw) => ("result", raw),
        Reply::Error(raw) => ("error", raw),
    };
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"{name}\":{}}}", id.get(), one_line(raw.get())).into_bytes()
}

/// Writes the refusal of a request of the server. The message is one of ours and needs no escaping.
pub(super) fn write_refusal(id: &RawValue, code: i32, message: &'static str) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":{code},\"message\":\"{message}\"}}}}", id.get())
        .into_bytes()
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    use std::io::Write as _;
    write!(out, "{number}").expect("writing to memory does not fail");
}

fn push_method(out: &mut Vec<u8>, method: &str) {
    out.extend_from_slice(b",\"method\":");
    serde_json::to_writer(&mut *out, method).expect("a string always serialises");
}

fn push_params(out: &mut Vec<u8>, params: Option<&RawValue>, meta: &[u8]) {
    let text = params.map(|p| p.get().trim());
    match text {
        None if meta.is_empty() => {}
        None => {
            out.extend_from_slice(b",\"params\":{\"_meta\":{");
            out.extend_from_slice(meta);
            out.extend_from_slice(b"}}");
        }
        Some(text) => {
            out.extend_from_slice(b",\"params\":");
            push_with_meta(out, text, meta);
        }
    }
}

/// Puts `meta` into the `_meta` of an object. An escape could hide the word, so escapes take the slow way too.
fn push_with_meta(out: &mut Vec<u8>, text: &str, meta: &[u8]) {
    let bytes = text.as_bytes();
    let hidden = memmem::find(bytes, b"\"_meta\"").is_some() || memmem::find(bytes, b"\\u").is_some();
    if hidden && let Ok(Members(members)) = serde_json::from_str(text) {
        return push_merged(out, &members, meta);
    }
    let Some(rest) = text.strip_prefix('{').filter(|_| !meta.is_empty()) else {
        return out.extend_from_slice(one_line(text).as_bytes());
    };
    out.extend_from_slice(b"{\"_meta\":{");
    out.extend_from_slice(meta);
    out.push(b'}');
    if rest.trim_start() != "}" {
        out.push(b',');
    }
    out.extend_from_slice(one_line(rest).as_bytes());
}

/// Members of `_meta` that belong to one hop of the way and are the conversation's own to set.
const HOP_META: [&str; 4] = [
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];

fn push_merged(out: &mut Vec<u8>, members: &[(Cow<'_, str>, &RawValue)], meta: &[u8]) {
    let kept = members.iter().find(|(key, _)| key == "_meta").and_then(|(_, raw)| serde_json::from_str(raw.get()).ok());
    let kept = kept.map_or_else(Vec::new, |Members(kept)| kept);
    let kept: Vec<_> = kept.into_iter().filter(|(key, _)| !HOP_META.contains(&&**key)).collect();
    out.push(b'{');
    let mut first = true;
    if !(meta.is_empty() && kept.is_empty()) {
        out.extend_from_slice(b"\"_meta\":{");
        out.extend_from_slice(meta);
        let mut first_of_meta = meta.is_empty();
        kept.iter().for_each(|(key, value)| push_member(out, &mut first_of_meta, key, value));
        out.push(b'}');
        first = false;
    }
    members.iter().filter(|(key, _)| key != "_meta").for_each(|(key, value)| push_member(out, &mut first, key, value));
    out.push(b'}');
}

fn push_member(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &RawValue) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, key).expect("a string always serialises");
    out.push(b':');
    out.extend_from_slice(one_line(value.get()).as_bytes());
}

/// JSON without line breaks: inside of JSON a raw line break is white space only, and on STDIO it would end the message.
fn one_line(json: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_none() {
        return Cow::Borrowed(json);
    }
    Cow::Owned(json.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_result_keeps_its_bytes_and_its_id() {
        let message = parse(br#" {"result":{"b":1, "a":[1.0]},"jsonrpc":"2.0","id":18446744073709551615}"#).unwrap();
        let Message::Answer { id, outcome: Outcome::Result(result) } = message else { panic!("{message:?}") };
        assert_eq!((id, result.get()), (Some(u64::MAX), r#"{"b":1, "a":[1.0]}"#));
    }

    #[test]
    fn a_member_given_twice_is_refused() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#,
            r#"{"jsonrpc":"2.0","method":"a","m\u0065thod":"b"}"#,
        ] {
            assert!(matches!(parse(text.as_bytes()), Err(Malformed::Json(_))), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_envelope_is_refused() {
        for text in [
            "",
            "[]",
            "7",
            "hello",
            "{}",
            r#"{"jsonrpc":"1.0","id":1,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"["2.0",1,"m"]"#,
            r#"{"jsonrpc":"2.0","method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\u{1}\"}",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}").is_err());
    }

    #[test]
    fn requests_and_notifications_are_told_apart() {
        let text = br#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#;
        assert!(matches!(parse(text), Ok(Message::Request { id, .. }) if id.get() == "\"x\""));
        let text = br#"{"jsonrpc":"2.0","method":"notifications\/progress","params":{}}"#;
        assert!(matches!(parse(text), Ok(Message::Notification { method, .. }) if method == "notifications/progress"));
    }

    #[test]
    fn meta_is_added_whatever_the_params_are() {
        let written = |params: Option<&str>, meta: &str| {
            let params = params.map(raw);
            String::from_utf8(write_request(7, "m", params.as_deref(), meta.as_bytes())).unwrap()
        };
        let head = r#"{"jsonrpc":"2.0","id":7,"method":"m""#;
        assert_eq!(written(None, ""), format!("{head}}}"));
        assert_eq!(written(None, r#""k":1"#), format!(r#"{head},"params":{{"_meta":{{"k":1}}}}}}"#));
        assert_eq!(written(Some("{ }"), r#""k":1"#), format!(r#"{head},"params":{{"_meta":{{"k":1}} }}}}"#));
        assert_eq!(
            written(Some(r#"{"a":2}"#), r#""k":1"#),
            format!(r#"{head},"params":{{"_meta":{{"k":1}},"a":2}}}}"#)
        );
        assert_eq!(
            written(Some(r#"{"a":2,"_meta":{"progressToken":"caller","vendor":3}}"#), r#""k":1"#),
            format!(r#"{head},"params":{{"_meta":{{"k":1,"vendor":3}},"a":2}}}}"#)
        );
        assert_eq!(
            written(Some(r#"{"\u005fmeta":{"progressToken":"caller"},"a":"x\ny"}"#), ""),
            format!(r#"{head},"params":{{"a":"x\ny"}}}}"#)
        );
    }

    #[test]
    fn a_message_never_holds_a_line_break() {
        let params = raw("{\n  \"a\": 1,\r\n \"_meta\": {\n\"v\":\n2}\n}");
        for meta in ["", r#""k":1"#] {
            let line = write_request(1, "m", Some(&params), meta.as_bytes());
            assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
            assert!(parse(&line).is_ok());
        }
    }
}
