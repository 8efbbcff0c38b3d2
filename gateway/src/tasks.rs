//! Ids of tasks as a modern client gets them: sealed, so that they lead to their server and are good for their caller only.
//!
//! A server sees the gateway's credentials, whoever calls: it would show any caller the task of another who knew its id. The
//! key comes of the bearer, so a task is found again by every gateway and after a restart.
use std::borrow::Cow;

use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::Reply;

use crate::audit::now;
use crate::call::Parsed;
use crate::context::Context;
use crate::json::{Members, may_have_key, quoted, raw, with_member};
use crate::mrtr::{Bound, Seal};
use crate::rpc_error::{MISSING_CAPABILITY, RpcError};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// Characters of a server's uid.
const UID_CHARS: usize = 26;

/// The server of a task, and the server's own id of it. `None` if it is not a task of this caller.
pub(crate) fn open<'c>(context: &'c Context, id: &str) -> Option<(&'c ServerView, String)> {
    let bound = Bound::to_tasks(&context.admission);
    let content = Seal::of_bearer(&context.bearer).open(&bound, now(), id).ok()?;
    let content = String::from_utf8(content).ok()?;
    let (uid, own) = content.split_at_checked(UID_CHARS)?;
    let server = context.servers().iter().find(|server| server.uid.to_string() == uid)?;
    Some((server, own.to_owned()))
}

/// An answer with the id of its task as the client knows it, or shall know it.
pub(crate) fn shown(context: &Context, parsed: &Parsed<'_>, server: &ServerView, reply: Reply) -> Reply {
    let Reply::Result(result) = &reply else { return reply };
    if !context.dialect.is_modern() {
        return reply;
    }
    let id: Cow<'_, str> = match &*parsed.method {
        "tools/call" if declares(parsed) && may_have_key(result.get(), "\"taskId\"") => {
            let members = Members::of(result);
            let own = members.text("taskId").filter(|_| members.text("resultType").as_deref() == Some("task"));
            let Some(own) = own else { return reply };
            let content = format!("{}{own}", server.uid);
            let bound = Bound::to_tasks(&context.admission);
            quoted(&Seal::of_bearer(&context.bearer).name(&bound, content.as_bytes())).into()
        }
        "tasks/get" | "tasks/update" | "tasks/cancel" => match parsed.members.get("taskId") {
            Some(given) => given.get().into(),
            None => return reply,
        },
        _ => return reply,
    };
    let members = Members::of(result);
    if members.get("taskId").is_none() {
        return reply;
    }
    Reply::Result(raw(with_member(&members, "taskId", &id)))
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
