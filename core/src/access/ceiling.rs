//! The ceilings: nobody makes more rights than they hold (semantics §1, C1 to C4 and C6).
use crate::access::{Ask, Permission, ResourceName, Role, Verb, covers, decide, effective, within};
use crate::actor::Actor;
use crate::erased::ResolvedRef;
use crate::ids::{Seq, Uid};
use crate::kinds::{Kind, Policy, SubjectRef};
use crate::name::Name;
use crate::object::Object;
use crate::reference::Ref;
use crate::refusal::Refusal;
use crate::resource::Scope;
use crate::time::Timestamp;
use crate::world::World;

/// A right that a change would give to somebody who did not have it through this object before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Who would get it.
    pub subject: SubjectRef,
    /// What they would get.
    pub permission: Permission,
}

/// What a change of one object adds (C3: what it takes away needs no more than edit).
/// A new member of a group gets all that the group has (C2), and so does whoever a new claim of it is said of; who comes
/// in as a person by another identity gets all that the person has (C7).
#[must_use]
pub fn added_rights(
    world: &dyn World,
    before: Option<&Object>,
    after: &dyn crate::erased::AnyBody,
    name: &Name,
) -> Vec<Addition> {
    let had = before.map(|object| object.body.grants(name)).unwrap_or_default();
    let mut added: Vec<Addition> = after
        .grants(name)
        .into_iter()
        .filter(|(subject, permission)| {
            let of_subject: Vec<&Permission> = had.iter().filter(|(s, _)| s == subject).map(|(_, p)| p).collect();
            within(&of_subject, permission).is_none()
        })
        .map(|(subject, permission)| Addition { subject, permission })
        .collect();
    let Some(object) = before else { return added };
    let were = object.body.members();
    let mut coming: Vec<SubjectRef> = after.members().into_iter().filter(|member| !were.contains(member)).collect();
    if object.body.opens_to_more(after) {
        coming.extend(as_subject(object));
    }
    let held = effective(world, object.meta.uid);
    for subject in coming {
        added.extend(
            held.iter().map(|grant| Addition { subject: subject.clone(), permission: grant.permission.clone() }),
        );
    }
    added
}

fn as_subject(object: &Object) -> Option<SubjectRef> {
    let name = object.meta.name.clone();
    match object.meta.kind {
        Kind::User => Some(SubjectRef::User { name: Ref::to(name) }),
        Kind::Group => Some(SubjectRef::Group { name: Ref::to(name) }),
        _ => None,
    }
}

/// C1: each right that is given is held by the giver, or the giver has the operation `bind`.
///
/// # Errors
/// Names the first right that the giver does not hold.
pub fn check_additions(
    world: &dyn World,
    caller: &Actor,
    additions: &[Addition],
    now: Timestamp,
) -> Result<Vec<Seq>, Refusal> {
    let mut via = Vec::new();
    for addition in additions {
        if let Some(used) = covers(world, caller, &addition.permission) {
            via.extend(used);
            continue;
        }
        let bind = decide(world, caller, &Ask::Operation("bind"), now);
        if !bind.allowed {
            return Err(Refusal::Forbidden {
                actor: caller.to_string(),
                missing: format!(
                    "give {:?} to {}, which takes holding it, or the operation bind",
                    addition.permission.to_string(),
                    addition.subject
                ),
                at: world.seq(),
            });
        }
        via.extend(bind.via);
    }
    Ok(via)
}

/// C6: to make something use a secret, or a project serve a server, hold `run` on it; and every secret that a server
/// already uses, when what it runs is changed.
///
/// # Errors
/// Names the first right that is missing.
pub fn check_references(
    world: &dyn World,
    caller: &Actor,
    before: Option<&Object>,
    refs: &[ResolvedRef],
    launch_changed: bool,
    now: Timestamp,
) -> Result<Vec<Seq>, Refusal> {
    let had: &[ResolvedRef] = before.map_or(&[], |object| &object.refs);
    let mut via = Vec::new();
    for reference in refs {
        let guarded = matches!(reference.kind, Kind::Secret | Kind::Server);
        let again = launch_changed && reference.kind == Kind::Secret;
        if !guarded || (!again && had.iter().any(|old| old.uid == reference.uid)) {
            continue;
        }
        let Some(target) = world.by_uid(reference.uid) else { continue };
        let verdict = decide(world, caller, &Ask::on(Verb::Run, target), now);
        if !verdict.allowed {
            return Err(Refusal::Forbidden {
                actor: caller.to_string(),
                missing: format!("{} {}/{}", Verb::Run, reference.kind.names().plural, reference.name),
                at: world.seq(),
            });
        }
        via.extend(verdict.via);
    }
    Ok(via)
}

