//! What servers asked of a client and it has not answered yet (sampling, elicitation, roots).
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use mcpctl_api::upstream::{Reply, Session};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::json::Members;
use crate::message::Message;
use crate::outlet::Outlet;

/// Questions to one client that may be open at once.
const OPEN_MAX: usize = 64;

/// Who asked.
enum Asker {
    /// A legacy server, under an id of its own.
    Server { session: Weak<dyn Session>, id: Arc<RawValue> },
    /// The gateway, in place of a modern server.
    Gateway(oneshot::Sender<Reply>),
}

impl Asker {
    /// Whether anybody still waits for the answer.
    fn waits(&self) -> bool {
        match self {
            Self::Server { session, .. } => session.strong_count() > 0,
            Self::Gateway(answer) => !answer.is_closed(),
        }
    }
}

struct Question {
    asker: Asker,
    /// Where the server wants the progress of the answer to be reported.
    progress: Option<Box<str>>,
    outlet: Outlet,
}

/// Open questions, by the id under which the client got them: ids of two servers may be the same.
#[derive(Default)]
pub(crate) struct Asked {
    last: AtomicU64,
    open: Mutex<HashMap<u64, Question>>,
}

impl Asked {
    /// Puts a server's question to the client. `false` if it can't be put.
    pub(crate) fn put(
        &self,
        session: Weak<dyn Session>,
        id: Arc<RawValue>,
        method: &str,
        params: Option<&RawValue>,
        outlet: &Outlet,
    ) -> bool {
        let progress =
            params.and_then(|raw| Members::of(raw).get("_meta")).and_then(|m| Members::of(m).get("progressToken"));
        let progress = progress.map(|token| token.get().into());
        let question = Question { asker: Asker::Server { session, id }, progress, outlet: outlet.clone() };
        self.open(question, method, params)
    }

    /// Puts a question to the client whose answer comes back here. `false` if it can't be put.
    pub(crate) fn put_here(
        &self,
        answer: oneshot::Sender<Reply>,
        method: &str,
        params: Option<&RawValue>,
        outlet: &Outlet,
    ) -> bool {
        let question = Question { asker: Asker::Gateway(answer), progress: None, outlet: outlet.clone() };
        self.open(question, method, params)
    }

    fn open(&self, question: Question, method: &str, params: Option<&RawValue>) -> bool {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let outlet = question.outlet.clone();
        {
            let mut open = self.open.lock();
            // Whoever went away answers no more.
            open.retain(|_, question| question.outlet.is_open() && question.asker.waits());
            if open.len() >= OPEN_MAX {
                return false;
            }
            open.insert(number, question);
        }
        let put = outlet.put(Message::request(number, method, params.map(RawValue::get)));
        if !put {
            self.open.lock().remove(&number);
        }
        put
    }

    /// Hands the client's answer to the server that asked. An answer to nothing is dropped.
    pub(crate) async fn answer(&self, id: &RawValue, reply: Reply) {
        let question = id.get().parse().ok().and_then(|number: u64| self.open.lock().remove(&number));
        match question.map(|question| question.asker) {
            Some(Asker::Server { session, id }) => {
                if let Some(session) = session.upgrade()
                    && let Err(error) = session.respond(&id, reply).await
                {
                    tracing::debug!(%error, "the answer of a client came too late");
                }
            }
            // Whoever asked may have gone meanwhile.
            Some(Asker::Gateway(answer)) => drop(answer.send(reply)),
            None => {}
        }
    }

    /// The server takes its question back: the client is told, under the id that it knows.
    pub(crate) fn withdraw(&self, session: &Weak<dyn Session>, params: Option<&RawValue>) {
        let Some(id) = params.and_then(|raw| Members::of(raw).get("requestId")) else { return };
        let mut open = self.open.lock();
        let same = |question: &Question| match &question.asker {
            Asker::Server { session: asking, id: known } => known.get() == id.get() && Weak::ptr_eq(asking, session),
            Asker::Gateway(_) => false,
        };
        let Some(number) = open.iter().find(|(_, question)| same(question)).map(|(number, _)| *number) else { return };
        if let Some(question) = open.remove(&number) {
            question
                .outlet
                .put(Message::notification("notifications/cancelled", Some(&format!("{{\"requestId\":{number}}}"))));
        }
    }

    /// The server that waits for the progress of an answer.
    pub(crate) fn whose_progress(&self, params: Option<&RawValue>) -> Option<Arc<dyn Session>> {
        let token = params.and_then(|raw| Members::of(raw).get("progressToken"))?;
        let open = self.open.lock();
        let question = open.values().find(|question| question.progress.as_deref() == Some(token.get()))?;
        match &question.asker {
            Asker::Server { session, .. } => session.upgrade(),
            Asker::Gateway(_) => None,
        }
    }
}
