//! What is asked about this small world: every question that matters in it, and the same in plain words for those who
//! answer it without the code that decides.
use mcpctl_core::access::questions::actor_of;
use mcpctl_core::access::{Ask, ResourceName, Verb};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::resource::Scope;
use mcpctl_core::world::World;

/// What is asked, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    Operation(&'a str),
    Object { verb: &'a str, resource: &'a str, project: Option<Uid>, name: Option<&'a str>, uid: Option<Uid> },
}

impl<'a> Question<'a> {
    pub(crate) fn of(ask: &Ask<'a>) -> Self {
        match *ask {
            Ask::Operation(operation) => Self::Operation(operation),
            Ask::Object { verb, resource, project, name, uid } => {
                let name = name.map(|name| name.as_str());
                Self::Object { verb: verb_word(verb), resource: resource_word(resource), project, name, uid }
            }
        }
    }
}

impl Question<'_> {
    /// Verb and resource; an operation has neither.
    pub(crate) const fn words(&self) -> (&str, &str) {
        match self {
            Self::Operation(_) => ("", ""),
            Self::Object { verb, resource, .. } => (verb, resource),
        }
    }
}

const fn verb_word(verb: Verb) -> &'static str {
    match verb {
        Verb::View => "view",
        Verb::Create => "create",
        Verb::Delete => "delete",
        Verb::Edit => "edit",
        Verb::Run => "run",
    }
}

const fn resource_word(resource: ResourceName) -> &'static str {
    match resource {
        ResourceName::Any => "*",
        ResourceName::Instances => "instances",
        ResourceName::Kind(kind) => kind.names().plural,
    }
}

/// A question with its name owned, so that it can be kept.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Operation(&'static str),
    Object { verb: Verb, resource: ResourceName, project: Option<Uid>, name: Option<Name>, uid: Option<Uid> },
}

impl Asked {
    pub(crate) fn ask(&self) -> Ask<'_> {
        match self {
            Self::Operation(action) => Ask::Operation(action),
            Self::Object { verb, resource, project, name, uid } => {
                Ask::Object { verb: *verb, resource: *resource, project: *project, name: name.as_ref(), uid: *uid }
            }
        }
    }
}

/// Every question that this small world knows: each verb on each kind as a whole, on each object, on a name that is not there.
pub(crate) fn questions(world: &dyn World) -> Vec<Asked> {
    let mut all: Vec<Asked> = ["logs", "audit", "bind", "impersonate"].into_iter().map(Asked::Operation).collect();
    let project = Name::parse(NameRule::Label, "p").unwrap();
    let inside = world.by_name(Kind::Project, None, &project).map(|project| project.meta.uid);
    let free = Name::parse(NameRule::Label, "free").unwrap();
    for verb in Verb::ALL {
        let mut add = |resource, project, name, uid| all.push(Asked::Object { verb, resource, project, name, uid });
        add(ResourceName::Any, None, None, None);
        add(ResourceName::Instances, None, None, None);
        add(ResourceName::Instances, None, Some(Name::parse(NameRule::Label, "s").unwrap()), None);
        for kind in Kind::ALL {
            let resource = ResourceName::Kind(*kind);
            let scope = inside.filter(|_| kind.scope() == Scope::Project);
            add(resource, scope, None, None);
            add(resource, scope, Some(free.clone()), None);
            for object in world.all(*kind) {
                let scope = object.meta.project.as_ref().map(|project| project.uid);
                add(resource, scope, Some(object.meta.name.clone()), Some(object.meta.uid));
            }
        }
    }
    all
}

/// Everybody who can act.
pub(crate) fn actors(world: &dyn World) -> Vec<Actor> {
    [Kind::User, Kind::ServiceAccount, Kind::McpToken]
        .iter()
        .flat_map(|kind| world.all(*kind))
        .filter_map(|object| actor_of(object))
        .collect()
}