/// Whether the caller holds all that another subject holds (setting somebody's password is being them); answers the grants
/// used.
#[must_use]
pub fn covers_all_of(world: &dyn World, caller: &Actor, other: Uid) -> Option<Vec<Seq>> {
    let each = effective(world, other).into_iter().map(|grant| covers(world, caller, &grant.permission));
    each.collect::<Option<Vec<_>>>().map(|used| used.concat())
}

/// Depth of what is made by these grants: one more than that of the deepest.
#[must_use]
pub fn depth_by(world: &dyn World, via: &[Seq]) -> u32 {
    via.iter().map(|seq| world.depth(*seq)).max().unwrap_or(0).saturating_add(1)
}

/// The organisation's policy on how far rights are passed on.
///
/// # Errors
/// When what is given would lie deeper than it allows.
pub fn check_depth(world: &dyn World, via: &[Seq]) -> Result<(), Refusal> {
    let Some(allowed) = Policy::of(world).and_then(|policy| policy.delegation_depth) else { return Ok(()) };
    let depth = depth_by(world, via);
    if depth <= allowed {
        return Ok(());
    }
    Err(Refusal::Impossible {
        what: format!(
            "the rights used were passed on to you, and giving them on would make a chain of {depth} grants: the organisation's policy allows {allowed}"
        ),
        hint: "ask somebody nearer to the administrators to give it; see `mcpctl describe policy organisation`"
            .to_owned(),
    })
}

/// A right of a token's creator as far as it lies inside a project and may be a token's at all (C4): the project itself, what
/// lives in it, and `view` and `run` on the servers that it has now.
#[must_use]
pub fn inside_project(permission: &Permission, project: &Name, servers: &[&Name]) -> Vec<Permission> {
    let Permission::Resource { role, resource, name } = permission else { return Vec::new() };
    let mut inside = Vec::new();
    let itself = ResourceName::Kind(Kind::Project);
    if resource.includes(itself) && *role != Role::Create && name.as_ref().is_none_or(|name| name == project) {
        inside.push(Permission::named(*role, Kind::Project, project.clone()));
    }
    for kind in Kind::ALL.iter().filter(|kind| kind.scope() == Scope::Project) {
        let living = ResourceName::Kind(*kind);
        if resource.includes(living) {
            let roles = delegable_roles(*role, *kind).into_iter();
            inside.extend(roles.map(|role| Permission::Resource { role, resource: living, name: name.clone() }));
        }
    }
    for served in [ResourceName::Kind(Kind::Server), ResourceName::Instances] {
        let roles: Vec<Role> =
            [Verb::View, Verb::Run].into_iter().filter(|verb| role.holds(*verb)).map(Role::of).collect();
        let meant = servers.iter().filter(|server| name.as_ref().is_none_or(|name| name == **server));
        for server in meant.filter(|_| resource.includes(served)) {
            let of_server = |role| Permission::Resource { role, resource: served, name: Some((*server).clone()) };
            inside.extend(roles.iter().copied().map(of_server));
        }
    }
    inside
}

/// What is left of a role on a kind for a token: none makes tokens.
fn delegable_roles(role: Role, kind: Kind) -> Vec<Role> {
    match role {
        Role::Edit if kind == Kind::McpToken => vec![Role::View, Role::Delete],
        Role::Create if kind == Kind::McpToken => Vec::new(),
        _ => vec![role],
    }
}

/// The right that opening a project's endpoint takes.
#[must_use]
pub const fn opens(project: Name) -> Permission {
    Permission::named(Role::Run, Kind::Project, project)
}
