//! One entry of the audit log decided again, in the state that it names.
use mcpctl_core::access::{Ask, Rule, decide};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::allowed_by;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;

use crate::plane::{AuditEntry, ServerView, rule};
use crate::server::audit::pin::{ended, opening};
use crate::server::project_view::view_of;

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It is decided the same way.
    Proved,
    /// Nothing was decided that could be decided again.
    Undecided,
    /// It is decided otherwise; this is why.
    Otherwise(String),
}

/// Decides an entry again. `world` is the state that it names, `made_at` the moment of that state.
pub(super) fn again(world: &dyn World, entry: &AuditEntry, made_at: Timestamp) -> Again {
    if entry.allowed { allowed(world, entry, made_at) } else { refused(world, entry, made_at) }
}

fn allowed(world: &dyn World, entry: &AuditEntry, made_at: Timestamp) -> Again {
    if is_erased(entry) {
        return Again::Undecided;
    }
    let Some(actor) = &entry.actor else {
        return Again::Otherwise("it was allowed, and nobody is named".to_owned());
    };
    if actor.kind != ActorKind::System
        && world.by_uid(actor.uid).is_none_or(|object| object.meta.name.as_str() != actor.name)
    {
        return Again::Otherwise(format!("{actor} did not exist"));
    }
    let asked = entry.asked.clone().or_else(|| opening(world, entry.project.as_deref()?));
    let Some(asked) = asked else {
        return if of_access(entry) {
            Again::Otherwise("it was allowed, and does not say what was asked".to_owned())
        } else {
            Again::Undecided
        };
    };
    let now = entry.at.max(made_at);
    let verdict = decide(world, actor, &asked.ask(), now);
    if !verdict.allowed {
        return Again::Otherwise(format!("{actor} may not {asked} ({})", verdict.rule.word()));
    }
    if entry.via != verdict.via && !allowed_by(world, actor, &asked.ask(), now, &entry.via) {
        return Again::Otherwise(format!("the grants that it names did not let {actor} {asked}"));
    }
    filters(world, entry, &asked.ask())
}

/// Kinds of entries that rest on a decision about access; a login rests on a password, and what is too old is dropped by the
/// control plane itself.
fn of_access(entry: &AuditEntry) -> bool {
    !matches!(&*entry.kind, "login" | "audit-retention")
}

/// Whether nothing but the header is left of an entry: who asked for what can't be told any more.
fn is_erased(entry: &AuditEntry) -> bool {
    let nobody = entry.actor.is_none() && entry.owner.is_none() && entry.token_sha.is_none();
    nobody && entry.method.is_empty() && entry.asked.is_none() && entry.project.is_none()
}

/// A call of a tool also rests on the filters of the project and of the server.
fn filters(world: &dyn World, entry: &AuditEntry, ask: &Ask<'_>) -> Again {
    let (Some(server), "tools/call") = (&entry.server, entry.method.as_str()) else { return Again::Proved };
    let tool = entry.tool.as_deref().unwrap_or_default();
    match served(world, ask, server) {
        None => Again::Otherwise(format!("the project did not have the server {server:?}")),
        Some(view) if view.serves(tool) && entry.definition.is_none_or(|one| view.shows(tool, Some(one))) => {
            Again::Proved
        }
        Some(view) if view.lets_through(tool) => {
            Again::Otherwise(format!("{tool:?} of {server:?} waited for approval"))
        }
        Some(_) => Again::Otherwise(format!("a filter hid {tool:?} of {server:?}")),
    }
}

/// The server as the project that is asked about serves it.
fn served(world: &dyn World, ask: &Ask<'_>, server: &str) -> Option<ServerView> {
    let Ask::Object { uid: Some(project), .. } = ask else { return None };
    view_of(world, *project)?.servers.into_iter().find(|one| one.name == server)
}

/// Whether a server of the project that is asked about serves a tool.
pub(super) fn tool_is_served(world: &dyn World, ask: &Ask<'_>, server: &str, tool: &str) -> bool {
    served(world, ask, server).is_some_and(|view| view.serves(tool))
}

fn refused(world: &dyn World, entry: &AuditEntry, made_at: Timestamp) -> Again {
    let (Some(rule), Some(actor), Some(asked)) = (&entry.rule, &entry.actor, &entry.asked) else {
        return Again::Undecided;
    };
    if Rule::DENYING.iter().any(|denying| denying.word() == rule) {
        return denied(world, actor, &asked.ask(), ended(entry).max(made_at));
    }
    let tool = entry.tool.as_deref().unwrap_or_default();
    let view = entry.server.as_deref().and_then(|server| served(world, &asked.ask(), server));
    let stands = match (rule.as_str(), view) {
        (rule::NOT_SERVED, Some(view)) => !view.lets_through(tool),
        // Which definition was refused is not told: that there is one which might be asked about is enough.
        (rule::QUARANTINED, Some(view)) => view.pins.is_some(),
        (rule::NOT_IN_PROJECT, view) => view.is_none(),
        (rule::UNKNOWN_METHOD, Some(view)) => !view.is_open(),
        _ => return Again::Undecided,
    };
    if stands { Again::Proved } else { Again::Otherwise(format!("it was refused as {rule}, and is not")) }
}

fn denied(world: &dyn World, actor: &Actor, ask: &Ask<'_>, now: Timestamp) -> Again {
    let verdict = decide(world, actor, ask, now);
    if verdict.allowed {
        Again::Otherwise(format!("it was refused, and {actor} might {ask} ({})", verdict.rule.word()))
    } else {
        Again::Proved
    }
}
