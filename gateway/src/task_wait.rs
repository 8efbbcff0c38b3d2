//! A modern client in front of a legacy server whose tool runs as a task only (2025-11-25, `execution.taskSupport: required`):
//! the gateway begins the task and waits for its result.
//!
//! A modern client can't ask for such a task: whether there is one is the server's to decide (2026-07-28, tasks extension), and
//! to that client the gateway is the server, and decides that there is none.
use std::sync::Arc;

use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::{CallSink, Reply, Session};
use serde_json::value::RawValue;

use crate::call::{Authorized, Parsed, Target, Unanswered};
use crate::calls::exchange;
use crate::context::Context;
use crate::dialect::has;
use crate::json::{Members, Object, quoted, raw, with_member};
use crate::link::Link;
use crate::lists::{ListKind, facts};
use crate::mrtr::HELD;
use crate::tasks::{RELATED, begun};

/// Whether the tool that is called runs as a task only. The list of tools is asked for once, of servers that have tasks.
pub(crate) async fn is_needed(
    context: &Context,
    parsed: &Parsed<'_>,
    server: &ServerView,
    target: &Target,
    (session, link): (&dyn Session, &Link),
) -> bool {
    let Target::Tool(tool) = target else { return false };
    if &*parsed.method != "tools/call" || !has(session.handshake().capabilities.as_deref(), "tasks") {
        return false;
    }
    if link.facts(ListKind::Tools).is_none() {
        // Who does not answer for a list won't answer the call either, which then says so.
        let _ = facts(context, ListKind::Tools, server).await;
    }
    link.runs_as_task_only(tool)
}

/// Asks for a task.
pub(crate) fn augment(authorized: &mut Authorized) {
    authorized
        .change_params(|params| Some(raw(with_member(&params.map(Members::of).unwrap_or_default(), "task", "{}"))));
}

/// Makes a call that was made a task, and waits for what comes of it.
pub(crate) async fn run(
    context: Context,
    server: ServerView,
    authorized: Authorized,
    session: Arc<dyn Session>,
    sink: Arc<dyn CallSink>,
    overhears: bool,
) -> Result<Reply, Unanswered> {
    let messages = || overhears.then(|| session.messages());
    let reply = exchange(authorized, session.clone(), sink.clone(), messages()).await?;
    let Reply::Result(result) = &reply else { return Ok(reply) };
    // It may have answered at once.
    let Some(own) = begun(result) else { return Ok(reply) };
    let params = raw(format!("{{\"taskId\":{}}}", quoted(&own)));
    let mut asking = context.authorize(&server, "tasks/result", Some(params), context.gateway.options.call)?;
    // As long as its questions may take.
    asking.allow(context.gateway.options.call + HELD);
    let waiting = Waiting { own: Some(own), context, server, session: session.clone() };
    let ended = exchange(asking, session.clone(), sink, messages()).await;
    if !matches!(ended, Err(Unanswered::Cut)) {
        waiting.finish();
    }
    Ok(match ended? {
        Reply::Result(result) => Reply::Result(without_related(result)),
        error => error,
    })
}

/// The client knows nothing of a task.
fn without_related(result: Box<RawValue>) -> Box<RawValue> {
    let members = Members::of(&result);
    let Some(meta) = members.get("_meta").map(Members::of).filter(|meta| meta.get(RELATED).is_some()) else {
        return result;
    };
    let meta = Object::new().members(meta.without(RELATED)).finish();
    raw(with_member(&members, "_meta", &meta))
}

/// A task that is waited for. If nobody waits any more, its server is told that nobody wants it.
struct Waiting {
    own: Option<String>,
    context: Context,
    server: ServerView,
    session: Arc<dyn Session>,
}

impl Waiting {
    fn finish(mut self) {
        self.own = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(own) = self.own.take().filter(|_| tokio::runtime::Handle::try_current().is_ok()) else { return };
        let (context, server, session) = (self.context.clone(), self.server.clone(), self.session.clone());
        let params = raw(format!("{{\"taskId\":{}}}", quoted(&own)));
        let tasks = context.gateway.tasks.clone();
        tasks.spawn(async move {
            let asked = context.ask(&server, &*session, "tasks/cancel", Some(params));
            if !matches!(tokio::time::timeout(context.gateway.options.list, asked).await, Ok(Ok(_))) {
                tracing::debug!(server = %server.name, "a task that nobody waits for could not be cancelled");
            }
        });
    }
}
