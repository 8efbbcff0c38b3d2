//! What a legacy server asks while one call runs, until a modern client has answered it.
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mcpctl_api::upstream::{CallSink, Reply, ServerMessage, Session};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::capability_of;
use crate::json::{Members, Object, raw};
use crate::link::refuse;
use crate::rpc_error::{MISSING_CAPABILITY, RpcError};
use crate::sink::CallerSink;
use crate::translate::is_tool_error;

/// How long more questions are waited for after one: what a server asks at once is put to the client at once.
const GATHER: Duration = Duration::from_millis(20);
/// Questions of one call that may be open at once.
const OPEN_MAX: usize = 32;

/// A question of the server.
#[derive(Clone)]
pub(crate) struct Question {
    /// The name under which the client answers it. A legacy server gives none, so it is made here.
    pub(super) key: String,
    pub(super) method: Arc<str>,
    pub(super) params: Option<Arc<RawValue>>,
    id: Arc<RawValue>,
    session: Weak<dyn Session>,
}

#[derive(Default)]
struct Questions {
    open: Vec<Question>,
    /// Questions so far: a key is never used twice.
    asked: u32,
    last: Option<Instant>,
    /// Capabilities that the server wanted and the client has not, as JSON.
    lacking: BTreeMap<&'static str, &'static str>,
}

/// The questions of one call.
pub(crate) struct Round {
    questions: Mutex<Questions>,
    changed: Notify,
    /// Where everything else goes: the request of the client that waits now.
    sink: Mutex<Arc<CallerSink>>,
}

impl Round {
    pub(crate) fn new(sink: Arc<CallerSink>) -> Arc<Self> {
        Arc::new(Self { questions: Mutex::default(), changed: Notify::new(), sink: Mutex::new(sink) })
    }

    /// Another request of the client waits now.
    pub(super) fn attach(&self, sink: Arc<CallerSink>) {
        *self.sink.lock() = sink;
    }

    /// Whether its call is in this conversation.
    pub(crate) fn is_in(&self, session: &Weak<dyn Session>) -> bool {
        Weak::ptr_eq(&self.sink.lock().session, session)
    }

    /// Takes a question that came outside of the call: over STDIO nobody can tell which of two calls it belongs to, and the
    /// client is the same.
    pub(crate) fn asked(&self, id: Arc<RawValue>, method: &str, params: Option<Arc<RawValue>>) {
        let sink = self.sink.lock().clone();
        let offers = sink.context.client.key.capabilities.clone();
        let lacking = lacking(offers.as_deref(), method, params.as_deref());
        let mut questions = self.questions.lock();
        if let Some((name, json)) = lacking {
            questions.lacking.insert(name, json);
        }
        let family = capability_of(method).filter(|_| lacking.is_none() && questions.open.len() < OPEN_MAX);
        let Some(family) = family else {
            return refuse(&sink.context.gateway, sink.session.clone(), id);
        };
        questions.asked += 1;
        let key = format!("{family}-{}", questions.asked);
        let session = sink.session.clone();
        questions.open.push(Question { key, method: method.into(), params, id, session });
        questions.last = Some(Instant::now());
        drop(questions);
        self.changed.notify_one();
    }

    /// The server takes a question back.
    fn withdrawn(&self, params: Option<&RawValue>) {
        if let Some(id) = params.and_then(|raw| Members::of(raw).get("requestId")) {
            self.questions.lock().open.retain(|question| question.id.get() != id.get());
        }
    }

    /// The server was refused because the client does not offer what it asked for.
    fn refused(&self, method: &str) {
        if let Some(name) = capability_of(method) {
            self.questions.lock().lacking.insert(name, "{}");
        }
    }

    /// Questions that are not answered.
    pub(super) fn open(&self) -> Vec<Question> {
        self.questions.lock().open.clone()
    }

