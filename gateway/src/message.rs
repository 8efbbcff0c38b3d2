//! Messages on their way out: written once, with a large result carried along in place instead of being copied.
use bytes::Bytes;
use mcpctl_api::upstream::Reply;
use serde_json::value::RawValue;

use crate::json::Object;

/// Results below this are copied into one buffer: one write is cheaper than three small pieces.
const COPY_BYTES_MAX: usize = 8 << 10;

/// One JSON-RPC message, ready to be written, in up to three pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) pieces: [Bytes; 3],
}

impl Message {
    /// A message in one piece.
    pub(crate) fn whole(text: impl Into<Bytes>) -> Self {
        Self { pieces: [text.into(), Bytes::new(), Bytes::new()] }
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// The answer to a request, with the id put in. Without an id (it could not be read) the member is left out.
    pub(crate) fn answer(id: Option<&RawValue>, reply: Reply) -> Self {
        let (name, body): (&str, Box<str>) = match reply {
            Reply::Result(raw) => ("result", raw.into()),
            Reply::Error(raw) => ("error", raw.into()),
        };
        let id = id.map_or("", RawValue::get);
        let room = if body.len() <= COPY_BYTES_MAX { body.len() } else { 0 };
        let mut head = String::with_capacity(40 + id.len() + room);
        head.push_str("{\"jsonrpc\":\"2.0\",");
        if !id.is_empty() {
            head.push_str("\"id\":");
            head.push_str(id);
            head.push(',');
        }
        head.push('"');
        head.push_str(name);
        head.push_str("\":");
        if body.len() <= COPY_BYTES_MAX {
            head.push_str(&body);
            head.push('}');
            return Self::whole(head);
        }
        Self { pieces: [head.into(), Bytes::from(String::from(body)), Bytes::from_static(b"}")] }
    }

    /// A notification.
    pub(crate) fn notification(method: &str, params: Option<&str>) -> Self {
        let mut object = Object::with_capacity(48 + method.len() + params.map_or(0, str::len));
        object.text("jsonrpc", "2.0").text("method", method);
        if let Some(params) = params {
            object.json("params", params);
        }
        Self::whole(object.finish())
    }

    /// A request to the client.
    pub(crate) fn request(id: u64, method: &str, params: Option<&str>) -> Self {
        let mut object = Object::with_capacity(64 + method.len() + params.map_or(0, str::len));
        object.text("jsonrpc", "2.0").json("id", &id.to_string()).text("method", method);
        if let Some(params) = params {
            object.json("params", params);
        }
        Self::whole(object.finish())
    }

    /// The same message without line breaks: in JSON a raw one is white space only, but it would end an SSE line or a
    /// message on STDIO.
    pub(crate) fn on_one_line(self) -> Self {
        Self { pieces: self.pieces.map(on_one_line) }
    }
}

fn on_one_line(piece: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &piece).is_none() {
        return piece;
    }
    piece.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::raw;

    fn text(message: &Message) -> String {
        String::from_utf8(message.pieces.concat()).unwrap()
    }

    #[test]
    fn an_answer_is_the_same_whether_it_is_copied_or_carried() {
        for size in [1, COPY_BYTES_MAX * 2] {
            let result = format!("{{\"x\":\"{}\"}}", "y".repeat(size));
            let message = Message::answer(Some(&raw("\"i\"".into())), Reply::Result(raw(result.clone())));
            assert_eq!(text(&message), format!("{{\"jsonrpc\":\"2.0\",\"id\":\"i\",\"result\":{result}}}"));
            assert_eq!(message.len(), text(&message).len());
        }
    }

    #[test]
    fn line_breaks_of_a_pretty_printing_server_become_blanks() {
        let message = Message::whole("{\n\"a\":\r\n1}").on_one_line();
        assert_eq!(text(&message), "{ \"a\":  1}");
    }
}
