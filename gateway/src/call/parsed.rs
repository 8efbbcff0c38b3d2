//! What came in, parsed once: the envelope and one level of `params`. What is authorized later is what was parsed here.
use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::{self, Members};
use crate::rpc_error::{INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, RpcError};

/// Longest id of a request, in bytes of JSON.
const ID_BYTES_MAX: usize = 512;
/// Longest name of a method.
const METHOD_BYTES_MAX: usize = 256;
/// Most messages in a batch (2025-03-26 only).
const BATCH_MAX: usize = 64;

/// A message of a client.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// It wants an answer.
    Request(Parsed<'a>),
    /// It wants none.
    Notification(Parsed<'a>),
    /// It answers what a server asked through us.
    Answer { id: &'a RawValue, outcome: Outcome<'a> },
    /// Several at once.
    Batch(Vec<&'a RawValue>),
}

/// `result` or `error` of a client's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    Result(&'a RawValue),
    Error(&'a RawValue),
}

/// A request or notification: method, id, and one level of its `params`, all borrowed from the bytes that came in.
#[derive(Debug)]
pub struct Parsed<'a> {
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) method: Cow<'a, str>,
    pub(crate) params: Option<&'a RawValue>,
    pub(crate) members: Members<'a>,
    pub(crate) meta: Meta<'a>,
}

/// What `params._meta` says to the gateway itself.
#[derive(Debug, Default)]
pub(crate) struct Meta<'a> {
    /// Where progress is to be reported to.
    pub(crate) progress_token: Option<&'a RawValue>,
    /// Version of the protocol: only modern clients say it here.
    pub(crate) version: Option<Cow<'a, str>>,
    /// What the client offers, in the modern era.
    pub(crate) capabilities: Option<&'a RawValue>,
    /// From which level on log messages are wanted, in the modern era.
    pub(crate) log_level: Option<Cow<'a, str>>,
}

/// A message that can't be read, and whose it was as far as that could be read.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) error: RpcError,
    pub(crate) id: Option<Box<RawValue>>,
}

impl Malformed {
    fn new(code: i64, message: &str) -> Self {
        Self { error: RpcError::bad_request(code, message), id: None }
    }

    fn of(why: &serde_json::Error) -> Self {
        if why.is_data() {
            return Self::new(INVALID_REQUEST, "not a JSON-RPC message: each member may be given once");
        }
        Self::new(PARSE_ERROR, "not JSON: send one JSON-RPC message in UTF-8")
    }
}

impl<'a> Incoming<'a> {
    /// Reads a message, or a batch of them.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if json::too_deep(bytes) {
            return Err(Malformed::new(INVALID_REQUEST, "the message nests too deeply"));
        }
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Self::of(Members::read_bytes(bytes).map_err(|why| Malformed::of(&why))?),
            Some(b'[') => Self::batch(bytes),
            Some(_) if serde_json::from_slice::<&RawValue>(bytes).is_ok() => {
                Err(Malformed::new(INVALID_REQUEST, "a JSON-RPC message is an object"))
            }
            _ => Err(Malformed::new(PARSE_ERROR, "not JSON: send one JSON-RPC message in UTF-8")),
        }
    }

    /// Reads one message of a batch.
    pub(crate) fn read_one(raw: &'a RawValue) -> Result<Self, Malformed> {
        match Members::read(raw.get()) {
            Ok(members) => Self::of(members),
            Err(_) => Err(Malformed::new(INVALID_REQUEST, "a JSON-RPC message is an object")),
        }
    }

    fn batch(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let all: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|why| Malformed::of(&why))?;
        if all.is_empty() || all.len() > BATCH_MAX {
            return Err(Malformed::new(INVALID_REQUEST, "a batch has 1 to 64 messages"));
        }
        Ok(Self::Batch(all))
    }

    fn of(envelope: Members<'a>) -> Result<Self, Malformed> {
        let raw_id = envelope.get("id");
        let id = raw_id.filter(|id| is_id(id));
        let refuse =
            |code: i64, words: &str| Malformed { id: id.map(ToOwned::to_owned), ..Malformed::new(code, words) };
        if envelope.get("jsonrpc").is_none_or(|version| version.get() != "\"2.0\"") {
            return Err(refuse(INVALID_REQUEST, "not JSON-RPC 2.0: `jsonrpc` must be \"2.0\""));
        }
        if raw_id.is_some() && id.is_none() {
            return Err(refuse(INVALID_REQUEST, "`id` must be a string or an integer"));
        }
        let outcome = match (envelope.get("result"), envelope.get("error")) {
            (Some(result), None) => Some(Outcome::Result(result)),
            (None, Some(error)) => Some(Outcome::Error(error)),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(refuse(INVALID_REQUEST, "an answer has `result` or `error`, not both")),
        };
        match (envelope.get("method"), outcome, id) {
            (None, Some(outcome), Some(id)) => Ok(Self::Answer { id, outcome }),
            (Some(method), None, id) => {
                let parsed = Parsed::of(method, id, envelope.get("params"), &refuse)?;
                Ok(if id.is_some() { Self::Request(parsed) } else { Self::Notification(parsed) })
            }
            _ => Err(refuse(INVALID_REQUEST, "neither a request nor an answer: `method` is missing")),
        }
    }
}

