//! The reach of an event: whose access it may have taken away, derived from what was before and what is after.
//!
//! There is no event "revoked from these": who lost something follows from the change. The reach may be too wide, never too
//! narrow. What it covers is decided anew before it is served again; so a kind that nobody thought of here, and an event
//! that nobody expected, reach *everything*.
use std::collections::{BTreeMap, BTreeSet};

use crate::erased::{ANCHORED, APPLIED, DELETED};
use crate::ids::Uid;
use crate::kinds::{Kind, Project, SERVER_FAILED, SERVER_RECOVERED, Server, ServerStatus, SubjectRef};
use crate::object::Object;
use crate::pins::{self, Pins};
use crate::world::World;

/// A part of the world that an event may have taken access away in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Whatever this subject holds, and the tokens that it owns.
    Subject(Uid),
    /// Whatever opens this project.
    Project(Uid),
}

/// What becomes of those in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// They are decided anew; whoever is still admitted goes on.
    Recheck,
    /// What runs ends, even if the caller is still admitted: a tool that it may have called waits for approval now.
    Quarantine,
    /// What runs ends, even if the caller is still admitted: what it runs on is narrower than it was, or another.
    Cut,
}

/// Whose access it is that may be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Whose {
    /// Who acts: a token or a person.
    pub subject: Uid,
    /// Whose rights bound it, for a token.
    pub owner: Option<Uid>,
    /// The project that is open.
    pub project: Uid,
}

impl Whose {
    /// The scopes that it lies in.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> + use<> {
        let subjects = [Some(self.subject), self.owner.filter(|owner| *owner != self.subject)];
        subjects.into_iter().flatten().map(Scope::Subject).chain([Scope::Project(self.project)])
    }
}

/// Whose access an event may have taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Theirs; nobody's when there are none.
    Scopes(BTreeMap<Scope, Effect>),
    /// Everybody's.
    Everything,
}

impl Default for Reach {
    fn default() -> Self {
        Self::nothing()
    }
}

impl Reach {
    /// An event that takes nothing away.
    #[must_use]
    pub const fn nothing() -> Self {
        Self::Scopes(BTreeMap::new())
    }

    fn of(scopes: impl IntoIterator<Item = Scope>, effect: Effect) -> Self {
        Self::Scopes(scopes.into_iter().map(|scope| (scope, effect)).collect())
    }

    /// Whether it takes nothing away.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Scopes(scopes) if scopes.is_empty())
    }

    /// Both together.
    pub fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Everything, _) => {}
            (_, Self::Everything) => *self = Self::Everything,
            (Self::Scopes(mine), Self::Scopes(theirs)) => {
                for (scope, effect) in theirs {
                    let known = mine.entry(scope).or_insert(effect);
                    *known = effect.max(*known);
                }
            }
        }
    }

    /// What becomes of somebody's access; `None` when it is not reached.
    #[must_use]
    pub fn effect_on(&self, whose: &Whose) -> Option<Effect> {
        match self {
            Self::Everything => Some(Effect::Recheck),
            Self::Scopes(scopes) => whose.scopes().filter_map(|scope| scopes.get(&scope)).max().copied(),
        }
    }
}

/// An event as a change of its object.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Kind of the object.
    pub kind: Kind,
    /// Past-tense name of the event.
    pub event: &'a str,
    /// The object before; `None` when the event made it.
    pub before: Option<&'a Object>,
    /// The object after; `None` when the event removed it.
    pub after: Option<&'a Object>,
}

/// Whose access a change may have taken away. `world` is the state around it, on either side of the event: it is asked for
/// members of groups and for what refers to the object, which the event itself does not change.
#[must_use]
pub fn reach(world: &dyn World, change: &Change<'_>) -> Reach {
    let mut reach = by_kind(world, change);
    reach.merge(Reach::of(losers(world, change).into_iter().map(Scope::Subject), Effect::Recheck));
    reach
}

