//! One message of a client from its bytes to its answer: parsed, audited, admitted, done, recorded, answered. The same for
//! HTTP and STDIO.
use std::sync::Arc;

use bytes::Bytes;
use mcpctl_api::plane::{Admission, CallerBearer, Denial};
use mcpctl_api::upstream::{Reply, SessionKey};
use parking_lot::Mutex;
use serde_json::value::RawValue;

use crate::audit::Opened;
use crate::call::{Incoming, Malformed, Outcome, Parsed};
use crate::calls::{Done, call, set_level_of_all};
use crate::client::Client;
use crate::clients::new_id;
use crate::context::Context;
use crate::dialect::{Dialect, LEGACY, MODERN, WITH_BATCHES};
use crate::feed::{StreamEnd, stream};
use crate::gateway::Gateway;
use crate::json::{Members, raw};
use crate::listener::{Filter, Listener, Wish};
use crate::lists::ListKind;
use crate::message::Message;
use crate::modern::{Mirrored, check_capabilities, check_headers, check_version, unsupported};
use crate::notified::notified;
use crate::outlet::{Outlet, outlet};
use crate::rpc_error::{INTERNAL, INVALID_PARAMS, INVALID_REQUEST, RpcError};

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
    fn new(status: u16, message: Message) -> Self {
        Self { status, message: Some(message), session: None, cut: false }
    }

    /// Nothing is to be said.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

/// Which client a message is from, and how to speak to it.
struct Speaker {
    client: Arc<Client>,
    dialect: Dialect,
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
        audit.refused();
        audit.because(denial.to_string());
        let message = Message::answer(id, Reply::Error(error.to_raw()));
        if let Err(failed) = audit.close(outcome, message.len()).await {
            tracing::error!(error = %failed, "a refusal could not be recorded");
        }
        Answered::new(error.status, message)
    }
}

/// What the audit log shall say was asked for, and the id of the request.
fn describe(incoming: &Result<Incoming<'_>, Malformed>, audit: &mut Opened) -> Option<Box<RawValue>> {
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
struct Request<'a> {
    gateway: &'a Arc<Gateway>,
    arrival: &'a Arrival,
    admission: &'a Admission,
    outlet: &'a Outlet,
}

