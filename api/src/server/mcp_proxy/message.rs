//! JSON-RPC messages of callers, read one level deep; what lies inside is passed on untouched.
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::gateway_wire::REFUSED_PREFIX;
use crate::upstream::{Reply, ServerMessage};

/// A message of a caller.
pub(super) enum Message {
    /// It wants an answer.
    Request { id: Box<RawValue>, method: String, params: Option<Box<RawValue>> },
    /// It wants none.
    Notification { method: String, params: Option<Box<RawValue>> },
    /// It answers what the server asked.
    Answer { id: Box<RawValue>, reply: Reply },
}

/// A member that is there twice is refused: two readers must never see two different messages.
#[derive(Deserialize)]
struct Envelope {
    jsonrpc: String,
    #[serde(default, deserialize_with = "present")]
    id: Option<Box<RawValue>>,
    method: Option<String>,
    #[serde(default, deserialize_with = "present")]
    params: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    error: Option<Box<RawValue>>,
}

/// `null` is a value here, not an absence.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(d).map(Some)
}

/// Reads one message.
pub(super) fn parse(bytes: &[u8]) -> Result<Message, &'static str> {
    // The derived reader would take an array for a struct.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err("it is no JSON object; send one message at a time");
    }
    let e: Envelope = serde_json::from_slice(bytes).map_err(|_| "it is no JSON, or a member is there twice")?;
    if e.jsonrpc != "2.0" {
        return Err("jsonrpc is not \"2.0\"");
    }
    if e.id
        .as_ref()
        .is_some_and(|id| !id.get().starts_with(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']))
    {
        return Err("id is neither a text nor a number");
    }
    match (e.method, e.id, e.result, e.error) {
        (Some(method), Some(id), None, None) => Ok(Message::Request { id, method, params: e.params }),
        (Some(method), None, None, None) => Ok(Message::Notification { method, params: e.params }),
        (None, Some(id), Some(result), None) => Ok(Message::Answer { id, reply: Reply::Result(result) }),
        (None, Some(id), None, Some(error)) => Ok(Message::Answer { id, reply: Reply::Error(error) }),
        _ => Err("it is neither a request, nor a notification, nor an answer"),
    }
}

/// An answer with the id of its request.
pub(super) fn answer(id: &RawValue, reply: &Reply) -> String {
    match reply {
        Reply::Result(raw) => format!(r#"{{"jsonrpc":"2.0","id":{},"result":{}}}"#, id.get(), raw.get()),
        Reply::Error(raw) => format!(r#"{{"jsonrpc":"2.0","id":{},"error":{}}}"#, id.get(), raw.get()),
    }
}

/// A server's message as text.
pub(super) fn of_server(message: &ServerMessage) -> String {
    let (id, method, params): (_, &str, _) = match message {
        ServerMessage::Notification { method, params } => (None, method, params.as_ref()),
        ServerMessage::Request { id, method, params } => (Some(id), method, params.as_ref()),
        ServerMessage::Refused { method } => (None, &format!("{REFUSED_PREFIX}{method}"), None),
    };
    let id = id.map_or_else(String::new, |id| format!(r#","id":{}"#, id.get()));
    let params = params.map_or_else(String::new, |params| format!(r#","params":{}"#, params.get()));
    let method = serde_json::to_string(method).unwrap_or_default();
    format!(r#"{{"jsonrpc":"2.0"{id},"method":{method}{params}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_single_message_is_refused() {
        for bad in [
            "",
            "[]",
            "7",
            r#"[{"jsonrpc":"2.0","method":"x"}]"#,
            r#"{"jsonrpc":"1.0","method":"x"}"#,
            r#"{"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
            r#"{"jsonrpc":"2.0","method":"tools/list","method":"tools/call"}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_lies_inside_is_untouched() {
        let text = r#"{"jsonrpc":"2.0","id":"a","method":"m","params":{ "n" : 1.0e0 }}"#;
        let Ok(Message::Request { id, params, .. }) = parse(text.as_bytes()) else { panic!("a request") };
        assert_eq!((id.get(), params.unwrap().get()), ("\"a\"", r#"{ "n" : 1.0e0 }"#));
    }
}
