//! Requests that go to a server: found, authorized, sent, answered.
use std::pin::pin;
use std::sync::Arc;

use futures::future::join_all;
use mcpctl_api::plane::{ServerView, rule};
use mcpctl_api::upstream::{CallSink, Era, Reply, ServerMessage, Session, UpstreamError};
use serde_json::value::RawValue;
use tokio::sync::broadcast;

use crate::audit::Opened;
use crate::call::{Authorized, Parsed, Refused, Resolved, Target, Unanswered, authorize, send};
use crate::context::Context;
use crate::found::{Found, find};
use crate::json::{Members, Object, quoted, raw, with_member};
use crate::left_out::ask_within;
use crate::link::Link;
use crate::listed::Facts;
use crate::lists::{ListKind, annotated, definition};
use crate::log_level::is_level;
use crate::mrtr::{Round, Running, carried, is_input_required, may_ask, to_legacy, to_modern};
use crate::param_headers::{check, usable};
use crate::resolve::unknown;
use crate::rpc_error::{HEADER_MISMATCH, INTERNAL, INVALID_PARAMS, RpcError};
use crate::sink::{CallerSink, LogWish};
use crate::translate::{is_tool_error, translate};
use crate::{task_wait, tasks};

/// What came of a request.
pub(crate) enum Done {
    /// An answer, the HTTP status that goes with it, and how the audit log calls it.
    Answered { reply: Reply, status: u16, outcome: &'static str },
    /// The access was taken away.
    Cut,
}

impl Done {
    pub(crate) fn result(result: Box<RawValue>) -> Self {
        Self::Answered { reply: Reply::Result(result), status: 200, outcome: "ok" }
    }