impl<'a> Parsed<'a> {
    fn of(
        method: &'a RawValue,
        id: Option<&'a RawValue>,
        params: Option<&'a RawValue>,
        refuse: &dyn Fn(i64, &str) -> Malformed,
    ) -> Result<Self, Malformed> {
        let method = json::text(method).filter(|method| (1..=METHOD_BYTES_MAX).contains(&method.len()));
        let method = method.ok_or_else(|| refuse(INVALID_REQUEST, "`method` must be a short string"))?;
        let members = match params {
            None => Members::default(),
            Some(params) => Members::read(params.get())
                .map_err(|_| refuse(INVALID_PARAMS, "`params` must be an object, with each member once"))?,
        };
        let meta = match members.get("_meta") {
            None => Meta::default(),
            Some(meta) => Meta::of(
                &Members::read(meta.get())
                    .map_err(|_| refuse(INVALID_PARAMS, "`_meta` must be an object, with each member once"))?,
            ),
        };
        Ok(Self { id, method, params, members, meta })
    }

    /// The raw arguments, of which the audit log keeps a digest.
    pub(crate) fn arguments(&self) -> Option<&'a RawValue> {
        self.members.get("arguments")
    }
}

impl<'a> Meta<'a> {
    fn of(members: &Members<'a>) -> Self {
        Self {
            progress_token: members.get("progressToken").filter(|token| is_id(token)),
            version: members.text("io.modelcontextprotocol/protocolVersion"),
            capabilities: members.get("io.modelcontextprotocol/clientCapabilities"),
            log_level: members.text("io.modelcontextprotocol/logLevel"),
        }
    }
}

/// A string, or an integer of up to 64 bits.
fn is_id(raw: &RawValue) -> bool {
    let text = raw.get();
    text.len() <= ID_BYTES_MAX && (text.starts_with('"') || text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> i64 {
        Incoming::read(text.as_bytes()).unwrap_err().error.code
    }

    #[test]
    fn a_request_is_read_one_level_deep() {
        let text = br#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"tools\/call","params":{"name":"a","arguments":{"x": 1},"_meta":{"progressToken":"t","io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let Incoming::Request(parsed) = Incoming::read(text).unwrap() else { panic!("not a request") };
        assert_eq!((parsed.method.as_ref(), parsed.id.unwrap().get()), ("tools/call", "18446744073709551615"));
        assert_eq!(parsed.arguments().unwrap().get(), r#"{"x": 1}"#);
        assert_eq!(parsed.meta.progress_token.unwrap().get(), "\"t\"");
        assert_eq!(parsed.meta.version.as_deref(), Some("2026-07-28"));
    }

    #[test]
    fn what_is_no_json_is_told_from_what_is_no_request() {
        for text in ["", "{", "nonsense", "{\"jsonrpc\":\"2.0\",", "[{]"] {
            assert_eq!(refused(text), PARSE_ERROR, "{text}");
        }
        for text in [
            "7",
            "[]",
            "{}",
            r#"{"id":1}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","meth\u006fd":"n"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
        ] {
            assert_eq!(refused(text), INVALID_REQUEST, "{text}");
        }
    }

    #[test]
    fn params_given_twice_in_one_level_are_refused() {
        for params in ["[]", "7", r#"{"name":"a","name":"b"}"#, r#"{"_meta":{"a":1,"a":2}}"#, r#"{"_meta":3}"#] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":"keep","method":"m","params":{params}}}"#);
            let malformed = Incoming::read(text.as_bytes()).unwrap_err();
            assert_eq!(malformed.error.code, INVALID_PARAMS, "{text}");
            assert_eq!(malformed.id.unwrap().get(), "\"keep\"");
        }
    }

    #[test]
    fn a_deep_message_is_refused_before_it_is_parsed() {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"a":{}{}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(refused(&text), INVALID_REQUEST);
    }

    #[test]
    fn answers_notifications_and_batches_are_told_apart() {
        let read = |text: &'static str| Incoming::read(text.as_bytes()).unwrap();
        assert!(matches!(read(r#"{"jsonrpc":"2.0","method":"m"}"#), Incoming::Notification(_)));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":1,"error":{}}"#),
            Incoming::Answer { outcome: Outcome::Error(_), .. }
        ));
        assert!(matches!(read(r#"[{"jsonrpc":"2.0","method":"m"}]"#), Incoming::Batch(all) if all.len() == 1));
    }
}
