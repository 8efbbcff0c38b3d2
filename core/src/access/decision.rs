//! The decision: may this caller do that, now? Every yes names the grants it used, every no the smallest one that is missing.
use super::impersonation::covers_through;
use crate::access::{Grant, Membership, Permission, ResourceName, Role, Verb, Wanted};
use crate::actor::{Actor, ActorKind};
use crate::ids::{Seq, Uid};
use crate::kinds::{Kind, McpToken, Project};
use crate::name::Name;
use crate::object::Object;
use crate::time::Timestamp;
use crate::world::World;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// A verb on a resource: on one object when a name is given, else on all there are and will be.
    Object {
        /// The verb.
        verb: Verb,
        /// The resource.
        resource: ResourceName,
        /// The project that the object lives in.
        project: Option<Uid>,
        /// Its name.
        name: Option<&'a Name>,
        /// Its identity, where it exists: by it a caller is known to ask about itself or its own.
        uid: Option<Uid>,
    },
    /// An operation.
    Operation(&'a str),
}

impl<'a> Ask<'a> {
    /// A verb on an existing object.
    #[must_use]
    pub fn on(verb: Verb, object: &'a Object) -> Self {
        Self::Object {
            verb,
            resource: ResourceName::Kind(object.meta.kind),
            project: object.meta.project.as_ref().map(|project| project.uid),
            name: Some(&object.meta.name),
            uid: Some(object.meta.uid),
        }
    }

    /// A verb on a name of a kind, existing or not.
    #[must_use]
    pub const fn named(verb: Verb, kind: Kind, project: Option<Uid>, name: &'a Name) -> Self {
        Self::Object { verb, resource: ResourceName::Kind(kind), project, name: Some(name), uid: None }
    }
}

impl std::fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operation(action) => write!(f, "run:{action}"),
            Self::Object { verb, resource, name: Some(name), .. } => write!(f, "{verb} {resource}/{name}"),
            Self::Object { verb, resource, name: None, .. } => write!(f, "{verb} {resource}"),
        }
    }
}

/// By which rule it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The control plane itself, or somebody at the machine that it runs on.
    System,
    /// Grants of the subject and its groups.
    Rbac,
    /// The caller asked about itself or what it owns.
    Own,
    /// A token: its grants, its owner's and its project agree.
    Token,
    /// No rule gave it.
    NoGrant,
    /// It was never given to a token, whoever owns it.
    NotForTokens,
    /// It lies outside the token's project.
    OutsideProject,
    /// The token, its owner or the subject is revoked, expired, disabled or gone.
    Ended,
}

impl Rule {
    /// The rule as it is told and kept.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Rbac => "rbac",
            Self::Own => "own",
            Self::Token => "token",
            Self::NoGrant => "no-grant",
            Self::NotForTokens => "not-for-tokens",
            Self::OutsideProject => "outside-project",
            Self::Ended => "ended",
        }
    }

    /// Every rule that says no.
    pub const DENYING: [Self; 4] = [Self::NoGrant, Self::NotForTokens, Self::OutsideProject, Self::Ended];
}

/// An answer, pinned to the state it was made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Yes or no.
    pub allowed: bool,
    /// By which rule.
    pub rule: Rule,
    /// The state decided on.
    pub at: Seq,
    /// Events that made the grants which were used, and the memberships by which they are held, ascending.
    pub via: Vec<Seq>,
}

impl Verdict {
    const fn no(rule: Rule, at: Seq) -> Self {
        Self { allowed: false, rule, at, via: Vec::new() }
    }
    fn yes(rule: Rule, at: Seq, mut via: Vec<Seq>) -> Self {
        via.sort_unstable();
        via.dedup();
        Self { allowed: true, rule, at, via }
    }
}

/// Decides a question. The one function behind list, call and explain.
#[must_use]
pub fn decide(world: &dyn World, caller: &Actor, ask: &Ask<'_>, now: Timestamp) -> Verdict {
    match caller.kind {
        ActorKind::System | ActorKind::Local => Verdict::yes(Rule::System, world.seq(), Vec::new()),
        ActorKind::User | ActorKind::ServiceAccount => decide_subject(world, caller.uid, ask),
        ActorKind::McpToken => decide_token(world, caller.uid, ask, now),
    }
}

