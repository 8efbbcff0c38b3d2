//! Why somebody may not: everything that stands in the way, and the smallest grants that would remove it.
use crate::access::decision::{delegable, inside, is_self, owned};
use crate::access::questions::proof::held;
use crate::access::{Ask, Permission, Role, Rule, decide};
use crate::actor::{Actor, ActorKind};
use crate::ids::{Seq, Uid};
use crate::kinds::McpToken;
use crate::name::Name;
use crate::time::Timestamp;
use crate::world::World;

/// That a subject may not, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct WhyNot {
    /// By which rule it was decided: the first obstacle's.
    pub rule: Rule,
    /// The state decided on.
    pub at: Seq,
    /// All that stands in the way. Empty when the subject may after all.
    pub obstacles: Vec<Obstacle>,
}

/// A grant that is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// To whom.
    pub to: Actor,
    /// The smallest that would do.
    pub permission: Permission,
}

/// What stands in the way.
#[derive(Clone, Debug, PartialEq)]
pub enum Obstacle {
    /// There is no such subject.
    Gone(Actor),
    /// The subject is disabled.
    Disabled(Actor),
    /// The token was revoked.
    Revoked {
        /// When.
        at: Timestamp,
    },
    /// The token's time is over.
    Expired {
        /// Since when.
        at: Timestamp,
    },
    /// The token was never put in force.
    NeverMinted,
    /// The token's project is gone.
    NoProject,
    /// It lies outside the project that the token opens.
    OutsideProject(Name),
    /// No token ever has it, whoever owns it.
    NotForTokens,
    /// A grant is missing.
    NoGrant(Missing),
}

impl WhyNot {
    /// The grants that would turn the answer into yes; `None` when grants alone can't.
    #[must_use]
    pub fn missing(&self) -> Option<Vec<&Missing>> {
        let missing = self.obstacles.iter().map(|obstacle| match obstacle {
            Obstacle::NoGrant(missing) => Some(missing),
            _ => None,
        });
        missing.collect::<Option<Vec<_>>>().filter(|missing| !missing.is_empty())
    }
}

/// The smallest permission that answers a question with yes.
#[must_use]
pub fn smallest(ask: &Ask<'_>) -> Permission {
    match *ask {
        Ask::Operation(action) => Permission::operation(action),
        Ask::Object { verb, resource, name, .. } => {
            Permission::Resource { role: Role::of(verb), resource, name: name.cloned() }
        }
    }
}

/// Why a subject may not.
#[must_use]
pub fn why_not(world: &dyn World, subject: &Actor, ask: &Ask<'_>, now: Timestamp) -> WhyNot {
    let verdict = decide(world, subject, ask, now);
    let obstacles = match subject.kind {
        _ if verdict.allowed => Vec::new(),
        ActorKind::System | ActorKind::Local => Vec::new(),
        ActorKind::User | ActorKind::ServiceAccount => of_subject(world, subject, ask),
        ActorKind::McpToken => of_token(world, subject, ask, now),
    };
    WhyNot { rule: verdict.rule, at: verdict.at, obstacles }
}

fn of_subject(world: &dyn World, subject: &Actor, ask: &Ask<'_>) -> Vec<Obstacle> {
    let Some(object) = world.by_uid(subject.uid) else { return vec![Obstacle::Gone(subject.clone())] };
    let mut found = Vec::new();
    if !object.body.enabled() {
        found.push(Obstacle::Disabled(subject.clone()));
    }
    let of_groups = || world.memberships(subject.uid).iter().any(|member| held(world, member.group, ask).is_some());
    if !has(world, subject.uid, ask) && !of_groups() && owned(world, subject.uid, ask).is_none() {
        found.push(Obstacle::NoGrant(Missing { to: subject.clone(), permission: smallest(ask) }));
    }
    found
}

fn has(world: &dyn World, holder: Uid, ask: &Ask<'_>) -> bool {
    held(world, holder, ask).is_some()
}

/// The token's life, its project, what tokens may have at all, its grants, its owner: each is looked at, whatever the others say.
fn of_token(world: &dyn World, token: &Actor, ask: &Ask<'_>, now: Timestamp) -> Vec<Obstacle> {
    let found = world.by_uid(token.uid).and_then(|object| Some((object, object.of::<McpToken>()?.1)));
    let Some((object, status)) = found else { return vec![Obstacle::Gone(token.clone())] };
    let mut obstacles = Vec::new();
    match (status.revoked_at, status.expired_at.or(status.expires_at.filter(|at| *at <= now))) {
        (Some(at), _) => obstacles.push(Obstacle::Revoked { at }),
        (None, Some(at)) => obstacles.push(Obstacle::Expired { at }),
        (None, None) => {}
    }
    if status.owner.is_none() {
        obstacles.push(Obstacle::NeverMinted);
    }
    match object.meta.project.as_ref().and_then(|project| world.by_uid(project.uid)) {
        None => obstacles.push(Obstacle::NoProject),
        Some(project) if !inside(project, ask) => {
            obstacles.push(Obstacle::OutsideProject(project.meta.name.clone()));
        }
        Some(_) => {}
    }
    if !delegable(ask) {
        obstacles.push(Obstacle::NotForTokens);
    }
    if !has(world, token.uid, ask) {
        if is_self(token.uid, ask) {
            return obstacles;
        }
        obstacles.push(Obstacle::NoGrant(Missing { to: token.clone(), permission: smallest(ask) }));
    }
    obstacles.extend(status.owner.iter().flat_map(|owner| of_subject(world, owner, ask)));
    obstacles
}
