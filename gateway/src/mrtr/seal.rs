//! What a client carries from one request to the next: sealed, so that it can be neither read nor changed, and bound to its
//! bearer, project, server, method and parameters, so that it is good for nothing else.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use mcpctl_api::plane::{Admission, CallerBearer};
use mcpctl_core::ids::Uid;
use mcpctl_core::time::Timestamp;
use serde_json::Value;

use crate::call::Parsed;

const NONCE_BYTES: usize = 24;
/// Bytes of the moment at which it ends.
const EXPIRY_BYTES: usize = 8;
/// Longest sealed text that is opened, in bytes.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// Names the use of the key that a bearer gives.
const OF_BEARER: &str = "mcpctl gateway 2026-11 requestState";

/// A key to seal with.
pub(crate) struct Seal([u8; 32]);

/// It was not sealed here for this request, or is over. Which of them is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejected;

impl Seal {
    /// A key that nobody else has: for what ends with this process.
    pub(crate) fn of_process() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system has randomness");
        Self(key)
    }

    /// The key of a bearer, the same in every gateway: for what another gateway shall be able to open.
    pub(crate) fn of_bearer(bearer: &CallerBearer) -> Self {
        Self(bearer.derive_key(OF_BEARER))
    }

    /// Seals a content for one kind of request, until a moment.
    pub(crate) fn seal(&self, bound: &Bound, until: Timestamp, content: &[u8]) -> String {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the system has randomness");
        self.seal_with(nonce, bound, until, content)
    }

    /// Seals a content for ever, and the same content to the same text: it is a name. The nonce is drawn from the content, so
    /// that two contents never share one.
    pub(crate) fn name(&self, bound: &Bound, content: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&(bound.0.len() as u64).to_be_bytes()).update(&bound.0).update(content);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&hasher.finalize().as_bytes()[..NONCE_BYTES]);
        self.seal_with(nonce, bound, Timestamp::from_millis(u64::MAX), content)
    }

    fn seal_with(&self, nonce: [u8; NONCE_BYTES], bound: &Bound, until: Timestamp, content: &[u8]) -> String {
        let open = [&until.as_millis().to_be_bytes(), content].concat();
        let payload = Payload { msg: &open, aad: &bound.0 };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).expect("a value of this size always seals");
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for this kind of request and is not over.
    pub(crate) fn open(&self, bound: &Bound, now: Timestamp, text: &str) -> Result<Vec<u8>, Rejected> {
        let bytes = URL_SAFE_NO_PAD.decode(text.get(..TEXT_BYTES_MAX).unwrap_or(text)).map_err(|_| Rejected)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(Rejected)?;
        let payload = Payload { msg: sealed, aad: &bound.0 };
        let open = self.cipher().decrypt(&XNonce::from(*nonce), payload).map_err(|_| Rejected)?;
        let (until, content) = open.split_first_chunk::<EXPIRY_BYTES>().ok_or(Rejected)?;
        if u64::from_be_bytes(*until) < now.as_millis() {
            return Err(Rejected);
        }
        Ok(content.to_vec())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

/// What a sealed text is good for.
pub(crate) struct Bound(Vec<u8>);

impl Bound {
    /// The request that may bring it: of this caller in this project, to this server, by this method, with the same
    /// parameters. `_meta` may differ, and the answers come with it.
    pub(crate) fn to(admission: &Admission, server: Uid, parsed: &Parsed<'_>) -> Self {
        let (project, subject) = (admission.project.uid, admission.caller.actor.uid);
        let params = digest(parsed);
        let mut bound = format!("{project} {subject} {server} {}\n", parsed.method).into_bytes();
        bound.extend_from_slice(&params);
        Self(bound)
    }
}

impl Bound {
    /// Tasks of this caller in this project.
    pub(crate) fn to_tasks(admission: &Admission) -> Self {
        Self(format!("{} {} tasks", admission.project.uid, admission.caller.actor.uid).into_bytes())
    }
}

/// Digest of the parameters that say what is asked for, whatever their order and white space.
fn digest(parsed: &Parsed<'_>) -> [u8; 32] {
    const NOT_ASKED_FOR: [&str; 3] = ["_meta", "inputResponses", "requestState"];
    let mut members: Vec<(&str, String)> = parsed
        .members
        .iter()
        .filter(|(key, _)| !NOT_ASKED_FOR.contains(key))
        .map(|(key, raw)| (key, serde_json::from_str(raw.get()).map_or_else(|_| raw.get().to_owned(), canonical)))
        .collect();
    members.sort();
    let mut hasher = blake3::Hasher::new();
    for (key, value) in members {
        hasher.update(&(key.len() as u64).to_be_bytes()).update(key.as_bytes());
        hasher.update(&(value.len() as u64).to_be_bytes()).update(value.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// The same value as text, with the members of every object in order.
fn canonical(value: Value) -> String {
    sorted(value).to_string()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(all) => Value::Array(all.into_iter().map(sorted).collect()),
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(members.into_iter().collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Incoming;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn bound(whose: &str) -> Bound {
        Bound(whose.into())
    }

    fn digest_of(params: &str) -> [u8; 32] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
        let Incoming::Request(parsed) = Incoming::read(text.as_bytes()).unwrap() else { panic!("not a request") };
        digest(&parsed)
    }

    #[test]
    fn what_was_sealed_is_opened_for_the_same_request_only_and_in_time() {
        let seal = Seal::of_process();
        let text = seal.seal(&bound("a"), NOW.plus_millis(5), b"content");
        assert_eq!(seal.open(&bound("a"), NOW, &text).as_deref(), Ok(&b"content"[..]));
        assert_eq!(seal.open(&bound("a"), NOW.plus_millis(5), &text).as_deref(), Ok(&b"content"[..]));
        assert_eq!(seal.open(&bound("a"), NOW.plus_millis(6), &text), Err(Rejected), "it is over");
        assert_eq!(seal.open(&bound("b"), NOW, &text), Err(Rejected), "another request");
        assert_eq!(Seal::of_process().open(&bound("a"), NOW, &text), Err(Rejected), "another key");
    }

    #[test]
    fn a_changed_text_is_rejected_wherever_it_is_changed() {
        let seal = Seal::of_process();
        let text = seal.seal(&bound("a"), NOW, b"content");
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(seal.open(&bound("a"), NOW, &changed), Err(Rejected), "at {at}");
        }
        for changed in ["", "x", &text[..text.len() - 1], &format!("{text}-TAMPERED"), &format!("{text}=")] {
            assert_eq!(seal.open(&bound("a"), NOW, changed), Err(Rejected), "{changed}");
        }
    }

    #[test]
    fn a_name_is_the_same_each_time_and_opens_like_what_is_sealed() {
        let seal = Seal::of_process();
        let name = seal.name(&bound("a"), b"task");
        assert_eq!(name, seal.name(&bound("a"), b"task"));
        assert_ne!(name, seal.name(&bound("a"), b"tasl"));
        assert_eq!(seal.open(&bound("a"), NOW, &name).as_deref(), Ok(&b"task"[..]));
        assert_eq!(seal.open(&bound("b"), NOW, &name), Err(Rejected));
    }

    #[test]
    fn a_bearer_gives_the_same_key_everywhere_and_another_bearer_another() {
        let key = |text: &str| Seal::of_bearer(&CallerBearer::new(text.to_owned()));
        let text = key("one").seal(&bound("a"), NOW, b"content");
        assert!(key("one").open(&bound("a"), NOW, &text).is_ok());
        assert_eq!(key("two").open(&bound("a"), NOW, &text), Err(Rejected));
    }

    #[test]
    fn parameters_are_the_same_in_any_order_and_answers_do_not_count() {
        let one = digest_of(r#"{"name":"t","arguments":{"a":1,"b":[{"c":2,"d":3}]}}"#);
        let same = r#"{"arguments":{ "b":[{"d":3,"c":2}],"a":1},"inputResponses":{"x":1},"name":"t","requestState":"s","_meta":{"progressToken":1}}"#;
        assert_eq!(one, digest_of(same));
        for other in [r#"{"name":"u","arguments":{"a":1,"b":[{"c":2,"d":3}]}}"#, r#"{"name":"t","arguments":{"a":1}}"#]
        {
            assert_ne!(one, digest_of(other));
        }
    }
}
