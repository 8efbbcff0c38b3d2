//! What a subject may do: each right with the proof, for a token as its owner and its project narrow it.
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::proof::{Reason, explain, live};
use super::subject::actor_of;
use super::why_not::{Obstacle, why_not};
use crate::access::{Ask, Grant, Permission, ResourceName, Role, Verb};
use crate::actor::{Actor, ActorKind};
use crate::ids::{Seq, Uid};
use crate::kinds::{Kind, Project};
use crate::name::Name;
use crate::object::{Meta, Object, ProjectName};
use crate::resource::Scope;
use crate::time::Timestamp;
use crate::world::World;

/// All that a subject may do.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatCan<'w> {
    /// Who.
    pub subject: Actor,
    /// The state looked at.
    pub at: Seq,
    /// Why it may nothing at all, if so: it is gone, disabled, revoked, expired.
    pub ended: Option<Obstacle>,
    /// Each right and by what it is held.
    pub held: Vec<Held<'w>>,
}

/// One right of a subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Held<'w> {
    /// What it may.
    pub right: Right,
    /// By what.
    pub reason: Reason<'w>,
}

/// What somebody may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// An operation, or `*` for all.
    Operation(String),
    /// Verbs on a resource.
    Objects {
        /// The verbs.
        verbs: Vec<Verb>,
        /// The resource.
        resource: ResourceName,
        /// One name of it only.
        name: Option<Name>,
        /// Inside this project only.
        project: Option<ProjectName>,
        /// This one object only: it is the subject's own.
        uid: Option<Uid>,
    },
}

impl Right {
    fn of(permission: &Permission) -> Self {
        match permission {
            Permission::Operation { action, .. } => Self::Operation(action.clone()),
            Permission::Resource { role, resource, name } => Self::Objects {
                verbs: role.verbs().to_vec(),
                resource: *resource,
                name: name.clone(),
                project: None,
                uid: None,
            },
        }
    }

    fn own(object: &Object, verbs: &[Verb]) -> Self {
        Self::Objects {
            verbs: verbs.to_vec(),
            resource: ResourceName::Kind(object.meta.kind),
            name: Some(object.meta.name.clone()),
            project: object.meta.project.clone(),
            uid: Some(object.meta.uid),
        }
    }

    /// The same right with these verbs only; an operation stays what it is.
    #[must_use]
    pub fn with(&self, only: Vec<Verb>) -> Self {
        let mut right = self.clone();
        if let Self::Objects { verbs, .. } = &mut right {
            *verbs = only;
        }
        right
    }

    /// The question that it answers: with its first verb, about all that it is about.
    #[must_use]
    pub fn ask(&self) -> Ask<'_> {
        match self {
            Self::Operation(action) => Ask::Operation(action),
            Self::Objects { verbs, resource, name, project, uid } => Ask::Object {
                verb: verbs.first().copied().unwrap_or(Verb::View),
                resource: *resource,
                project: project.as_ref().map(|project| project.uid),
                name: name.as_ref(),
                uid: *uid,
            },
        }
    }

    /// Whether it gives all of another right, as far as one verb goes.
    #[must_use]
    pub fn gives(&self, verb: Verb, other: &Self) -> bool {
        match (self, other) {
            (Self::Operation(has), Self::Operation(wanted)) => has == "*" || has == wanted,
            (
                Self::Objects { verbs, resource, name, project, uid },
                Self::Objects { resource: wanted, name: of, project: inside, uid: this, .. },
            ) => {
                verbs.contains(&verb)
                    && resource.includes(*wanted)
                    && (name.is_none() || name == of)
                    && (project.is_none() || project.as_ref().map(|p| p.uid) == inside.as_ref().map(|p| p.uid))
                    && (uid.is_none() || uid == this)
            }
            _ => false,
        }
    }

    /// Whether it answers a question with yes.
    #[must_use]
    pub fn answers(&self, ask: &Ask<'_>) -> bool {
        match (self, ask) {
            (Self::Operation(action), Ask::Operation(asked)) => action == "*" || action == asked,
            (
                Self::Objects { verbs, resource, name, project, uid },
                Ask::Object { verb, resource: asked, project: lives_in, name: wanted, uid: this },
            ) => {
                verbs.contains(verb)
                    && resource.includes(*asked)
                    && project.as_ref().is_none_or(|project| *lives_in == Some(project.uid) || uid.is_some())
                    && name.as_ref().is_none_or(|name| *wanted == Some(name))
                    && (uid.is_none() || uid == this)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verbs, resource, name, project) = match self {
            Self::Operation(action) => return write!(f, "run:{action}"),
            Self::Objects { verbs, resource, name, project, .. } => (verbs, resource, name, project),
        };
        if verbs == Role::Edit.verbs() {
            f.write_str("edit")?;
        } else {
            let verbs: Vec<String> = verbs.iter().map(ToString::to_string).collect();
            f.write_str(&verbs.join(","))?;
        }
        write!(f, " {resource}")?;
        name.as_ref().map_or(Ok(()), |name| write!(f, "/{name}"))?;
        project.as_ref().map_or(Ok(()), |project| write!(f, " in {}", project.name))
    }
}

/// All that a subject may do.
#[must_use]
pub fn what_can<'w>(world: &'w dyn World, subject: &Actor, now: Timestamp) -> WhatCan<'w> {
    let itself = Ask::Object {
        verb: Verb::View,
        resource: ResourceName::Any,
        project: world.by_uid(subject.uid).and_then(|object| object.meta.project.as_ref()).map(|project| project.uid),
        name: None,
        uid: Some(subject.uid),
    };
    // Everybody may look at themselves, so what stands in the way of that, but for a grant, is an end.
    let obstacles = why_not(world, subject, &itself, now).obstacles.into_iter();
    let ended = obstacles.into_iter().find(|obstacle| !matches!(obstacle, Obstacle::NoGrant(_)));
    let held = match (&ended, subject.kind) {
        (Some(_), _) | (None, ActorKind::System | ActorKind::Local) => Vec::new(),
        (None, ActorKind::User | ActorKind::ServiceAccount) => of_subject(world, subject.uid),
        (None, ActorKind::McpToken) => of_token(world, subject, now),
    };
    WhatCan { subject: subject.clone(), at: world.seq(), ended, held }
}

