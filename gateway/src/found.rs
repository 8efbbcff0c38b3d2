//! Which server a request is for, and what the request is about there.
use std::borrow::Cow;
use std::sync::Arc;

use mcpctl_api::plane::ServerView;
use serde_json::value::RawValue;

use crate::audit::Opened;
use crate::call::{Parsed, Target};
use crate::context::Context;
use crate::json::{Members, quoted, raw, with_member};
use crate::lists::ListKind;
use crate::resolve::{by_name, by_uri};
use crate::rpc_error::{INVALID_PARAMS, RpcError};
use crate::tasks;

/// A server that a request is for, the server's own name for what it is about, and the params as it wants them.
pub(crate) struct Found<'c> {
    pub(crate) server: &'c ServerView,
    pub(crate) target: Target,
    pub(crate) params: Option<Box<RawValue>>,
}

/// Finds the server of a request, or the servers to be asked one after the other.
pub(crate) async fn find<'c>(
    context: &'c Context,
    parsed: &Parsed<'_>,
    audit: &mut Opened,
) -> Result<Vec<Found<'c>>, RpcError> {
    match &*parsed.method {
        "tools/call" => Ok(vec![find_named(context, parsed, ListKind::Tools, audit).await?]),
        "prompts/get" => Ok(vec![find_named(context, parsed, ListKind::Prompts, audit).await?]),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            let uri = member(parsed, "uri")?;
            audit.named(&uri);
            let owners = by_uri(context, &uri).await;
            let of = |(server, own): (_, Cow<'_, str>)| Found {
                server,
                params: params(parsed, "uri", &uri, &own),
                target: Target::Other((*own).into()),
            };
            Ok(owners.into_iter().map(of).collect())
        }
        "completion/complete" => find_completed(context, parsed, audit).await,
        "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => {
            let id = member(parsed, "taskId")?;
            audit.named(&id);
            if context.dialect.is_modern() {
                tasks::check_declared(parsed)?;
            }
            let unknown = || RpcError::new(INVALID_PARAMS, "there is no such task of this caller");
            let (server, own) = tasks::open(context, &id).ok_or_else(unknown)?;
            let params = params(parsed, "taskId", &id, &own);
            Ok(vec![Found { server, target: Target::Other(own.into()), params }])
        }
        method => match context.servers() {
            // With one server alone it is clear whose method it is.
            [only] => {
                Ok(vec![Found { server: only, target: Target::Unknown, params: parsed.params.map(ToOwned::to_owned) }])
            }
            _ => Err(RpcError::unknown_method(method, context.dialect.is_modern())),
        },
    }
}

async fn find_named<'c>(
    context: &'c Context,
    parsed: &Parsed<'_>,
    kind: ListKind,
    audit: &mut Opened,
) -> Result<Found<'c>, RpcError> {
    let name = member(parsed, "name")?;
    audit.named(&name);
    let (server, own) =
        by_name(context, kind, &name).await.map_err(|why| RpcError::new(INVALID_PARAMS, why.to_string()))?;
    let params = params(parsed, "name", &name, &own);
    let own: Arc<str> = own.into();
    let target = if kind == ListKind::Tools { Target::Tool(own) } else { Target::Other(own) };
    Ok(Found { server, target, params })
}

/// `completion/complete` names a prompt, or the template of a resource, one level deeper.
async fn find_completed<'c>(
    context: &'c Context,
    parsed: &Parsed<'_>,
    audit: &mut Opened,
) -> Result<Vec<Found<'c>>, RpcError> {
    let missing = || RpcError::new(INVALID_PARAMS, "`ref` must name a prompt or the URI of a resource");
    let reference = parsed.members.get("ref").map(Members::of).ok_or_else(missing)?;
    let (key, name) =
        ["name", "uri"].into_iter().find_map(|key| Some((key, reference.text(key)?))).ok_or_else(missing)?;
    audit.named(&name);
    let owners = if key == "name" {
        let found = by_name(context, ListKind::Prompts, &name).await;
        vec![found.map_err(|why| RpcError::new(INVALID_PARAMS, why.to_string()))?]
    } else {
        by_uri(context, &name).await.into_iter().map(|(server, own)| (server, own.into_owned())).collect()
    };
    let of = |(server, own): (_, String)| {
        let params = if *own == *name {
            parsed.params.map(ToOwned::to_owned)
        } else {
            Some(raw(with_member(&parsed.members, "ref", &with_member(&reference, key, &quoted(&own)))))
        };
        Found { server, target: Target::Other(own.into()), params }
    };
    Ok(owners.into_iter().map(of).collect())
}

fn member<'a>(parsed: &Parsed<'a>, name: &str) -> Result<Cow<'a, str>, RpcError> {
    let missing = || RpcError::new(INVALID_PARAMS, format!("`params.{name}` must be a string"));
    parsed.members.text(name).ok_or_else(missing)
}

/// The params with one name in place of another; untouched where it is the same.
fn params(parsed: &Parsed<'_>, key: &str, given: &str, own: &str) -> Option<Box<RawValue>> {
    if given == own {
        return parsed.params.map(ToOwned::to_owned);
    }
    Some(raw(with_member(&parsed.members, key, &quoted(own))))
}