fn by_kind(world: &dyn World, change: &Change<'_>) -> Reach {
    let declared = matches!(change.event, APPLIED | DELETED);
    match (change.kind, change.before) {
        // What is new only gives.
        (
            Kind::McpToken
            | Kind::User
            | Kind::ServiceAccount
            | Kind::Group
            | Kind::Rbac
            | Kind::Project
            | Kind::Server
            | Kind::Secret,
            None,
        ) if declared => Reach::nothing(),
        // It says where the audit log stands, and nothing else.
        (Kind::Policy, _) if change.event == ANCHORED => Reach::nothing(),
        // How a server is says nothing about who may use it.
        (Kind::Server, Some(_)) if matches!(change.event, SERVER_FAILED | SERVER_RECOVERED) => Reach::nothing(),
        (Kind::McpToken | Kind::User | Kind::ServiceAccount, Some(before)) => of_subject(before, change.after),
        // All that these say is who belongs to them and who is given what: see `losers`.
        (Kind::Group | Kind::Rbac, Some(_)) if declared => Reach::nothing(),
        (Kind::Project, Some(before)) if is_of_tools(change.event) => of_decision(world, before, change.after),
        (Kind::Server, Some(before)) if is_of_tools(change.event) => of_notice(world, before, change.after),
        (Kind::Project, Some(before)) => {
            Reach::of([Scope::Project(before.meta.uid)], of_project(before, change.after, declared))
        }
        (Kind::Server, Some(before)) => {
            Reach::of(projects_of(world, before.meta.uid), of_server(before, change.after, declared))
        }
        (Kind::Secret, Some(before)) => of_secret(world, before.meta.uid),
        // Too much, never too little: a kind or an event that nobody thought of.
        _ => Reach::Everything,
    }
}

/// Events about what is served of the tools that are there, and about nothing else.
fn is_of_tools(event: &str) -> bool {
    matches!(event, "tool.approved" | "tool.rejected" | "tool.seen" | "tool.drifted")
}

fn pins_of(project: Option<&Object>, server: Uid, of_server: (&Server, &ServerStatus)) -> Option<Pins> {
    pins::of(project?.of::<Project>()?, server, of_server)
}

/// What somebody decided about tools takes away what was served before and is not after.
fn of_decision(world: &dyn World, before: &Object, after: Option<&Object>) -> Reach {
    let (Some((spec, _)), Some(_)) = (before.of::<Project>(), after) else { return Reach::Everything };
    let servers = spec.servers.iter().filter_map(|server| world.by_name(Kind::Server, None, server.name()));
    let lost = servers.filter_map(|object| Some((object.meta.uid, object.of::<Server>()?))).any(|(uid, server)| {
        pins::lost(pins_of(Some(before), uid, server).as_ref(), pins_of(after, uid, server).as_ref())
    });
    let scopes = lost.then_some(Scope::Project(before.meta.uid));
    Reach::of(scopes, Effect::Quarantine)
}

/// What a server was noticed to show takes tools away from the projects that ask for approval.
fn of_notice(world: &dyn World, before: &Object, after: Option<&Object>) -> Reach {
    let (Some(was), Some(is)) = (before.of::<Server>(), after.and_then(|after| after.of::<Server>())) else {
        return Reach::Everything;
    };
    let server = before.meta.uid;
    let loses = |project: &&std::sync::Arc<Object>| {
        pins::lost(pins_of(Some(project), server, was).as_ref(), pins_of(Some(project), server, is).as_ref())
    };
    let referrers = world.referrers(server).into_iter().filter(|object| object.meta.kind == Kind::Project);
    let scopes = referrers.filter(loses).map(|project| Scope::Project(project.meta.uid)).collect::<Vec<_>>();
    Reach::of(scopes, Effect::Quarantine)
}

/// Another login is the one thing that can happen to a subject and takes nothing away.
fn of_subject(before: &Object, after: Option<&Object>) -> Reach {
    let only_gains = after.is_some_and(|after| {
        let has = after.body.credentials();
        let kept = before.body.credentials().iter().all(|credential| has.contains(credential));
        kept && before.body.enabled() == after.body.enabled() && before.body.same_spec(&*after.body)
    });
    if only_gains { Reach::nothing() } else { Reach::of([Scope::Subject(before.meta.uid)], Effect::Recheck) }
}