fn of_subject<'w>(world: &'w dyn World, subject: Uid) -> Vec<Held<'w>> {
    let row = |grant: &'w Grant, through| Held {
        right: Right::of(&grant.permission),
        reason: Reason::Granted { grant, through },
    };
    let mut held: Vec<Held<'w>> = world.grants(subject).iter().map(|grant| row(grant, None)).collect();
    for member in world.memberships(subject) {
        held.extend(world.grants(member.group).iter().map(|grant| row(grant, Some(member))));
    }
    let own = |object: &Object, verbs: &[Verb]| Held {
        right: Right::own(object, verbs),
        reason: Reason::Own { seq: object.meta.resource_version },
    };
    // A group has rights and never acts, so nothing is its own.
    let itself = world.by_uid(subject).filter(|object| actor_of(object).is_some());
    held.extend(itself.map(|object| own(object, &[Verb::View])));
    held.extend(world.owned_by(subject).into_iter().map(|object| own(object, &[Verb::View, Verb::Edit, Verb::Delete])));
    held
}

/// Asks everything that could be answered with yes inside the project, and keeps what is.
fn of_token<'w>(world: &'w dyn World, token: &Actor, now: Timestamp) -> Vec<Held<'w>> {
    let Some((owner, project)) = live(world, token.uid, now) else { return Vec::new() };
    let names = names_of_grants(world, &[token.uid, owner.uid]);
    let mut targets = targets(project, &names);
    // The owner may end its tokens without a grant, and so may a token that was given the right to.
    let inside = |object: &&Arc<Object>| object.meta.project.as_ref().is_some_and(|p| p.uid == project.meta.uid);
    targets.extend(world.owned_by(owner.uid).into_iter().filter(inside).map(|object| Target::this(object)));
    targets.extend(world.by_uid(token.uid).map(|object| Target::this(object)));
    let mut held: Vec<Held<'w>> = Vec::new();
    for target in &targets {
        for verb in Verb::ALL {
            let ask = target.ask(verb);
            if held.iter().any(|held| held.right.answers(&ask)) {
                continue;
            }
            if let Ok(proof) = explain(world, token, &ask, now) {
                add(&mut held, target, verb, proof.reason);
            }
        }
    }
    held
}

/// Verbs on the same thing by the same reason are one row.
fn add<'w>(held: &mut Vec<Held<'w>>, target: &Target, verb: Verb, reason: Reason<'w>) {
    if let Some(Held { right: Right::Objects { verbs, resource, name, uid, .. }, reason: by }) = held.last_mut()
        && (*resource, &*name, *uid) == (target.resource, &target.name, target.uid)
        && *by == reason
    {
        verbs.push(verb);
        return;
    }
    let Target { resource, project, name, uid } = target.clone();
    held.push(Held { right: Right::Objects { verbs: vec![verb], resource, name, project, uid }, reason });
}

/// Names that the grants of some holders, and of their groups, speak of.
fn names_of_grants(world: &dyn World, holders: &[Uid]) -> BTreeSet<Name> {
    let groups = holders.iter().flat_map(|holder| world.memberships(*holder)).map(|member| member.group);
    let all = holders.iter().copied().chain(groups).flat_map(|holder| world.grants(holder));
    all.filter_map(|grant| match &grant.permission {
        Permission::Resource { name, .. } => name.clone(),
        Permission::Operation { .. } => None,
    })
    .collect()
}

/// Something inside a project that can be asked about.
#[derive(Clone)]
struct Target {
    resource: ResourceName,
    project: Option<ProjectName>,
    name: Option<Name>,
    uid: Option<Uid>,
}

impl Target {
    fn this(object: &Object) -> Self {
        let Meta { kind, project, name, uid, .. } = object.meta.clone();
        Self { resource: ResourceName::Kind(kind), project, name: Some(name), uid: Some(uid) }
    }

    fn ask(&self, verb: Verb) -> Ask<'_> {
        let project = self.project.as_ref().map(|project| project.uid);
        Ask::Object { verb, resource: self.resource, project, name: self.name.as_ref(), uid: self.uid }
    }
}

/// What lies inside a project: itself, its servers and their copies, and what lives in it, as a whole and by name.
fn targets(project: &Object, names: &BTreeSet<Name>) -> Vec<Target> {
    let itself = ProjectName { uid: project.meta.uid, name: project.meta.name.clone() };
    let global = |resource, name| Target { resource, project: None, name: Some(name), uid: None };
    let mut found = vec![global(ResourceName::Kind(Kind::Project), itself.name.clone())];
    let attached = project.of::<Project>().map(|(spec, _)| &spec.servers[..]).unwrap_or_default();
    for resource in [ResourceName::Kind(Kind::Server), ResourceName::Instances] {
        found.extend(attached.iter().map(|server| global(resource, server.name().clone())));
    }
    for kind in Kind::ALL.iter().filter(|kind| kind.scope() == Scope::Project) {
        let resource = ResourceName::Kind(*kind);
        let inner = |name| Target { resource, project: Some(itself.clone()), name, uid: None };
        found.push(inner(None));
        found.extend(names.iter().cloned().map(Some).map(inner));
    }
    found
}