fn decide_subject(world: &dyn World, subject: Uid, ask: &Ask<'_>) -> Verdict {
    let at = world.seq();
    if !world.by_uid(subject).is_some_and(|object| object.body.enabled()) {
        return Verdict::no(Rule::Ended, at);
    }
    if let Some(holding) = answering(world, subject, &Wanted::of(ask)) {
        return Verdict::yes(Rule::Rbac, at, holding.seqs());
    }
    match owned(world, subject, ask) {
        Some(seq) => Verdict::yes(Rule::Own, at, vec![seq]),
        None => Verdict::no(Rule::NoGrant, at),
    }
}

/// C5: a token has what its own grants, its owner's rights and its project agree on, now.
fn decide_token(world: &dyn World, token: Uid, ask: &Ask<'_>, now: Timestamp) -> Verdict {
    let at = world.seq();
    let Some(object) = world.by_uid(token) else { return Verdict::no(Rule::Ended, at) };
    let Some((_, status)) = object.of::<McpToken>() else { return Verdict::no(Rule::Ended, at) };
    let (Some(owner), None) = (&status.owner, status.ended(now)) else { return Verdict::no(Rule::Ended, at) };
    let Some(project) = object.meta.project.as_ref().and_then(|project| world.by_uid(project.uid)) else {
        return Verdict::no(Rule::Ended, at);
    };
    if !inside(project, ask) {
        return Verdict::no(Rule::OutsideProject, at);
    }
    if !delegable(ask) {
        return Verdict::no(Rule::NotForTokens, at);
    }
    let Some(grant) = world.answering(token, &Wanted::of(ask)) else {
        return if is_self(token, ask) {
            Verdict::yes(Rule::Own, at, Vec::new())
        } else {
            Verdict::no(Rule::NoGrant, at)
        };
    };
    let of_owner = decide_subject(world, owner.uid, ask);
    if of_owner.allowed {
        let mut via = of_owner.via;
        via.push(grant.seq);
        Verdict::yes(Rule::Token, at, via)
    } else {
        Verdict::no(of_owner.rule, at)
    }
}

/// A grant as somebody holds it: made to itself, or to a group that it belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Holding<'w> {
    pub(crate) grant: &'w Grant,
    through: Option<&'w Membership>,
}

impl Holding<'_> {
    /// The events that gave it: the grant, and the membership by which it is held.
    pub(crate) fn seqs(&self) -> Vec<Seq> {
        self.through.map(|member| member.seq).into_iter().chain([self.grant.seq]).collect()
    }
}

/// The first grant of a subject, or of a group that it belongs to, that answers a question with yes.
fn answering<'w>(world: &'w dyn World, subject: Uid, wanted: &Wanted<'_>) -> Option<Holding<'w>> {
    let own = world.answering(subject, wanted).map(|grant| Holding { grant, through: None });
    own.or_else(|| {
        world
            .memberships(subject)
            .iter()
            .find_map(|member| Some(Holding { grant: world.answering(member.group, wanted)?, through: Some(member) }))
    })
}

/// Grants of a subject and of the groups it belongs to.
pub(crate) fn holdings<'w>(world: &'w dyn World, subject: Uid) -> impl Iterator<Item = Holding<'w>> {
    let own = world.grants(subject).iter().map(|grant| Holding { grant, through: None });
    let of = move |member: &'w Membership| {
        world.grants(member.group).iter().map(move |grant| Holding { grant, through: Some(member) })
    };
    own.chain(world.memberships(subject).iter().flat_map(of))
}

/// All permissions that a subject holds now. For a token: its own, before its owner and project narrow them.
#[must_use]
pub fn effective(world: &dyn World, subject: Uid) -> Vec<Grant> {
    holdings(world, subject).map(|holding| holding.grant.clone()).collect()
}

/// Whether one permission answers a question with yes.
pub(super) fn answers(permission: &Permission, ask: &Ask<'_>) -> bool {
    match (permission, ask) {
        (Permission::Operation { action, .. }, Ask::Operation(asked)) => action == "*" || action == asked,
        (Permission::Resource { role, resource, name }, Ask::Object { verb, resource: asked, name: wanted, .. }) => {
            role.holds(*verb)
                && resource.includes(*asked)
                && name.as_ref().is_none_or(|name| wanted.is_some_and(|wanted| wanted == name))
        }
        _ => false,
    }
}

/// What is a subject's own: it may see itself; it may see, end and remove the tokens that it owns.
pub(super) fn owned(world: &dyn World, subject: Uid, ask: &Ask<'_>) -> Option<Seq> {
    let Ask::Object { verb, uid: Some(uid), .. } = ask else { return None };
    let object = world.by_uid(*uid)?;
    if *uid == subject && *verb == Verb::View {
        return Some(object.meta.resource_version);
    }
    let owner_is_caller = object.body.owner() == Some(subject);
    (owner_is_caller && matches!(verb, Verb::View | Verb::Edit | Verb::Delete)).then_some(object.meta.resource_version)
}