/// A project that has all that it had goes on; one that lost a server, or serves its tools otherwise, ends what runs.
fn of_project(before: &Object, after: Option<&Object>, declared: bool) -> Effect {
    let (Some((was, _)), Some((is, _))) = (before.of::<Project>(), after.and_then(|after| after.of::<Project>()))
    else {
        return Effect::Cut;
    };
    let kept = was.servers.iter().all(|server| is.servers.contains(server));
    let same = was.tools == is.tools && was.tool_policy == is.tool_policy && was.strict == is.strict;
    if declared && kept && same { Effect::Recheck } else { Effect::Cut }
}

fn of_server(before: &Object, after: Option<&Object>, declared: bool) -> Effect {
    let Some(after) = after else { return Effect::Cut };
    let (Some((was, _)), Some((is, _))) = (before.of::<Server>(), after.of::<Server>()) else { return Effect::Cut };
    let same = was.tools == is.tools && !before.body.launch_differs(&*after.body);
    if declared && same { Effect::Recheck } else { Effect::Cut }
}

/// Whoever uses a secret runs on its value; what is used by anything but a server may be used for anything.
fn of_secret(world: &dyn World, secret: Uid) -> Reach {
    let users = world.referrers(secret);
    if users.iter().any(|user| user.meta.kind != Kind::Server) {
        return Reach::Everything;
    }
    Reach::of(users.iter().flat_map(|server| projects_of(world, server.meta.uid)), Effect::Cut)
}

fn projects_of(world: &dyn World, server: Uid) -> Vec<Scope> {
    let referrers = world.referrers(server).into_iter();
    referrers.filter(|object| object.meta.kind == Kind::Project).map(|object| Scope::Project(object.meta.uid)).collect()
}

/// Subjects that something was given to by this object, or that belonged to it, and not any more.
fn losers(world: &dyn World, change: &Change<'_>) -> BTreeSet<Uid> {
    let Some(before) = change.before else { return BTreeSet::new() };
    let given = |object: Option<&Object>| object.map(|o| o.body.grants(&o.meta.name)).unwrap_or_default();
    let members = |object: Option<&Object>| object.map(|o| o.body.members()).unwrap_or_default();
    let meant = |object: Option<&Object>, subject: &SubjectRef| object.and_then(|o| identity(world, o, subject));
    let has: BTreeSet<_> =
        given(change.after).into_iter().map(|(subject, p)| (meant(change.after, &subject), p)).collect();
    let had = given(change.before).into_iter().map(|(subject, p)| (meant(change.before, &subject), p));
    let belongs: BTreeSet<_> = members(change.after).iter().map(|subject| meant(change.after, subject)).collect();
    let belonged = members(change.before).into_iter().map(|subject| meant(change.before, &subject));
    let lost = had.filter(|given| !has.contains(given)).map(|(subject, _)| subject);
    let left = belonged.filter(|member| !belongs.contains(member));
    let mut subjects: BTreeSet<Uid> = lost.chain(left).flatten().collect();
    let groups: Vec<Uid> = subjects.iter().copied().collect();
    subjects.extend(groups.into_iter().flat_map(|group| members_of(world, group, before)));
    subjects
}

/// Members of a group; of the changed object itself, as it was.
fn members_of(world: &dyn World, group: Uid, before: &Object) -> Vec<Uid> {
    let object = if before.meta.uid == group { Some(before) } else { world.by_uid(group).map(|object| &**object) };
    let Some(object) = object else { return Vec::new() };
    object.body.members().iter().filter_map(|member| identity(world, object, member)).collect()
}

/// Whom a name in an object meant when it was applied, whoever has that name now.
fn identity(world: &dyn World, object: &Object, subject: &SubjectRef) -> Option<Uid> {
    let (kind, name) = match subject {
        SubjectRef::User { name } => (Kind::User, name.name()),
        SubjectRef::Group { name } => (Kind::Group, name.name()),
        SubjectRef::ServiceAccount { name } => (Kind::ServiceAccount, name.name()),
        SubjectRef::McpToken { name } => return world.credential(&name.0),
    };
    object.refs.iter().find(|r| r.kind == kind && r.name == *name).map(|r| r.uid)
}