    /// Waits until the server has asked something, and for a moment not more.
    pub(super) async fn settled(&self) {
        loop {
            let last = {
                let questions = self.questions.lock();
                questions.last.filter(|_| !questions.open.is_empty())
            };
            match last {
                None => self.changed.notified().await,
                Some(last) if last.elapsed() >= GATHER => return,
                Some(last) => tokio::select! {
                    () = tokio::time::sleep_until(last + GATHER) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    /// Hands answers to the server. What has none, or none that is an object, stays open.
    pub(super) async fn answer(&self, responses: Option<&RawValue>) {
        let responses = responses.map(Members::of).unwrap_or_default();
        let mut answered = Vec::new();
        self.questions.lock().open.retain(|question| {
            let answer = responses.get(&question.key).filter(|raw| raw.get().starts_with('{'));
            answered.extend(answer.map(|raw| (question.clone(), raw.to_owned())));
            answer.is_none()
        });
        for (question, answer) in answered {
            let Some(session) = question.session.upgrade() else { continue };
            if let Err(error) = session.respond(&question.id, Reply::Result(answer)).await {
                // The call itself will say that its server is gone.
                tracing::debug!(%error, "the answer of a client came too late");
            }
        }
    }

    /// The answer of the call. If it failed and the server had wanted what the client does not offer, that is why.
    pub(super) fn judge(&self, reply: Reply) -> Reply {
        let failed = match &reply {
            Reply::Error(_) => true,
            Reply::Result(result) => is_tool_error(result),
        };
        let questions = self.questions.lock();
        if !failed || questions.lacking.is_empty() {
            return reply;
        }
        let mut lacking = Object::new();
        for (name, json) in &questions.lacking {
            lacking.json(name, json);
        }
        let data = Object::new().json("requiredCapabilities", &lacking.finish()).finish();
        let error = RpcError::bad_request(MISSING_CAPABILITY, "Missing required client capability").with_data(data);
        Reply::Error(error.to_raw())
    }
}

impl CallSink for Round {
    fn message(&self, message: ServerMessage) {
        match message {
            ServerMessage::Request { id, method, params } => self.asked(id, &method, params),
            ServerMessage::Refused { method } => self.refused(&method),
            ServerMessage::Notification { method, params } => {
                if &*method == "notifications/cancelled" {
                    self.withdrawn(params.as_deref());
                }
                let sink = self.sink.lock().clone();
                sink.notified(&method, params.as_deref());
            }
        }
    }
}

/// The capability that a question needs and the client does not offer, with the JSON that would offer it. The conversation
/// has looked at the family already; a client may take forms and no URLs.
fn lacking(offers: Option<&str>, method: &str, params: Option<&RawValue>) -> Option<(&'static str, &'static str)> {
    let family = capability_of(method)?;
    let offers: Box<RawValue> = raw(offers.unwrap_or("{}").to_owned());
    let Some(offered) = Members::of(&offers).get(family).map(ToOwned::to_owned) else { return Some((family, "{}")) };
    let mode = params.and_then(|raw| Members::of(raw).text("mode"));
    let urls = Members::of(&offered).get("url").is_some();
    (family == "elicitation" && mode.as_deref() == Some("url") && !urls).then_some((family, "{\"url\":{}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_forms_is_not_asked_to_open_a_url() {
        let url = raw(r#"{"mode":"url","url":"https://x.example"}"#.into());
        let of = |offers, params| lacking(Some(offers), "elicitation/create", params);
        assert_eq!(of(r#"{"elicitation":{}}"#, None), None);
        assert_eq!(of(r#"{"elicitation":{"form":{}}}"#, Some(&url)), Some(("elicitation", "{\"url\":{}}")));
        assert_eq!(of(r#"{"elicitation":{"url":{}}}"#, Some(&url)), None);
        assert_eq!(lacking(None, "roots/list", None), Some(("roots", "{}")));
        assert_eq!(lacking(None, "vendor/ask", None), None);
    }
}