pub(super) fn is_self(caller: Uid, ask: &Ask<'_>) -> bool {
    matches!(ask, Ask::Object { verb: Verb::View, uid: Some(uid), .. } if *uid == caller)
}

/// Whether a question lies inside a project: the project itself, what lives in it, and the use of its servers.
pub(super) fn inside(project: &Object, ask: &Ask<'_>) -> bool {
    let Ask::Object { verb, resource, project: lives_in, name, .. } = ask else { return false };
    if *lives_in == Some(project.meta.uid) {
        return true;
    }
    let Some(name) = name else { return false };
    match resource {
        ResourceName::Kind(Kind::Project) => *name == &project.meta.name,
        ResourceName::Kind(Kind::Server) | ResourceName::Instances => {
            let attached =
                project.of::<Project>().is_some_and(|(spec, _)| spec.servers.iter().any(|s| s.name() == *name));
            attached && matches!(verb, Verb::View | Verb::Run)
        }
        _ => false,
    }
}

/// Rights that no token ever has (C4): making tokens, binding, and the operations that reach beyond a project.
pub(super) fn delegable(ask: &Ask<'_>) -> bool {
    match ask {
        Ask::Operation(_) => false,
        Ask::Object { verb, resource, .. } => {
            let makes_tokens =
                matches!(verb, Verb::Create | Verb::Edit) && *resource == ResourceName::Kind(Kind::McpToken);
            let makes_projects = *verb == Verb::Create && *resource == ResourceName::Kind(Kind::Project);
            !makes_tokens && !makes_projects
        }
    }
}

/// Whether a caller holds everything that a permission would give: what C1 to C3 compare with.
/// The verbs of a role may come from different grants, and from what the caller may act as (C7); a token has what its
/// owner has too (C5). Answers the seqs of the grants used.
#[must_use]
pub fn covers(world: &dyn World, caller: &Actor, wanted: &Permission) -> Option<Vec<Seq>> {
    match caller.kind {
        ActorKind::System | ActorKind::Local => Some(Vec::new()),
        ActorKind::User | ActorKind::ServiceAccount => {
            holds(world, caller.uid, wanted).or_else(|| covers_through(world, caller.uid, wanted))
        }
        ActorKind::McpToken => {
            let owner = world.by_uid(caller.uid)?.body.owner()?;
            Some([holds(world, caller.uid, wanted)?, holds(world, owner, wanted)?].concat())
        }
    }
}

/// Whether a subject itself, directly or through groups, holds everything that a permission would give.
#[must_use]
pub fn holds(world: &dyn World, subject: Uid, wanted: &Permission) -> Option<Vec<Seq>> {
    let held: Vec<Holding<'_>> = holdings(world, subject).collect();
    let used = within(&held.iter().map(|holding| &holding.grant.permission).collect::<Vec<_>>(), wanted)?;
    Some(used.into_iter().flat_map(|index| held[index].seqs()).collect())
}

/// Which of the held permissions together give everything that the wanted one would; `None` when they don't.
#[must_use]
pub fn within(held: &[&Permission], wanted: &Permission) -> Option<Vec<usize>> {
    match wanted {
        Permission::Operation { action, .. } => held
            .iter()
            .position(|held| matches!(held, Permission::Operation { action: has, .. } if has == "*" || has == action))
            .map(|index| vec![index]),
        Permission::Resource { role, resource, name } => {
            let holder = |verb: &Verb| held.iter().position(|held| gives(held, *verb, *resource, name.as_ref()));
            role.verbs().iter().map(holder).collect()
        }
    }
}

fn gives(held: &Permission, verb: Verb, resource: ResourceName, name: Option<&Name>) -> bool {
    matches!(held, Permission::Resource { role, resource: has, name: only }
        if role.holds(verb) && has.includes(resource) && (only.is_none() || only.as_ref() == name))
}

impl Role {
    /// The role of one verb.
    #[must_use]
    pub const fn of(verb: Verb) -> Self {
        match verb {
            Verb::View => Self::View,
            Verb::Create => Self::Create,
            Verb::Delete => Self::Delete,
            Verb::Edit => Self::Edit,
            Verb::Run => Self::Run,
        }
    }
}
