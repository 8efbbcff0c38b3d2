//! Ids of tasks as clients get them: sealed, so that they lead to their server and are good for their caller only. Both sorts
//! of tasks: those of the core of 2025-11-25, and those of the extension of 2026-07-28.
//!
//! A server sees the gateway's credentials, whoever calls: it would show any caller the task of another who knew its id. The
//! key comes of the bearer, so a task is found again by every gateway and after a restart.
use std::borrow::Cow;

use futures::StreamExt as _;
use futures::stream;
use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::{Reply, SessionKey};
use mcpctl_core::ids::Uid;
use serde_json::value::RawValue;

use crate::audit::now;
use crate::call::Parsed;
use crate::context::Context;
use crate::gateway::Gateway;
use crate::json::{Members, may_have_key, quoted, raw, with_member};
use crate::mrtr::{Bound, Seal};
use crate::rpc_error::{MISSING_CAPABILITY, RpcError};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// Member of `_meta` that says which task a message is about (2025-11-25).
pub(crate) const RELATED: &str = "io.modelcontextprotocol/related-task";
/// Characters of a server's uid.
const UID_CHARS: usize = 26;
/// Tasks that are asked for at once when they are listed.
const ASKED_AT_ONCE: usize = 8;

/// The server of a task, and the server's own id of it. `None` if it is not a task of this caller.
pub(crate) fn open<'c>(context: &'c Context, id: &str) -> Option<(&'c ServerView, String)> {
    let bound = Bound::to_tasks(&context.admission);
    let content = Seal::of_bearer(&context.bearer).open(&bound, now(), id).ok()?;
    let content = String::from_utf8(content).ok()?;
    let (uid, own) = content.split_at_checked(UID_CHARS)?;
    let server = context.servers().iter().find(|server| server.uid.to_string() == uid)?;
    Some((server, own.to_owned()))
}

/// The id that the caller gets for a server's task: the same each time.
fn sealed(context: &Context, server: &ServerView, own: &str) -> String {
    let bound = Bound::to_tasks(&context.admission);
    Seal::of_bearer(&context.bearer).name(&bound, format!("{}{own}", server.uid).as_bytes())
}

/// An answer with the id of its task as the client knows it, or shall know it.
pub(crate) fn shown(context: &Context, parsed: &Parsed<'_>, server: &ServerView, reply: Reply) -> Reply {
    let Reply::Result(result) = &reply else { return reply };
    let changed = match &*parsed.method {
        "tools/call" if context.dialect.is_modern() => begun_by_extension(context, parsed, server, result),
        "tools/call" => begun_by_core(context, parsed, server, result),
        "tasks/get" | "tasks/update" | "tasks/cancel" => parsed.members.get("taskId").and_then(|given| {
            let members = Members::of(result);
            members.get("taskId").map(|_| with_member(&members, "taskId", given.get()))
        }),
        "tasks/result" => {
            let given = parsed.members.text("taskId").unwrap_or_default();
            return related(result, |_| Some(given.to_string())).map_or(reply, Reply::Result);
        }
        _ => None,
    };
    changed.map_or(reply, |text| Reply::Result(raw(text)))
}

/// 2026-07-28: the result says that it is a task.
fn begun_by_extension(
    context: &Context,
    parsed: &Parsed<'_>,
    server: &ServerView,
    result: &RawValue,
) -> Option<String> {
    if !declares(parsed) || !may_have_key(result.get(), "\"taskId\"") {
        return None;
    }
    let members = Members::of(result);
    let own = members.text("taskId").filter(|_| members.text("resultType").as_deref() == Some("task"))?;
    Some(with_member(&members, "taskId", &quoted(&sealed(context, server, &own))))
}

/// 2025-11-25: who asks for a task gets one in place of the result.
fn begun_by_core(context: &Context, parsed: &Parsed<'_>, server: &ServerView, result: &RawValue) -> Option<String> {
    parsed.members.get("task")?;
    let members = Members::of(result);
    let task = Members::of(members.get("task")?);
    let own = task.text("taskId")?;
    let shown = sealed(context, server, &own);
    context.gateway.begun.note(whose(&context.client.key), server.uid, &own, &shown);
    Some(with_member(&members, "task", &with_member(&task, "taskId", &quoted(&shown))))
}

