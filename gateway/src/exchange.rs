//! One message of a client from its bytes to its answer: parsed, audited, admitted, done, recorded, answered. The same for
//! HTTP and STDIO.
use std::sync::Arc;

use bytes::Bytes;
use mcpctl_api::plane::{Admission, AuditFailed, CallerBearer, Denial};
use mcpctl_api::upstream::Reply;
use parking_lot::Mutex;
use serde_json::value::RawValue;

use crate::audit::Opened;
use crate::call::{Incoming, Malformed, Outcome, Parsed};
use crate::client::Client;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::modern::Mirrored;
use crate::notified::notified;
use crate::outlet::Outlet;
use crate::rpc_error::{INTERNAL, INVALID_REQUEST, RpcError};
use crate::{tasks, trace};

/// A message as it came in.
pub(crate) struct Arrival {
    pub(crate) bearer: CallerBearer,
    pub(crate) project: String,
    pub(crate) body: Bytes,
    pub(crate) way: Way,
}

/// How it came in.
pub(crate) enum Way {
    /// As a POST.
    Http {
        /// Headers that mirror the body.
        mirrored: Mirrored,
        /// `Mcp-Session-Id`.
        session: Option<String>,
        /// Headers that a HTTP server may see.
        pass: Vec<(String, String)>,
    },
    /// As a line. The session is that of the process, once there is one.
    Stdio(Arc<Mutex<Option<Arc<Client>>>>),
}

/// What goes back.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// HTTP status.
    pub(crate) status: u16,
    /// The message, if there is one.
    pub(crate) message: Option<Message>,
    /// The session that was opened.
    pub(crate) session: Option<Arc<str>>,
    /// The access was taken away: a stream that has begun is reset instead of being ended in good order.
    pub(crate) cut: bool,
}

impl Answered {
    /// A message and its status.
    pub(crate) fn new(status: u16, message: Message) -> Self {
        Self { status, message: Some(message), session: None, cut: false }
    }

    /// Nothing is to be said.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

impl Gateway {
    /// Handles one message. Messages that leave before the answer go through the outlet.
    pub(crate) async fn handle(self: Arc<Self>, arrival: Arrival, outlet: Outlet) -> Answered {
        let incoming = Incoming::read(&arrival.body);
        let mut audit = Opened::new(&self, Some(&arrival.bearer), &arrival.project, arrival.body.len());
        let id = describe(&incoming, &mut audit);
        // A line that is no request is never answered; HTTP has a status for it.
        let unanswerable = matches!(incoming, Ok(Incoming::Notification(_))) && matches!(arrival.way, Way::Stdio(_));
        let admission = match self.plane.admit(&arrival.bearer, &arrival.project).await {
            Ok(admission) => admission,
            Err(denial) => {
                let denied = self.denied(audit, id.as_deref(), &denial).await;
                return if unanswerable { Answered::empty(202) } else { denied };
            }
        };
        audit.admitted(&admission);
        audit.traced(|| trace::given(&arrival.way, &incoming));
        outlet.by_access(&admission.cut);
        let request = Request { gateway: &self, arrival: &arrival, admission: &admission, outlet: &outlet };
        let answered = match incoming {
            Ok(Incoming::Batch(all)) => request.batch(audit, all).await,
            other => request.message(audit, other).await,
        };
        if unanswerable { Answered::empty(202) } else { answered }
    }

