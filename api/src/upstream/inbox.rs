//! Where what a server sends of its own accord goes: to the call it belongs to, to whoever listens, or straight back refused.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::broadcast;

use super::{CallSink, ServerMessage, rpc};

/// Messages that wait for a slow listener before the oldest are lost to it.
const MESSAGES_MAX: usize = 256;
/// Requests of one server that may wait for an answer at once.
const ASKED_MAX: usize = 64;
/// How long a request of a server may wait for its answer. A person may have to be asked, so it is long.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(600);

/// The sink of a call; `None` for what came outside of one.
type AskedIn = Option<Arc<dyn CallSink>>;

/// What to do with a request of the server.
pub(super) enum Asked {
    /// It was handed on; refuse it if nobody answers within [`ANSWER_WITHIN`].
    HandedOn,
    /// Send this back at once.
    Answer(Vec<u8>),
}

/// Messages that a server sends of its own accord.
pub(super) struct Inbox {
    messages: broadcast::Sender<ServerMessage>,
    capabilities: Option<Arc<str>>,
    /// Requests of the server that wait for their answer, by id, with the call they came in.
    asked: Mutex<HashMap<Box<str>, AskedIn>>,
}

impl Inbox {
    /// `capabilities` are what the client side offered: a server may ask for nothing else.
    pub(super) fn new(capabilities: Option<Arc<str>>) -> Self {
        Self { messages: broadcast::Sender::new(MESSAGES_MAX), capabilities, asked: Mutex::default() }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<ServerMessage> {
        self.messages.subscribe()
    }

    pub(super) fn capabilities(&self) -> Option<&Arc<str>> {
        self.capabilities.as_ref()
    }

    /// Hands a notification to the call it belongs to, else to the listeners.
    pub(super) fn notification(&self, method: &str, params: Option<&RawValue>, sink: Option<&Arc<dyn CallSink>>) {
        let message = ServerMessage::Notification { method: method.into(), params: params.map(shared) };
        let asked_by = (method == "notifications/cancelled").then(|| self.cancelled(params)).flatten();
        match asked_by.as_ref().or(sink) {
            Some(sink) => sink.message(message),
            // Nobody listens: a notification may be lost.
            None => drop(self.messages.send(message)),
        }
    }

    /// Takes a request: answers pings, refuses what was not offered, hands the rest on.
    pub(super) fn request(
        &self,
        id: &RawValue,
        method: &str,
        params: Option<&RawValue>,
        sink: Option<&Arc<dyn CallSink>>,
    ) -> Asked {
        if method == "ping" {
            return Asked::Answer(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{}}}}", id.get()).into_bytes());
        }
        let offered = self.offers(method);
        if let Some(sink) = sink.filter(|_| !offered) {
            sink.message(ServerMessage::Refused { method: method.into() });
        }
        if !offered || (sink.is_none() && self.messages.receiver_count() == 0) {
            return Asked::Answer(rpc::write_refusal(id, -32601, "the client does not offer this method"));
        }
        {
            let mut asked = self.asked.lock();
            if asked.len() >= ASKED_MAX || asked.contains_key(id.get()) {
                return Asked::Answer(rpc::write_refusal(
                    id,
                    -32603,
                    "too many requests of this server are unanswered",
                ));
            }
            asked.insert(id.get().into(), sink.cloned());
        }
        let message = ServerMessage::Request { id: shared(id), method: method.into(), params: params.map(shared) };
        match sink {
            Some(sink) => sink.message(message),
            None => drop(self.messages.send(message)),
        }
        Asked::HandedOn
    }

    /// Marks a request of the server as answered. `false` if it was not waiting (any more): the answer must not be sent.
    pub(super) fn answered(&self, id: &RawValue) -> bool {
        self.asked.lock().remove(id.get()).is_some()
    }

    fn cancelled(&self, params: Option<&RawValue>) -> Option<Arc<dyn CallSink>> {
        let id = rpc::member(params?, "requestId")?;
        self.asked.lock().remove(id.get()).flatten()
    }

    fn offers(&self, method: &str) -> bool {
        let family = match method {
            "sampling/createMessage" => "sampling",
            "elicitation/create" => "elicitation",
            "roots/list" => "roots",
            // Extensions (tasks of the client, for one) are judged by whoever answers.
            _ => return self.capabilities.is_some(),
        };
        let offered: Option<&RawValue> = self.capabilities.as_deref().and_then(|text| serde_json::from_str(text).ok());
        offered.is_some_and(|offered| rpc::member(offered, family).is_some())
    }
}

/// A copy that several may hold.
pub(super) fn shared(raw: &RawValue) -> Arc<RawValue> {
    Arc::from(raw.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn answer(asked: Asked) -> String {
        match asked {
            Asked::Answer(bytes) => String::from_utf8(bytes).unwrap(),
            Asked::HandedOn => "handed on".into(),
        }
    }

    #[test]
    fn a_ping_is_answered_here() {
        let inbox = Inbox::new(None);
        let reply = answer(inbox.request(&raw("\"p1\""), "ping", None, None));
        assert_eq!(reply, r#"{"jsonrpc":"2.0","id":"p1","result":{}}"#);
    }

    #[test]
    fn what_was_not_offered_is_refused_and_what_was_is_handed_on_once() {
        let inbox = Inbox::new(Some(r#"{"sampling":{}}"#.into()));
        let mut listener = inbox.subscribe();
        let id = raw("5");
        assert!(answer(inbox.request(&id, "elicitation/create", None, None)).contains("-32601"));
        assert_eq!(answer(inbox.request(&id, "sampling/createMessage", None, None)), "handed on");
        assert!(matches!(listener.try_recv(), Ok(ServerMessage::Request { .. })));
        assert!(answer(inbox.request(&id, "sampling/createMessage", None, None)).contains("-32603"));
        assert!(inbox.answered(&id));
        assert!(!inbox.answered(&id), "a second answer must not be sent");
    }

    #[test]
    fn a_request_without_any_listener_is_refused() {
        let inbox = Inbox::new(Some(r#"{"sampling":{}}"#.into()));
        assert!(answer(inbox.request(&raw("5"), "sampling/createMessage", None, None)).contains("-32601"));
    }
}