/// The server's own id of a task that a result says was begun (2025-11-25).
pub(crate) fn begun(result: &RawValue) -> Option<String> {
    let task = Members::of(result).get("task").map(Members::of)?;
    task.text("taskId").map(Cow::into_owned)
}

/// Refuses a client that has not declared the extension (tasks extension, 2026-07-28, capability negotiation).
pub(crate) fn check_declared(parsed: &Parsed<'_>) -> Result<(), RpcError> {
    if declares(parsed) {
        return Ok(());
    }
    let data = format!("{{\"requiredCapabilities\":{{\"extensions\":{{\"{EXTENSION}\":{{}}}}}}}}");
    Err(RpcError::bad_request(MISSING_CAPABILITY, "Missing required client capability").with_data(data))
}

/// Whether the client can be given a task at all.
fn declares(parsed: &Parsed<'_>) -> bool {
    parsed.meta.capabilities.is_some_and(|raw| raw.get().contains(EXTENSION))
}

/// `tasks/list` (2025-11-25): the tasks that this caller began here, as their servers say that they stand. A server's own list
/// is not asked for, because it has the tasks of all callers.
pub(crate) async fn list(context: &Context) -> Box<RawValue> {
    let begun = &context.gateway.begun;
    let whose = whose(&context.client.key);
    let asked = begun.of(whose).into_iter().map(|task| async move {
        let server = context.servers().iter().find(|server| server.uid == task.server)?;
        let limit = context.gateway.options.list;
        let got = tokio::time::timeout(limit, get(context, server, &task.own)).await.ok()?;
        match got {
            Some(state) => Some(with_member(&Members::of(&state), "taskId", &quoted(&task.shown))),
            None => {
                // It is over, or nobody can say: it can still be asked for by its id.
                begun.forget(whose, &task.shown);
                None
            }
        }
    });
    let all: Vec<Option<String>> = stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
    let all: Vec<String> = all.into_iter().flatten().collect();
    raw(format!("{{\"tasks\":[{}]}}", all.join(",")))
}

async fn get(context: &Context, server: &ServerView, own: &str) -> Option<Box<RawValue>> {
    let (session, _) = context.reach(server).await.ok()?;
    let params = raw(format!("{{\"taskId\":{}}}", quoted(own)));
    context.ask(server, &*session, "tasks/get", Some(params)).await.ok()
}

/// Whose tasks: those of one caller in one project.
pub(crate) const fn whose(key: &SessionKey) -> (Uid, Uid) {
    (key.project, key.subject)
}

/// What a server says about a task, under the id that the client knows. `None`: it says nothing of the kind.
pub(crate) fn from_server(
    gateway: &Gateway,
    key: &SessionKey,
    server: Uid,
    method: &str,
    params: Option<&RawValue>,
) -> Option<Box<RawValue>> {
    let params = params?;
    let known = |own: &str| gateway.begun.shown(whose(key), server, own);
    if method == "notifications/tasks/status" {
        let members = Members::of(params);
        let shown = known(&members.text("taskId")?)?;
        return Some(raw(with_member(&members, "taskId", &quoted(&shown))));
    }
    related(params, known)
}

/// What a client answers about a task, under the server's own id.
pub(crate) fn from_client(gateway: &Gateway, key: &SessionKey, result: &RawValue) -> Option<Box<RawValue>> {
    related(result, |shown| gateway.begun.own(whose(key), shown))
}

/// The same with another id of the task that it is about, if it is about one.
fn related(object: &RawValue, id: impl Fn(&str) -> Option<String>) -> Option<Box<RawValue>> {
    if !may_have_key(object.get(), "\"io.modelcontextprotocol/related-task\"") {
        return None;
    }
    let members = Members::of(object);
    let meta = Members::of(members.get("_meta")?);
    let task = Members::of(meta.get(RELATED)?);
    let id = id(&task.text("taskId")?)?;
    let task = with_member(&task, "taskId", &quoted(&id));
    Some(raw(with_member(&members, "_meta", &with_member(&meta, RELATED, &task))))
}
