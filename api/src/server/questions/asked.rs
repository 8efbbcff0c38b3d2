//! What is asked, from the query of a request: `verb`, `resource`, `name`, `project`, or `operation`.
use std::collections::HashMap;

use mcpctl_core::access::{Ask, OPERATIONS, ResourceName, Verb};
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::resource::Scope;
use mcpctl_core::world::World;

use super::{missing, violation};
use crate::server::problem::Result;

/// A question with its name owned.
pub(super) enum Asked {
    Operation(String),
    Object { verb: Verb, resource: ResourceName, project: Option<Uid>, name: Option<Name>, uid: Option<Uid> },
}

impl Asked {
    pub(super) fn ask(&self) -> Ask<'_> {
        match self {
            Self::Operation(action) => Ask::Operation(action),
            Self::Object { verb, resource, project, name, uid } => {
                Ask::Object { verb: *verb, resource: *resource, project: *project, name: name.as_ref(), uid: *uid }
            }
        }
    }

    pub(super) fn of(world: &dyn World, query: &HashMap<String, String>) -> Result<Self> {
        if let Some(action) = query.get("operation") {
            return operation(action, query);
        }
        let said = |field| query.get(field).ok_or_else(|| violation(field, "is missing"));
        let verb: Verb = said("verb")?
            .parse()
            .map_err(|error: mcpctl_core::access::InvalidVerb| violation("verb", error.to_string()))?;
        let resource: ResourceName = said("resource")?
            .parse()
            .map_err(|error: mcpctl_core::access::InvalidResource| violation("resource", error.to_string()))?;
        let name = query.get("name").map(|text| name_of(resource, text)).transpose()?;
        let project = query.get("project").map(|text| project_of(world, resource, text)).transpose()?;
        Ok(found(world, verb, resource, project, name))
    }
}

fn operation(action: &str, query: &HashMap<String, String>) -> Result<Asked> {
    if ["resource", "name"].iter().any(|field| query.contains_key(*field)) {
        return Err(violation("operation", "can't stand next to `resource` or `name`: ask two questions"));
    }
    if query.get("verb").is_some_and(|verb| verb != "run") {
        return Err(violation("verb", "an operation is run"));
    }
    if OPERATIONS.contains(&action) {
        Ok(Asked::Operation(action.to_owned()))
    } else {
        let all = OPERATIONS.join(", ");
        Err(violation("operation", format!("{action:?} is not an operation: use one of {all}")))
    }
}

fn name_of(resource: ResourceName, text: &str) -> Result<Name> {
    let rules = match resource {
        ResourceName::Kind(kind) => vec![kind.untyped().name_rule()],
        ResourceName::Instances => vec![NameRule::Label],
        ResourceName::Any => vec![NameRule::Label, NameRule::Email],
    };
    let mut tried = rules.into_iter().map(|rule| Name::parse(rule, text));
    let first = tried.next().expect("each resource has a rule");
    first.or_else(|error| tried.find_map(std::result::Result::ok).ok_or_else(|| violation("name", error.to_string())))
}

fn project_of(world: &dyn World, resource: ResourceName, text: &str) -> Result<Uid> {
    let scoped = matches!(resource, ResourceName::Kind(kind) if kind.scope() == Scope::Project);
    if !scoped {
        return Err(violation("project", format!("{resource} live in no project: leave it out")));
    }
    let name = Name::parse(NameRule::Label, text).map_err(|error| violation("project", error.to_string()))?;
    let project = world.by_name(Kind::Project, None, &name).map(|object| object.meta.uid);
    project.ok_or_else(|| missing(format!("project/{name}")))
}

/// The object that is asked about, where there is exactly one of that name.
fn found(world: &dyn World, verb: Verb, resource: ResourceName, project: Option<Uid>, name: Option<Name>) -> Asked {
    let object = match (resource, &name) {
        (ResourceName::Kind(kind), Some(name)) if kind.scope() == Scope::Global || project.is_some() => {
            world.by_name(kind, project, name)
        }
        (ResourceName::Kind(kind), Some(name)) => {
            let mut named = world.all(kind).filter(|object| object.meta.name == *name);
            named.next().filter(|_| named.next().is_none())
        }
        _ => None,
    };
    let project = project.or_else(|| object?.meta.project.as_ref().map(|project| project.uid));
    Asked::Object { verb, resource, project, name, uid: object.map(|object| object.meta.uid) }
}