    /// Answers a caller who may not open the project.
    pub(crate) async fn denied(&self, mut audit: Opened, id: Option<&RawValue>, denial: &Denial) -> Answered {
        let (error, outcome) = of_denial(denial);
        // Who has no access does not say which traces are kept.
        audit.traced(|| None);
        audit.refused();
        audit.because(denial.to_string());
        let message = Message::answer(id, Reply::Error(error.to_raw()));
        let (bearer, entry) = audit.finished(outcome, message.len());
        let counted = matches!(denial, Denial::Unavailable(_)) && self.unserved.counts(bearer.as_ref(), &entry);
        if !counted && let Err(failed) = self.plane.record(bearer.as_ref(), entry).await {
            tracing::error!(error = %failed, "a refusal could not be recorded");
        }
        Answered::new(error.status, message)
    }
}

/// What the audit log shall say was asked for, and the id of the request.
pub(crate) fn describe(incoming: &Result<Incoming<'_>, Malformed>, audit: &mut Opened) -> Option<Box<RawValue>> {
    match incoming {
        Ok(Incoming::Request(parsed) | Incoming::Notification(parsed)) => {
            audit.asked(&parsed.method, parsed.arguments());
            parsed.id.map(ToOwned::to_owned)
        }
        Ok(Incoming::Batch(_)) => {
            audit.asked("batch", None);
            None
        }
        Ok(Incoming::Answer { .. }) => None,
        Err(malformed) => malformed.id.clone(),
    }
}

/// What a denied caller is told, and what the audit log calls it.
pub(crate) fn of_denial(denial: &Denial) -> (RpcError, &'static str) {
    let (status, next) = match denial {
        Denial::NotAToken(_) => {
            (401, "make a token with `mcpctl create mcptoken NAME -p PROJECT` and send it as `Authorization: Bearer`")
        }
        Denial::Ended(_) => (401, "make another with `mcpctl create mcptoken NAME -p PROJECT`"),
        Denial::OtherProject => (403, "use the endpoint of the token's own project, or a token of this one"),
        Denial::Forbidden(_) => (403, "ask who administers the project; `mcpctl why` shows what is missing"),
        Denial::NoProject(_) => (404, "`mcpctl get projects` shows which there are"),
        Denial::Unavailable(_) => (503, "nothing is served while nobody can say who may; try again shortly"),
    };
    let outcome = if status == 503 { "unavailable" } else { "denied" };
    (RpcError::of_status(status, format!("{denial}: {next}")), outcome)
}

/// A message of an admitted caller.
pub(crate) struct Request<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    pub(crate) arrival: &'a Arrival,
    pub(crate) admission: &'a Admission,
    pub(crate) outlet: &'a Outlet,
}

impl Request<'_> {
    /// A single message.
    pub(crate) async fn message(&self, audit: Opened, incoming: Result<Incoming<'_>, Malformed>) -> Answered {
        match incoming {
            Ok(Incoming::Request(parsed)) => self.request(audit, &parsed).await,
            Ok(Incoming::Notification(parsed)) => self.told(audit, &parsed).await,
            Ok(Incoming::Answer { id, outcome }) => self.answered(audit, id, outcome).await,
            Ok(Incoming::Batch(_)) => {
                let error = RpcError::bad_request(INVALID_REQUEST, "a batch can't be part of a batch");
                self.refuse(audit, None, &error).await
            }
            Err(malformed) => self.refuse(audit, malformed.id.as_deref(), &malformed.error).await,
        }
    }

    /// A notification. It is accepted silently, whatever it is.
    async fn told(&self, audit: Opened, parsed: &Parsed<'_>) -> Answered {
        match self.speaker(parsed).await {
            Ok(speaker) => {
                audit.forget();
                notified(&self.context(speaker), parsed).await;
                Answered::empty(202)
            }
            Err(error) => self.refuse(audit, None, &error).await,
        }
    }

    /// The answer of a client to what a server asked.
    async fn answered(&self, audit: Opened, id: &RawValue, outcome: Outcome<'_>) -> Answered {
        let client = match &self.arrival.way {
            Way::Stdio(client) => client.lock().clone(),
            Way::Http { session, .. } => match self.session(session.as_deref()) {
                Ok(client) => client,
                Err(error) => return self.refuse(audit, None, &error).await,
            },
        };
        audit.forget();
        if let Some(client) = client {
            let reply = match outcome {
                Outcome::Result(result) => {
                    let changed = tasks::from_client(self.gateway, &client.key, result);
                    Reply::Result(changed.unwrap_or_else(|| result.to_owned()))
                }
                Outcome::Error(error) => Reply::Error(error.to_owned()),
            };
            client.asked.answer(id, reply).await;
        }
        Answered::empty(202)
    }

    /// Answers a request that breaks a rule. It leaves a line, as everything that is refused.
    pub(crate) async fn refuse(&self, mut audit: Opened, id: Option<&RawValue>, error: &RpcError) -> Answered {
        audit.refused();
        audit.because(error.message.clone());
        let message = Message::answer(id, Reply::Error(error.to_raw()));
        match audit.close("error", message.len()).await {
            Ok(()) => Answered::new(error.status, message),
            Err(failed) => unrecorded(id, &failed),
        }
    }
}

/// What was done can't be recorded: then it is not told either.
pub(crate) fn unrecorded(id: Option<&RawValue>, failed: &AuditFailed) -> Answered {
    tracing::error!(error = %failed, "an answer is withheld because it could not be recorded");
    let words =
        "the audit log takes no entries, so the answer is withheld: whoever runs the control plane must look at it";
    let error = RpcError { status: 503, ..RpcError::new(INTERNAL, words) };
    Answered::new(503, Message::answer(id, Reply::Error(error.to_raw())))
}
