//! Who holds what: grants by subject, and the groups of each subject.
use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use mcpctl_core::access::{Grant, Membership, Permission};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::{Kind, SubjectRef};
use mcpctl_core::object::Object;

/// The grants in force. Derived from objects alone; a grant keeps the seq and grantor of the event that first made it.
#[derive(Clone, Default)]
pub(crate) struct Grants {
    pub(crate) by_subject: OrdMap<Uid, Arc<[Grant]>>,
    pub(crate) groups: OrdMap<Uid, Arc<[Membership]>>,
}

/// Where a change comes from: the event and its actor.
pub(crate) struct Cause<'a> {
    pub(crate) seq: Seq,
    pub(crate) actor: &'a Actor,
}

impl Grants {
    pub(crate) fn replace(
        &mut self,
        before: Option<&Arc<Object>>,
        after: Option<&Arc<Object>>,
        cause: &Cause<'_>,
        credential: &dyn Fn(&Digest) -> Option<Uid>,
    ) {
        let Some(source) = before.or(after).map(|object| object.meta.uid) else { return };
        let had = before.map(|object| held(object, credential)).unwrap_or_default();
        let has = after.map(|object| held(object, credential)).unwrap_or_default();
        let subjects: BTreeSet<Uid> = had.difference(&has).chain(has.difference(&had)).map(|(uid, _)| *uid).collect();
        for subject in subjects {
            let wanted = has.iter().filter(|(uid, _)| *uid == subject).map(|(_, permission)| permission);
            self.set(subject, source, wanted, cause);
        }
        self.set_members(before, after, cause);
    }

    fn set<'p>(&mut self, subject: Uid, source: Uid, wanted: impl Iterator<Item = &'p Permission>, cause: &Cause<'_>) {
        let old = self.by_subject.get(&subject).cloned().unwrap_or_default();
        let mut grants: Vec<Grant> = old.iter().filter(|grant| grant.source != source).cloned().collect();
        for permission in wanted {
            let kept = old.iter().find(|grant| grant.source == source && grant.permission == *permission);
            grants.push(kept.cloned().unwrap_or_else(|| Grant {
                permission: permission.clone(),
                seq: cause.seq,
                source,
                grantor: cause.actor.clone(),
            }));
        }
        if grants.is_empty() {
            self.by_subject.remove(&subject);
        } else {
            grants.sort_by(|a, b| (a.seq, a.source, &a.permission).cmp(&(b.seq, b.source, &b.permission)));
            self.by_subject.insert(subject, grants.into());
        }
    }

    fn set_members(&mut self, before: Option<&Arc<Object>>, after: Option<&Arc<Object>>, cause: &Cause<'_>) {
        let were = before.map(member_uids).unwrap_or_default();
        let are = after.map(member_uids).unwrap_or_default();
        let Some(group) = before.or(after).map(|object| object.meta.uid) else { return };
        for subject in were.difference(&are) {
            self.edit_groups(*subject, |groups| groups.retain(|member| member.group != group));
        }
        for subject in are.difference(&were) {
            let member = Membership { group, seq: cause.seq, grantor: cause.actor.clone() };
            self.edit_groups(*subject, |groups| groups.push(member));
        }
    }

    fn edit_groups(&mut self, subject: Uid, edit: impl FnOnce(&mut Vec<Membership>)) {
        let mut groups = self.groups.get(&subject).map(|groups| groups.to_vec()).unwrap_or_default();
        edit(&mut groups);
        groups.sort_unstable_by_key(|member| member.group);
        if groups.is_empty() {
            self.groups.remove(&subject);
        } else {
            self.groups.insert(subject, groups.into());
        }
    }
}

/// What an object gives, and to whom by identity.
fn held(object: &Arc<Object>, credential: &dyn Fn(&Digest) -> Option<Uid>) -> BTreeSet<(Uid, Permission)> {
    let given = object.body.grants(&object.meta.name).into_iter();
    let to_others =
        given.filter_map(|(subject, permission)| Some((resolve(object, &subject, credential)?, permission)));
    let to_itself = object.body.own_grants(&object.meta).into_iter().map(|permission| (object.meta.uid, permission));
    to_others.chain(to_itself).collect()
}

fn member_uids(object: &Arc<Object>) -> BTreeSet<Uid> {
    object.body.members().iter().filter_map(|member| resolve(object, member, &|_| None)).collect()
}

/// A subject's identity is what its name meant when the object was applied, whatever has that name now.
fn resolve(object: &Object, subject: &SubjectRef, credential: &dyn Fn(&Digest) -> Option<Uid>) -> Option<Uid> {
    let (kind, name) = match subject {
        SubjectRef::User { name } => (Kind::User, name.name()),
        SubjectRef::Group { name } => (Kind::Group, name.name()),
        SubjectRef::ServiceAccount { name } => (Kind::ServiceAccount, name.name()),
        SubjectRef::McpToken { name } => return credential(&name.0),
    };
    object.refs.iter().find(|r| r.kind == kind && r.name == *name).map(|r| r.uid)
}
