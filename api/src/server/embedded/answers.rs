//! What the tools answer: pure in the state, the log, the caller and the moment.
use std::collections::BTreeSet;
use std::sync::Arc;

use mcpctl_core::access::{Ask, Verb, decide, effective, holds};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::{Kind, McpToken, Project, Server, User};
use mcpctl_core::log::LogReader;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::resource::Scope;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde_json::{Map, Value, json};

use crate::server::history::{HistoryError, Named, of_named};
use crate::server::point::Point;
use crate::wire::{HistoryItem, Me};

const EVENTS_DEFAULT: usize = 50;

/// A question: who asks, from which project, when, of which state.
pub(super) struct Asked {
    pub(super) state: Arc<State>,
    pub(super) log: Arc<dyn LogReader>,
    pub(super) project: Uid,
    pub(super) subject: Uid,
    pub(super) now: Timestamp,
}

impl Asked {
    /// The caller, as long as it is there and may open the project that it asks from. Calls are admitted before they
    /// come here; this looks again, so that nothing depends on it.
    pub(super) fn caller(&self) -> Result<Actor, String> {
        let gone = || "your access to this project has ended".to_owned();
        let object = self.state.by_uid(self.subject).ok_or_else(gone)?;
        let kind = match object.meta.kind {
            Kind::User => ActorKind::User,
            Kind::ServiceAccount => ActorKind::ServiceAccount,
            Kind::McpToken => ActorKind::McpToken,
            _ => return Err(gone()),
        };
        let caller = Actor { kind, uid: object.meta.uid, name: object.meta.name.to_string() };
        let project = self.state.by_uid(self.project).filter(|project| project.meta.kind == Kind::Project);
        let project = project.ok_or_else(gone)?;
        if self.may(&caller, Verb::Run, project) { Ok(caller) } else { Err(gone()) }
    }

    fn may(&self, caller: &Actor, verb: Verb, object: &Object) -> bool {
        decide(&*self.state, caller, &Ask::on(verb, object), self.now).allowed
    }

    fn verbs(&self, caller: &Actor, object: &Object) -> Vec<String> {
        let may = |verb: &Verb| self.may(caller, *verb, object);
        // Creating what is there already is no use to anybody.
        Verb::ALL.into_iter().filter(|verb| *verb != Verb::Create).filter(may).map(|verb| verb.to_string()).collect()
    }

    pub(super) fn current(&self) -> Option<(&Arc<Object>, &Project)> {
        let object = self.state.by_uid(self.project)?;
        Some((object, object.of::<Project>()?.0))
    }
}

/// `whoami`.
pub(super) fn whoami(asked: &Asked, _: &Map<String, Value>) -> Result<Value, String> {
    let actor = asked.caller()?;
    let state = &*asked.state;
    let object = state.by_uid(actor.uid);
    let status = object.and_then(|object| object.of::<McpToken>()).map(|(_, status)| status);
    let owner = status.and_then(|status| status.owner.clone());
    // What a token was given and its owner has lost is no right.
    let holds = |permission: &_| owner.as_ref().is_none_or(|owner| holds(state, owner.uid, permission).is_some());
    let grants = effective(state, actor.uid).into_iter().map(|grant| grant.permission).filter(holds);
    let rights: BTreeSet<String> = grants.map(|permission| permission.to_string()).collect();
    let groups = state.memberships(actor.uid).iter().filter_map(|member| state.by_uid(member.group));
    let me = Me {
        owner,
        project: object.and_then(|object| object.meta.project.as_ref()).map(|project| project.name.to_string()),
        identity: object.and_then(|object| object.of::<User>()?.0.identity.clone()),
        groups: groups.map(|group| group.meta.name.to_string()).collect(),
        rights: rights.into_iter().collect(),
        expires_at: status.and_then(|status| status.expires_at),
        seq: state.seq(),
        on_behalf_of: None,
        actor,
    };
    serde_json::to_value(me).map_err(|error| error.to_string())
}

/// `list_servers`: those on which the caller holds anything, and those of the project that it has open: their names
/// stand in front of the tools that it sees anyway.
pub(super) fn list_servers(asked: &Asked, _: &Map<String, Value>) -> Result<Value, String> {
    let caller = asked.caller()?;
    let attached = |object: &Object| {
        asked.current().is_some_and(|(_, spec)| spec.servers.iter().any(|server| *server.name() == object.meta.name))
    };
    let row = |object: &Arc<Object>| {
        let (may, here) = (asked.verbs(&caller, object), attached(object));
        let description = object.of::<Server>().and_then(|(spec, _)| spec.description.clone());
        (here || !may.is_empty()).then(|| {
            with_description(json!({ "name": object.meta.name, "inThisProject": here, "may": may }), description)
        })
    };
    let mut servers: Vec<Value> = asked.state.all(Kind::Server).filter_map(row).collect();
    servers.sort_by_key(|row| row["inThisProject"] != json!(true));
    Ok(json!({ "servers": servers, "seq": asked.state.seq() }))
}