impl Request<'_> {
    /// A single message.
    async fn message(&self, audit: Opened, incoming: Result<Incoming<'_>, Malformed>) -> Answered {
        match incoming {
            Ok(Incoming::Request(parsed)) => self.one(audit, &parsed).await,
            Ok(Incoming::Notification(parsed)) => self.told(audit, &parsed).await,
            Ok(Incoming::Answer { id, outcome }) => self.answered(audit, id, outcome).await,
            Ok(Incoming::Batch(_)) => {
                let error = RpcError::bad_request(INVALID_REQUEST, "a batch can't be part of a batch");
                self.refuse(audit, None, &error).await
            }
            Err(malformed) => self.refuse(audit, malformed.id.as_deref(), &malformed.error).await,
        }
    }

    /// A request: what is done about it, within the bounds of its client and of the access.
    async fn one(&self, mut audit: Opened, parsed: &Parsed<'_>) -> Answered {
        let speaker = match self.speaker(parsed).await {
            Ok(speaker) => speaker,
            Err(error) => return self.refuse(audit, parsed.id, &error).await,
        };
        let client = speaker.client.clone();
        let _busy = client.busy();
        audit.in_session(client.key.session.as_deref());
        let context = self.context(speaker);
        if !context.dialect.is_modern() {
            self.outlet.finish_alone();
        }
        let Some(id) = parsed.id else { return Answered::empty(202) };
        if &*parsed.method == "ping" && !context.dialect.is_modern() {
            audit.forget();
            return Answered::new(200, Message::answer(Some(id), Reply::Result(raw("{}".into()))));
        }
        if &*parsed.method == "subscriptions/listen" && context.dialect.is_modern() {
            return self.listen(audit, &context, parsed, id).await;
        }
        let Some(done) = self.until_cancelled(&context, parsed, id, &mut audit).await else {
            drop(audit.close("cancelled", 0).await);
            return Answered::empty(202);
        };
        let mut answered = self.finish(audit, id, done).await;
        if &*parsed.method == "initialize" && answered.status == 200 {
            answered.session = self.opened(context).await;
        }
        answered
    }

    /// Does it, unless the client takes it back by its id: in a session, or over STDIO.
    async fn until_cancelled(
        &self,
        context: &Context,
        parsed: &Parsed<'_>,
        id: &RawValue,
        audit: &mut Opened,
    ) -> Option<Done> {
        let by_id = context.client.key.session.is_some() || matches!(self.arrival.way, Way::Stdio(_));
        if !by_id || &*parsed.method == "initialize" {
            return Some(perform(context, parsed, audit).await);
        }
        let cancelled = context.client.begin_call(id);
        let done = tokio::select! {
            biased;
            () = cancelled.cancelled() => None,
            done = perform(context, parsed, audit) => Some(done),
        };
        context.client.end_call(id);
        done
    }

    /// Records what came of it, and only then lets the answer go.
    async fn finish(&self, mut audit: Opened, id: &RawValue, done: Done) -> Answered {
        let Done::Answered { reply, status, outcome } = done else {
            let denial = self.why_cut().await;
            let (error, _) = of_denial(&denial);
            audit.because(denial.to_string());
            let message = Message::answer(Some(id), Reply::Error(error.to_raw()));
            if let Err(failed) = audit.close("cut", message.len()).await {
                tracing::error!(error = %failed, "a call that was cut could not be recorded");
            }
            return Answered { cut: true, ..Answered::new(error.status, message) };
        };
        let message = Message::answer(Some(id), reply);
        match audit.close(outcome, message.len()).await {
            Ok(()) => Answered::new(status, message),
            Err(failed) => unrecorded(Some(id), &failed),
        }
    }

    /// Why the access was taken away, as the control plane says now.
    async fn why_cut(&self) -> Denial {
        match self.gateway.plane.admit(&self.arrival.bearer, &self.arrival.project).await {
            Err(denial) => denial,
            Ok(_) => Denial::Unavailable("the access was changed while the call ran".into()),
        }
    }

    /// A long stream of the modern era. It is recorded when it opens: who knows when it ends.
    async fn listen(&self, audit: Opened, context: &Context, parsed: &Parsed<'_>, id: &RawValue) -> Answered {
        let Some(filter) = parsed.members.get("notifications").and_then(Filter::read) else {
            let error = RpcError::new(INVALID_PARAMS, "`notifications` must say what to listen for");
            return self.finish(audit, id, Done::error(&error, "error")).await;
        };
        if let Err(failed) = audit.close("ok", 0).await {
            return unrecorded(Some(id), &failed);
        }
        let reply = match stream(context, Wish::Some { id: id.get().into(), filter }).await {
            StreamEnd::Over => Reply::Result(raw(Listener::farewell(id.get()))),
            StreamEnd::TooMany => {
                Reply::Error(RpcError::new(INTERNAL, "too many streams are open: close one").to_raw())
            }
            StreamEnd::Cut => {
                let (error, _) = of_denial(&self.why_cut().await);
                let message = Message::answer(Some(id), Reply::Error(error.to_raw()));
                return Answered { cut: true, ..Answered::new(error.status, message) };
            }
        };
        Answered::new(200, Message::answer(Some(id), reply))
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
                Outcome::Result(result) => Reply::Result(result.to_owned()),
                Outcome::Error(error) => Reply::Error(error.to_owned()),
            };
            client.asked.answer(id, reply).await;
        }
        Answered::empty(202)
    }

    /// Several at once, which only 2025-03-26 has. Each is done and recorded by itself, one after the other.
    async fn batch(&self, audit: Opened, all: Vec<&RawValue>) -> Answered {
        if !self.may_batch() {
            let error =
                RpcError::bad_request(INVALID_REQUEST, "batches are known to MCP 2025-03-26 only: send one message");
            return self.refuse(audit, None, &error).await;
        }
        audit.forget();
        let mut answers: Vec<u8> = Vec::new();
        for one in all {
            let answered = Box::pin(self.one_of_batch(one)).await;
            if answered.cut {
                return answered;
            }
            if let Some(message) = answered.message {
                answers.push(if answers.is_empty() { b'[' } else { b',' });
                message.pieces.iter().for_each(|piece| answers.extend_from_slice(piece));
            }
        }
        if answers.is_empty() {
            return Answered::empty(202);
        }
        answers.push(b']');
        Answered::new(200, Message::whole(answers))
    }

    async fn one_of_batch(&self, raw: &RawValue) -> Answered {
        let incoming = Incoming::read_one(raw);
        let mut audit = Opened::new(self.gateway, Some(&self.arrival.bearer), &self.arrival.project, raw.get().len());
        audit.admitted(self.admission);
        describe(&incoming, &mut audit);
        // Answers are sent together, so there is no stream for what comes before them.
        let (closed, _) = outlet();
        let request = Request { outlet: &closed, ..*self };
        match incoming {
            Ok(Incoming::Request(parsed)) if &*parsed.method == "initialize" => {
                let error = RpcError::new(INVALID_REQUEST, "`initialize` can't be part of a batch");
                request.refuse(audit, parsed.id, &error).await
            }
            other => request.message(audit, other).await,
        }
    }

    /// Whether the client speaks the version that has batches. Without a session only the header can say another.
    fn may_batch(&self) -> bool {
        let speaks = |client: &Arc<Client>| client.dialect.is_some_and(|dialect| dialect.version == WITH_BATCHES);
        match &self.arrival.way {
            Way::Stdio(client) => client.lock().as_ref().is_some_and(speaks),
            Way::Http { session, mirrored, .. } => match self.session(session.as_deref()) {
                Ok(Some(client)) => speaks(&client),
                Ok(None) => mirrored.version.as_deref().is_none_or(|version| version == WITH_BATCHES),
                Err(_) => false,
            },
        }
    }

    /// Answers a request that breaks a rule. It leaves a line, as everything that is refused.
    async fn refuse(&self, mut audit: Opened, id: Option<&RawValue>, error: &RpcError) -> Answered {
        audit.refused();
        audit.because(error.message.clone());
        let message = Message::answer(id, Reply::Error(error.to_raw()));
        match audit.close("error", message.len()).await {
            Ok(()) => Answered::new(error.status, message),
            Err(failed) => unrecorded(id, &failed),
        }
    }

    /// Whose message it is. A version in `_meta` makes it a modern one; `initialize` opens a session; else the session's
    /// id says it, and without one it is served as far as that goes: some proxies take the header off.
    async fn speaker(&self, parsed: &Parsed<'_>) -> Result<Speaker, RpcError> {
        let greets = &*parsed.method == "initialize" && parsed.id.is_some();
        match &self.arrival.way {
            Way::Http { mirrored, session, .. } => {
                let named = mirrored.version.as_deref();
                let modern = parsed.meta.version.is_some() || (named == Some(MODERN) && !greets);
                if modern {
                    check_headers(parsed, mirrored)?;
                    check_capabilities(parsed)?;
                    return Ok(Speaker { client: self.sessionless(), dialect: Dialect::MODERN });
                }
                if greets {
                    return Ok(self.greet(parsed));
                }
                if let Some(named) = named
                    && !LEGACY.contains(&named)
                {
                    return Err(unsupported(named));
                }
                let client = self.session(session.as_deref())?.unwrap_or_else(|| self.sessionless());
                let dialect = client.dialect.unwrap_or(Dialect::SESSIONLESS);
                Ok(Speaker { client, dialect })
            }
            Way::Stdio(_) if parsed.meta.version.is_some() => {
                check_version(parsed)?;
                check_capabilities(parsed)?;
                Ok(Speaker { client: self.sessionless(), dialect: Dialect::MODERN })
            }
            Way::Stdio(client) if greets => {
                let speaker = self.greet(parsed);
                let old = client.lock().replace(speaker.client.clone());
                if let Some(old) = old {
                    old.end().await;
                }
                Ok(speaker)
            }
            Way::Stdio(client) => {
                let client = client.lock().clone().unwrap_or_else(|| self.sessionless());
                let dialect = client.dialect.unwrap_or(Dialect::SESSIONLESS);
                Ok(Speaker { client, dialect })
            }
        }
    }

    /// A client that introduces itself.
    fn greet(&self, parsed: &Parsed<'_>) -> Speaker {
        let info = parsed.members.get("clientInfo").map(Members::of).unwrap_or_default();
        let dialect =
            Dialect::negotiate(parsed.members.text("protocolVersion").as_deref(), info.text("name").as_deref());
        let offers = parsed.members.get("capabilities").filter(|raw| Members::of(raw).iter().next().is_some());
        let key = SessionKey {
            project: self.admission.project.uid,
            subject: self.admission.caller.actor.uid,
            session: Some(new_id()),
            capabilities: offers.map(|raw| raw.get().into()),
        };
        Speaker { client: Client::new(key, Some(dialect), self.gateway.plane.sessions(&self.arrival.bearer)), dialect }
    }

    /// Keeps the session of a client that was greeted. Over STDIO it lives as long as the process.
    async fn opened(&self, context: Context) -> Option<Arc<str>> {
        let Way::Http { .. } = self.arrival.way else {
            // There the one way out is the stream too.
            self.gateway.tasks.spawn(context.stream_all());
            return None;
        };
        let options = &self.gateway.options;
        match self.gateway.clients.open(context.client.clone(), options.sessions_max, options.sessions_of_one_max) {
            Ok(evicted) => {
                if let Some(evicted) = evicted {
                    evicted.end().await;
                }
                context.client.key.session.clone()
            }
            Err(crate::clients::Full) => {
                // Served without a session: it loses server messages, and no more.
                tracing::warn!("no further session can be opened: clients are served without one");
                context.client.end().await;
                None
            }
        }
    }

    fn session(&self, id: Option<&str>) -> Result<Option<Arc<Client>>, RpcError> {
        let Some(id) = id else { return Ok(None) };
        let (project, subject) = (self.admission.project.uid, self.admission.caller.actor.uid);
        match self.gateway.clients.find(id, project, subject) {
            Some(client) => Ok(Some(client)),
            None => Err(RpcError::of_status(404, "the session is not known (any more): send `initialize` again")),
        }
    }

    fn sessionless(&self) -> Arc<Client> {
        let (project, subject) = (self.admission.project.uid, self.admission.caller.actor.uid);
        self.gateway.clients.stateless(project, subject, || {
            Client::new(SessionKey::new(project, subject), None, self.gateway.plane.sessions(&self.arrival.bearer))
        })
    }

    fn context(&self, speaker: Speaker) -> Context {
        let headers = match &self.arrival.way {
            Way::Http { pass, .. } => pass.clone(),
            Way::Stdio(_) => Vec::new(),
        };
        Context {
            gateway: self.gateway.clone(),
            admission: self.admission.clone(),
            client: speaker.client,
            sessions: self.gateway.plane.sessions(&self.arrival.bearer),
            dialect: speaker.dialect,
            outlet: self.outlet.clone(),
            headers,
        }
    }
}

