//! The ceilings: nobody makes more rights than they hold (semantics §1, C1 to C4 and C6).
use crate::access::{Ask, Permission, Role, Verb, covers, decide, effective, within};
use crate::actor::Actor;
use crate::erased::ResolvedRef;
use crate::ids::{Seq, Uid};
use crate::kinds::{Kind, SubjectRef};
use crate::name::Name;
use crate::object::Object;
use crate::reference::Ref;
use crate::refusal::Refusal;
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

/// Whether the caller holds all that another subject holds (setting somebody's password is being them).
#[must_use]
pub fn covers_all_of(world: &dyn World, caller: &Actor, other: Uid) -> bool {
    effective(world, other).iter().all(|grant| covers(world, caller, &grant.permission).is_some())
}

/// The permissions of a creator that a `--rbac clone` token starts from, without repeats.
#[must_use]
pub fn clone_of(world: &dyn World, owner: Uid) -> Vec<Permission> {
    let mut permissions: Vec<Permission> = effective(world, owner)
        .into_iter()
        .map(|grant| grant.permission)
        .filter(|permission| matches!(permission, Permission::Resource { .. }))
        .collect();
    permissions.sort();
    permissions.dedup();
    permissions
}

/// The right that opening a project's endpoint takes.
#[must_use]
pub const fn opens(project: Name) -> Permission {
    Permission::named(Role::Run, Kind::Project, project)
}
