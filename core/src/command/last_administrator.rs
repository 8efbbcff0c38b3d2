//! C9: no command may leave nobody who can administer. Looked at in the state after the batch, whatever the command was.
//!
//! An administrator is a person who can sign in and holds two rights, directly or through groups: `edit rbac`, on every
//! object of it, and the operation `bind`. From these two every other right can be given (docs/decisions/0016). A service
//! account is none: nobody comes in as one without a person behind it.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Asking, Draft};
use crate::access::{Permission, ResourceName, Role, effective};
use crate::ids::Uid;
use crate::kinds::Kind;
use crate::object::Object;
use crate::refusal::Refusal;
use crate::world::World;

/// The rights that make an administrator: whoever has both can give every other.
const NEEDED: [fn(&Permission) -> bool; 2] = [edits_rbac, binds];

fn edits_rbac(permission: &Permission) -> bool {
    matches!(permission, Permission::Resource { role: Role::Edit, resource, name: None }
        if resource.includes(ResourceName::Kind(Kind::Rbac)))
}

fn binds(permission: &Permission) -> bool {
    matches!(permission, Permission::Operation { action, .. } if action == "*" || action == "bind")
}

fn matters(permission: &Permission) -> bool {
    NEEDED.iter().any(|needed| needed(permission))
}

/// Whether a subject is an administrator in a state.
#[must_use]
pub fn is_administrator(world: &dyn World, subject: Uid) -> bool {
    Aftermath { world, changed: BTreeMap::new() }.administers(subject)
}

/// Refuses drafts after which nobody could administer any more, where somebody could before.
pub(super) fn check(world: &dyn World, asking: &Asking<'_>, drafts: &[Draft]) -> Result<(), Refusal> {
    if !drafts.iter().any(|draft| world.by_uid(draft.object).is_some_and(|object| carries(object))) {
        return Ok(());
    }
    let after = Aftermath::of(world, asking, drafts);
    if !after.takes_away() || after.administers(asking.caller.uid) || after.somebody_administers() {
        return Ok(());
    }
    if !(Aftermath { world, changed: BTreeMap::new() }).somebody_administers() {
        return Ok(());
    }
    Err(Refusal::Impossible {
        what: "nobody could administer after this: no person who can sign in would hold edit rbac and run:bind"
            .to_owned(),
        hint:
            "make somebody else an administrator first; see `mcpctl who-can edit rbac`, or `mcpctl recover admin` on \
               the machine itself"
                .to_owned(),
    })
}

/// Whether what an administrator needs may hang on this object at all.
fn carries(object: &Object) -> bool {
    object.body.can_sign_in()
        || !object.body.members().is_empty()
        || !object.body.claimed().is_empty()
        || object.body.grants(&object.meta.name).iter().any(|(_, permission)| matters(permission))
}

/// The state after some drafts, as far as it decides who administers.
struct Aftermath<'w> {
    world: &'w dyn World,
    /// Objects that the drafts are about, as they leave them; `None` when they are gone.
    changed: BTreeMap<Uid, Option<Arc<Object>>>,
}

impl<'w> Aftermath<'w> {
    fn of(world: &'w dyn World, asking: &Asking<'_>, drafts: &[Draft]) -> Self {
        let mut after = Self { world, changed: BTreeMap::new() };
        for draft in drafts {
            let before = after.object(draft.object).cloned();
            let header = draft.header(asking.next_place(world));
            let payload = &draft.event.payload;
            let folded = draft.kind.untyped().fold(before.as_deref(), &header, payload, draft.project.clone());
            // What does not fold is refused where it is appended; here it counts as gone, which is the safe side.
            after.changed.insert(draft.object, folded.ok().flatten().map(Arc::new));
        }
        after
    }

    fn object(&self, uid: Uid) -> Option<&Arc<Object>> {
        self.changed.get(&uid).map_or_else(|| self.world.by_uid(uid), Option::as_ref)
    }

    /// Whether anything that makes an administrator is taken from anybody.
    fn takes_away(&self) -> bool {
        self.changed
            .iter()
            .any(|(uid, after)| self.world.by_uid(*uid).is_some_and(|before| self.loses(before, after.as_deref())))
    }

    fn loses(&self, before: &Object, after: Option<&Object>) -> bool {
        let uid = before.meta.uid;
        let holds_some = |holder| effective(self.world, holder).iter().any(|grant| matters(&grant.permission));
        let signs_in = after.is_some_and(|object| object.body.can_sign_in());
        if before.body.can_sign_in() && !signs_in && holds_some(uid) {
            return true;
        }
        let (were, are) = (member_uids(before), after.map(member_uids).unwrap_or_default());
        if !were.is_subset(&are) && holds_some(uid) {
            return true;
        }
        let (had, has) = (given(before), after.map(given).unwrap_or_default());
        !had.is_subset(&has)
    }

    /// Whether somebody administers after all.
    fn somebody_administers(&self) -> bool {
        let holders = self.world.holding(&binds).into_iter();
        let new = self.changed.values().flatten().flat_map(|object| given(object)).map(|(uid, _)| uid);
        let people = holders.chain(new).flat_map(|holder| self.people(holder));
        people.into_iter().any(|person| self.administers(person))
    }

    /// A holder itself, or the members of a group.
    fn people(&self, holder: Uid) -> BTreeSet<Uid> {
        match self.object(holder).map(|object| member_uids(object)) {
            Some(members) if !members.is_empty() => members,
            _ => BTreeSet::from([holder]),
        }
    }

    fn administers(&self, subject: Uid) -> bool {
        if !self.object(subject).is_some_and(|object| object.body.can_sign_in()) {
            return false;
        }
        let holders: Vec<Uid> = self.groups(subject).into_iter().chain([subject]).collect();
        NEEDED.iter().all(|needed| holders.iter().any(|holder| self.holds(*holder, *needed)))
    }

    fn groups(&self, subject: Uid) -> Vec<Uid> {
        let still = self.world.memberships(subject).iter().map(|member| member.group);
        let still = still.filter(|group| !self.changed.contains_key(group));
        let changed = self.changed.iter().filter_map(|(uid, object)| Some((uid, object.as_ref()?)));
        let now = changed.filter(|(_, object)| member_uids(object).contains(&subject)).map(|(uid, _)| *uid);
        still.chain(now).collect()
    }

    fn holds(&self, holder: Uid, needed: fn(&Permission) -> bool) -> bool {
        let mut still = self.world.grants(holder).iter().filter(|grant| !self.changed.contains_key(&grant.source));
        let mut now = self.changed.values().flatten().flat_map(|object| given(object));
        still.any(|grant| needed(&grant.permission))
            || now.any(|(subject, permission)| subject == holder && needed(&permission))
    }
}

/// What matters of that which an object gives, and to whom.
fn given(object: &Object) -> BTreeSet<(Uid, Permission)> {
    let all = object.body.grants(&object.meta.name).into_iter().filter(|(_, permission)| matters(permission));
    all.filter_map(|(subject, permission)| Some((object.subject_uid(&subject)?, permission))).collect()
}

fn member_uids(object: &Object) -> BTreeSet<Uid> {
    let by_hand = object.body.members().into_iter().filter_map(|member| object.subject_uid(&member));
    by_hand.chain(object.body.claimed()).collect()
}