/// Does what a request asks for.
async fn perform(context: &Context, parsed: &Parsed<'_>, audit: &mut Opened) -> Done {
    let modern = context.dialect.is_modern();
    let method = &*parsed.method;
    if let Some(kind) = ListKind::of_method(method) {
        if parsed.members.get("cursor").is_some() {
            let error = RpcError::new(INVALID_PARAMS, "unknown cursor: lists come in one page");
            return Done::error(&error, "error");
        }
        return uncut(context, crate::aggregate::list(context, kind)).await;
    }
    match method {
        "initialize" | "server/discover" if modern == (method == "server/discover") => {
            uncut(context, crate::opening::open(context)).await
        }
        "logging/setLevel" if !modern => set_level_of_all(context, parsed).await,
        // Methods of the other era.
        "initialize"
        | "server/discover"
        | "logging/setLevel"
        | "ping"
        | "resources/subscribe"
        | "resources/unsubscribe"
        | "subscriptions/listen"
            if modern || matches!(method, "server/discover" | "subscriptions/listen") =>
        {
            Done::error(&RpcError::unknown_method(method, modern), "error")
        }
        _ => call(context, parsed, audit).await,
    }
}

/// Something that takes time, unless the access is taken away meanwhile.
async fn uncut(context: &Context, made: impl Future<Output = Box<RawValue>>) -> Done {
    tokio::select! {
        biased;
        () = context.admission.cut.cancelled() => Done::Cut,
        result = made => if context.admission.cut.is_cancelled() { Done::Cut } else { Done::result(result) },
    }
}

/// What was done can't be recorded: then it is not told either.
pub(crate) fn unrecorded(id: Option<&RawValue>, failed: &mcpctl_api::plane::AuditFailed) -> Answered {
    tracing::error!(error = %failed, "an answer is withheld because it could not be recorded");
    let words =
        "the audit log takes no entries, so the answer is withheld: whoever runs the control plane must look at it";
    let error = RpcError { status: 503, ..RpcError::new(INTERNAL, words) };
    Answered::new(503, Message::answer(id, Reply::Error(error.to_raw())))
}