    pub(crate) fn error(error: &RpcError, outcome: &'static str) -> Self {
        Self::Answered { reply: Reply::Error(error.to_raw()), status: error.status, outcome }
    }
}

/// Makes the request of the server that it is for. Resources that no list has are looked for at one server after another.
pub(crate) async fn call(context: &Context, parsed: &Parsed<'_>, audit: &mut Opened) -> Done {
    let found = match find(context, parsed, audit).await {
        Ok(found) => found,
        Err(error) => {
            audit.because(error.message.clone());
            return Done::error(&error, "error");
        }
    };
    let mut last = None;
    for one in found {
        let done = call_one(context, parsed, one, audit).await;
        if matches!(
            done,
            Done::Cut | Done::Answered { reply: Reply::Result(_), .. } | Done::Answered { status: 503, .. }
        ) {
            return done;
        }
        last = Some(done);
    }
    last.unwrap_or_else(|| {
        Done::error(&RpcError::new(INVALID_PARAMS, "no server of the project has resources"), "error")
    })
}

async fn call_one(context: &Context, parsed: &Parsed<'_>, found: Found<'_>, audit: &mut Opened) -> Done {
    let Found { server, target, params } = found;
    audit.about(&server.name, target.name().map(|name| &**name));
    let resolved = Resolved::new(server, target.clone(), &parsed.method, params, context.gateway.options.call)
        .with_progress(parsed.meta.progress_token.is_some())
        .with_headers(context.headers.clone())
        .traced(context.trace.clone());
    let authorized = match authorize(&context.admission, resolved) {
        Ok(authorized) => authorized,
        Err(Refused::Cut) => return Done::Cut,
        Err(refused) => return refuse(context, parsed, refused, audit),
    };
    let authorized = match with_definition(context, server, &target, authorized, audit).await {
        Ok(authorized) => authorized,
        Err(refused) => return refuse(context, parsed, refused, audit),
    };
    match converse(context, parsed, server, &target, authorized, audit).await {
        Ok((reply, era)) => answered(context, parsed, server, reply, era),
        Err(Unanswered::Cut) => Done::Cut,
        Err(Unanswered::Upstream(error)) => {
            audit.because(error.to_string());
            failed(&error)
        }
    }
}

/// Looks, where approval is asked, which definition of the tool the server shows to this client.
async fn with_definition(
    context: &Context,
    server: &ServerView,
    target: &Target,
    mut authorized: Authorized,
    audit: &mut Opened,
) -> Result<Authorized, Refused> {
    if let (Target::Tool(tool), true) = (target, authorized.owes_definition()) {
        let definition = definition(context, server, tool).await;
        audit.defined(definition);
        authorized.shown_as(definition)?;
    }
    Ok(authorized)
}

/// A refusal says no more than that there is no such thing: what a filter hides shall not be found out by asking. What waits
/// for approval is no secret, and the agent's user can do something about it.
fn refuse(context: &Context, parsed: &Parsed<'_>, refused: Refused, audit: &mut Opened) -> Done {
    audit.refused_by(refused.rule());
    audit.because(refused.to_string());
    let error = match parsed.members.text("name") {
        Some(name) if refused == Refused::Quarantined => quarantined(context, &name),
        Some(name) if refused == Refused::NotServed => {
            RpcError::new(INVALID_PARAMS, unknown(ListKind::Tools, &name).to_string())
        }
        _ => RpcError::unknown_method(&parsed.method, context.dialect.is_modern()),
    };
    Done::error(&error, "denied")
}

/// The same in both eras: an unknown tool is `-32602` in either, with HTTP 200.
fn quarantined(context: &Context, name: &str) -> RpcError {
    let name: String = name.chars().take(128).collect();
    let project = &context.admission.project.name;
    let words = format!(
        "tool {name:?} is not approved in this project: it is new, or its definition changed after it was approved, or there is \
         no such tool. Somebody who may edit the project can look with `mcpctl tools list -p {project}` and approve it with \
         `mcpctl tools approve`"
    );
    let data = Object::new().text("reason", rule::QUARANTINED).text("tool", &name).text("project", project).finish();
    RpcError::new(INVALID_PARAMS, words).with_data(data)
}

/// An answer as the client shall see it, and how the audit log calls it.
fn answered(context: &Context, parsed: &Parsed<'_>, server: &ServerView, reply: Reply, era: Era) -> Done {
    let method = &*parsed.method;
    let modern = context.dialect.is_modern();
    let outcome = match &reply {
        Reply::Error(_) => "error",
        Reply::Result(result) if modern && may_ask(method) && is_input_required(result) => "input-required",
        Reply::Result(result) if method == "tools/call" && is_tool_error(result) => "tool-error",
        Reply::Result(_) => "ok",
    };
    // A legacy server never saw the client's state: what it asks is put to the client with a state of the gateway's own.
    let reply = match (outcome, era) {
        ("input-required", Era::Modern) => carried::seal(context, server, parsed, reply),
        _ => reply,
    };
    let (reply, status) = translate(tasks::shown(context, parsed, server, reply), era, context.dialect.era, method);
    Done::Answered { reply, status, outcome }
}

fn failed(error: &UpstreamError) -> Done {
    let outcome = match error {
        UpstreamError::Unrecorded { .. } => {
            let words = format!("{error}; whoever runs the control plane must look at it");
            return Done::error(&RpcError { status: 503, ..RpcError::new(INTERNAL, words) }, "unavailable");
        }
        UpstreamError::Unavailable { .. } | UpstreamError::Busy { .. } => "unavailable",
        UpstreamError::TimedOut { .. } => "timeout",
        UpstreamError::Protocol { .. } | UpstreamError::Gone { .. } => "error",
    };
    Done::error(&RpcError::new(INTERNAL, error.to_string()), outcome)
}

/// Opens the conversation, makes what the eras have apart meet, and sends.
async fn converse(
    context: &Context,
    parsed: &Parsed<'_>,
    server: &ServerView,
    target: &Target,
    mut authorized: Authorized,
    audit: &mut Opened,
) -> Result<(Reply, Era), Unanswered> {
    // Before the conversation: nobody starts a server for a call that is not on record.
    authorized.record(audit.admit()).await?;
    let (session, link) = context.open(server, &authorized).await?;
    if let Target::Tool(tool) = target {
        audit.defined(link.definition(tool));
    }
    let audit = &*audit;
    let modern_client = context.dialect.is_modern();
    if link.era == Era::Modern && !modern_client && subscribed(context, server, target, &parsed.method) {
        return Ok((Reply::Result(raw("{}".into())), Era::Legacy));
    }
    if let Err(error) = check_param_headers(context, parsed, server, target, &link).await {
        return Ok((Reply::Error(error.to_raw()), Era::Modern));
    }
    let level = wanted_level(context, parsed);
    let sink = Arc::new(CallerSink {
        context: context.clone(),
        link: link.clone(),
        session: Arc::downgrade(&session),
        progress: parsed.meta.progress_token.map(|token| token.get().into()),
        logs: log_wish(context, level.clone(), link.era),
    });
    let reply = match (link.era, modern_client) {
        (Era::Modern, true) => {
            authorized.offer(parsed.meta.capabilities.map(|raw| raw.get().into()));
            match carried::open(context, server, parsed, &mut authorized) {
                Err(rejected) => rejected,
                Ok(()) => send(authorized, &*session, sink).await?,
            }
        }
        (Era::Modern, false) => {
            let offers = to_legacy::offers(context, parsed);
            let change = |authorized: &mut Authorized| {
                authorized.offer(offers.clone());
                if let Some(level) = &level {
                    authorized.change_params(|params| Some(with_level(params, level)));
                }
            };
            change(&mut authorized);
            to_legacy::Rounds { context, parsed, server, target, link: &link, session: &*session, sink, audit }
                .run(authorized, &change)
                .await?
        }
        (Era::Legacy, _) => {
            if let Some(level) = &level {
                set_level(context, server, &*session, &link, level).await;
            }
            of_legacy(context, parsed, (server, target), session, sink, authorized).await?
        }
    };
    Ok((reply, link.era))
}

/// Arguments that travel as headers too, of a client that sent the headers to a legacy server: which can't check them.
async fn check_param_headers(
    context: &Context,
    parsed: &Parsed<'_>,
    server: &ServerView,
    target: &Target,
    link: &Link,
) -> Result<(), RpcError> {
    let mirrored = context.dialect.is_modern() && context.over_http;
    let Target::Tool(tool) = target else { return Ok(()) };
    if link.era == Era::Modern && !context.dialect.is_modern() {
        return check_usable(link, tool);
    }
    if !mirrored || link.era == Era::Modern {
        return Ok(());
    }
    let annotated = annotated(context, server, link, tool).await;
    check(&annotated, &context.headers, parsed.arguments()).map_err(|header| {
        let words = format!("Header mismatch: {header} and the argument must say the same");
        RpcError::bad_request(HEADER_MISMATCH, words)
    })
}

/// In front of a modern server the gateway stands for a client that knows nothing of annotations: what that client would have
/// to leave alone, it leaves alone (2026-07-28, tools, `x-mcp-header`).
fn check_usable(link: &Link, tool: &str) -> Result<(), RpcError> {
    let breaks_none = |facts: Arc<Facts>| facts.annotated.get(tool).is_none_or(|one| usable(one.as_ref()));
    let usable = link.facts(ListKind::Tools).is_none_or(breaks_none);
    if usable {
        return Ok(());
    }
    let words = format!("the definition of the tool {tool:?} breaks a rule of x-mcp-header, so it can't be called");
    Err(RpcError::new(INVALID_PARAMS, words))
}

/// Makes a request of a legacy server. Of a modern client it may have to wait for answers to what the server asks.
async fn of_legacy(
    context: &Context,
    parsed: &Parsed<'_>,
    (server, target): (&ServerView, &Target),
    session: Arc<dyn Session>,
    sink: Arc<CallerSink>,
    mut authorized: Authorized,
) -> Result<Reply, Unanswered> {
    let overheard = (sink.link.logs && sink.logs != LogWish::None).then(|| session.messages());
    if !context.dialect.is_modern() || !to_modern::applies(parsed) {
        return exchange(authorized, session, sink, overheard).await;
    }
    if to_modern::goes_on(parsed) {
        return to_modern::resume(context, parsed, server, sink).await;
    }
    to_modern::prepare(context, parsed, &mut authorized);
    let as_task = task_wait::is_needed(context, parsed, server, target, (&*session, &sink.link)).await;
    let round = Round::new(sink);
    let running: Running = if as_task {
        task_wait::augment(&mut authorized);
        // It outlasts the client's absence, and so holds no way to it but the round.
        let own = Context { trace: context.trace.clone(), ..context.detached() };
        Box::pin(task_wait::run(own, server.clone(), authorized, session, round.clone(), overheard.is_some()))
    } else {
        Box::pin(exchange(authorized, session, round.clone(), overheard))
    };
    to_modern::first(context, parsed, server, running, round).await
}

/// Sends, and passes on what is overheard meanwhile.
pub(crate) async fn exchange(
    authorized: Authorized,
    session: Arc<dyn Session>,
    sink: Arc<dyn CallSink>,
    overheard: Option<broadcast::Receiver<ServerMessage>>,
) -> Result<Reply, Unanswered> {
    match overheard {
        None => send(authorized, &*session, sink).await,
        Some(messages) => send_overhearing(authorized, &*session, sink, messages).await,
    }
}

/// Subscriptions of a legacy client with a modern server are kept here: its own stream asks the server for them. `true` if
/// the request was such a one.
fn subscribed(context: &Context, server: &ServerView, target: &Target, method: &str) -> bool {
    let Some(uri) = target.name() else { return false };
    match method {
        "resources/subscribe" => context.client.subscribe(server.uid, uri),
        "resources/unsubscribe" => {
            context.client.unsubscribe(server.uid, uri);
            true
        }
        _ => false,
    }
}

/// Sends, and passes on the log messages that a legacy server sends meanwhile: over STDIO they belong to no call. What was
/// sent before the answer is told before the answer.
async fn send_overhearing(
    authorized: Authorized,
    session: &dyn Session,
    sink: Arc<dyn CallSink>,
    mut messages: broadcast::Receiver<ServerMessage>,
) -> Result<Reply, Unanswered> {
    let tell = |message: ServerMessage| {
        if let ServerMessage::Notification { method, .. } = &message
            && &**method == "notifications/message"
        {
            sink.message(message);
        }
    };
    let mut sent = pin!(send(authorized, session, sink.clone()));
    let mut open = true;
    let reply = loop {
        tokio::select! {
            biased;
            reply = &mut sent => break reply?,
            message = messages.recv(), if open => match message {
                Ok(message) => tell(message),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => open = false,
            },
        }
    };
    while let Ok(message) = messages.try_recv() {
        tell(message);
    }
    Ok(reply)
}

/// From which level on the caller wants log messages: a modern one says it in each request, a legacy one once.
fn wanted_level(context: &Context, parsed: &Parsed<'_>) -> Option<Arc<str>> {
    if context.dialect.is_modern() {
        return parsed.meta.log_level.as_deref().filter(|level| is_level(level)).map(Arc::from);
    }
    context.client.level()
}

fn log_wish(context: &Context, level: Option<Arc<str>>, server: Era) -> LogWish {
    match (context.dialect.era, server, level) {
        (Era::Modern, _, Some(level)) => LogWish::From(level),
        (Era::Modern, _, None) => LogWish::None,
        // On one stream only, and its own stream gets them from the link. Messages of a modern server belong to the call.
        (Era::Legacy, Era::Legacy, _) if context.client.stream().is_some() => LogWish::None,
        (Era::Legacy, ..) => LogWish::All,
    }
}

fn with_level(params: Option<&RawValue>, level: &str) -> Box<RawValue> {
    let members = params.map(Members::of).unwrap_or_default();
    let meta = members.get("_meta").map(Members::of).unwrap_or_default();
    let meta = with_member(&meta, "io.modelcontextprotocol/logLevel", &quoted(level));
    raw(with_member(&members, "_meta", &meta))
}

/// Sets the level of a legacy server, if it is another one than before.
async fn set_level(context: &Context, server: &ServerView, session: &dyn Session, link: &Link, level: &Arc<str>) {
    if !link.logs || !link.level_to_set(level) {
        return;
    }
    let params = raw(format!("{{\"level\":{}}}", quoted(level)));
    if let Err(error) = context.ask(server, session, "logging/setLevel", Some(params)).await {
        tracing::debug!(server = %server.name, %error, "the level of logging was not set");
    }
}

/// `logging/setLevel` of a legacy client: for all servers, those that are opened later too.
pub(crate) async fn set_level_of_all(context: &Context, parsed: &Parsed<'_>) -> Done {
    let level = parsed.members.text("level").filter(|level| is_level(level));
    let Some(level) = level else {
        let error = RpcError::new(
            INVALID_PARAMS,
            "`level` must be one of debug, info, notice, warning, error, critical, alert, emergency",
        );
        return Done::error(&error, "error");
    };
    context.client.set_level(&level);
    let level: Arc<str> = (*level).into();
    let set = |server| {
        let level = level.clone();
        ask_within(context, server, async move {
            let (session, link) = context.reach(server).await?;
            if link.era == Era::Legacy {
                set_level(context, server, &*session, &link, &level).await;
            }
            Ok(())
        })
    };
    join_all(context.servers().iter().map(set)).await;
    Done::result(raw("{}".into()))
}