/// `list_projects`: those on which the caller holds anything.
pub(super) fn list_projects(asked: &Asked, _: &Map<String, Value>) -> Result<Value, String> {
    let caller = asked.caller()?;
    let row = |object: &Arc<Object>| {
        let (spec, _) = object.of::<Project>()?;
        let may = asked.verbs(&caller, object);
        let current = object.meta.uid == asked.project;
        let servers: Vec<&Name> = spec.servers.iter().map(mcpctl_core::reference::Ref::name).collect();
        let row = json!({ "name": object.meta.name, "servers": servers, "current": current, "may": may });
        (!may.is_empty()).then(|| with_description(row, spec.description.clone()))
    };
    let projects: Vec<Value> = asked.state.all(Kind::Project).filter_map(row).collect();
    Ok(json!({ "projects": projects, "seq": asked.state.seq() }))
}

fn with_description(mut row: Value, description: Option<String>) -> Value {
    if let Some(description) = description {
        row["description"] = description.into();
    }
    row
}

/// `history`.
pub(super) fn history(asked: &Asked, arguments: &Map<String, Value>) -> Result<Value, String> {
    let caller = asked.caller()?;
    let text = arguments.get("object").and_then(Value::as_str).ok_or("object is a text such as server/everything")?;
    let limit = match arguments.get("limit") {
        None => EVENTS_DEFAULT,
        Some(limit) => {
            let limit =
                limit.as_u64().filter(|limit| (1..=1000).contains(limit)).ok_or("limit is a number from 1 to 1000")?;
            usize::try_from(limit).unwrap_or(EVENTS_DEFAULT)
        }
    };
    let (kind, project, name) = parse(asked, text)?;
    let until = until(asked, arguments)?;
    let named = Named { kind, project: project.as_ref(), name: &name, until };
    let found = of_named(&asked.state, &*asked.log, &caller, named, asked.now);
    let mut items = found.map_err(|error| match error {
        HistoryError::Refused(refusal) => refusal.to_string(),
        HistoryError::Log(error) => {
            tracing::error!(%error, "the log can't be read");
            "the control plane can't read its log; see the log of mcpd".to_owned()
        }
    })?;
    let events: Vec<Value> = items.drain(items.len().saturating_sub(limit)..).map(|item| shown(&item)).collect();
    Ok(json!({ "events": events, "seq": asked.state.seq() }))
}

/// `at`.
fn until(asked: &Asked, arguments: &Map<String, Value>) -> Result<Seq, String> {
    let Some(at) = arguments.get("at") else { return Ok(asked.state.seq()) };
    let text = at.as_str().ok_or("at is a text such as 1207 or \"2 days ago\"")?;
    let query = [("at".to_owned(), text.to_owned())].into();
    let point = Point::of(&asked.state, &query).map_err(|refusal| refusal.0.detail.clone())?;
    Ok(point.map_or(asked.state.seq(), |point| point.seq))
}

fn shown(item: &HistoryItem) -> Value {
    let actor = match &item.on_behalf_of {
        Some(other) => format!("{} for {other}", item.actor),
        None => item.actor.to_string(),
    };
    let mode = serde_json::to_value(item.authz.mode).unwrap_or_default();
    let via: Vec<String> = item.authz.via.iter().map(ToString::to_string).collect();
    let mode = mode.as_str().unwrap_or_default();
    let allowed_by =
        if via.is_empty() { mode.to_owned() } else { format!("{mode}, by the grants of seq {}", via.join(", ")) };
    json!({
        "seq": item.seq,
        "at": item.at,
        "object": item.object,
        "event": item.event,
        "actor": actor,
        "allowedBy": allowed_by,
        "changes": item.changes,
        "access": item.access,
    })
}

/// `KIND/NAME` or `KIND/PROJECT/NAME`.
fn parse(asked: &Asked, text: &str) -> Result<(Kind, Option<Name>, Name), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let (kind, rest) = parts.split_first().ok_or("object is KIND/NAME")?;
    let kind: Kind = kind.parse().map_err(|error: mcpctl_core::kinds::UnknownKind| error.to_string())?;
    let named = |rule, text: &str| Name::parse(rule, text).map_err(|error| error.to_string());
    let name = |text| named(kind.untyped().name_rule(), text);
    match (kind.scope(), rest) {
        (Scope::Global, [one]) => Ok((kind, None, name(one)?)),
        (Scope::Project, [one]) => {
            Ok((kind, asked.current().map(|(project, _)| project.meta.name.clone()), name(one)?))
        }
        (Scope::Project, [project, one]) => Ok((kind, Some(named(NameRule::Label, project)?), name(one)?)),
        _ => Err(format!("object is KIND/NAME, such as {}/example", kind.names().singular)),
    }
}
