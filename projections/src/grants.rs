//! Who holds what: grants by subject, and the groups of each subject.
use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use mcpctl_core::access::{Gist, Grant, Membership, Permission, Wanted};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::SubjectRef;
use mcpctl_core::object::Object;

/// The grants in force. Derived from objects alone; a grant keeps the seq and grantor of the event that first made it.
#[derive(Clone, Default)]
pub(crate) struct Grants {
    pub(crate) by_subject: OrdMap<Uid, Held>,
    pub(crate) groups: OrdMap<Uid, Arc<[Membership]>>,
}

/// The grants of one subject, in their order.
#[derive(Clone, Default)]
pub(crate) struct Held {
    grants: Arc<[Grant]>,
    gists: Arc<[Gist]>,
}

impl Held {
    /// The first grant that answers a question with yes.
    pub(crate) fn answering(&self, wanted: &Wanted<'_>) -> Option<&Grant> {
        wanted.first(&self.grants, &self.gists)
    }
}

impl From<Vec<Grant>> for Held {
    fn from(grants: Vec<Grant>) -> Self {
        let gists = grants.iter().map(|grant| Gist::of(&grant.permission)).collect();
        Self { grants: grants.into(), gists }
    }
}

impl std::ops::Deref for Held {
    type Target = [Grant];
    fn deref(&self) -> &[Grant] {
        &self.grants
    }
}

/// What an event took away, and from whom.
#[derive(Default)]
pub(crate) struct Ended {
    pub(crate) grants: Vec<(Uid, Grant)>,
    pub(crate) memberships: Vec<(Uid, Membership)>,
    /// Whether it gave anything, too.
    pub(crate) gave: bool,
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
    ) -> Ended {
        let mut ended = Ended::default();
        let Some(source) = before.or(after).map(|object| object.meta.uid) else { return ended };
        let had = before.map(|object| held(object, credential)).unwrap_or_default();
        let has = after.map(|object| held(object, credential)).unwrap_or_default();
        let subjects: BTreeSet<Uid> = had.difference(&has).chain(has.difference(&had)).map(|(uid, _)| *uid).collect();
        for subject in subjects {
            let wanted = has.iter().filter(|(uid, _)| *uid == subject).map(|(_, permission)| permission);
            let lost = self.set(subject, source, wanted, cause);
            ended.gave |= has.difference(&had).any(|(uid, _)| *uid == subject);
            ended.grants.extend(lost.into_iter().map(|grant| (subject, grant)));
        }
        ended.memberships = self.set_members(before, after, cause);
        let members = |object: Option<&Arc<Object>>| object.map(member_uids).unwrap_or_default();
        ended.gave |= !members(after).is_subset(&members(before));
        ended
    }

    /// Answers the grants of that source which are over.
    fn set<'p>(
        &mut self,
        subject: Uid,
        source: Uid,
        wanted: impl Iterator<Item = &'p Permission>,
        cause: &Cause<'_>,
    ) -> Vec<Grant> {
        let old = self.by_subject.get(&subject).cloned().unwrap_or_default();
        let (mut lost, mut grants): (Vec<Grant>, Vec<Grant>) =
            old.iter().cloned().partition(|grant| grant.source == source);
        for permission in wanted {
            let kept = lost.iter().position(|grant| grant.permission == *permission);
            grants.push(kept.map(|kept| lost.swap_remove(kept)).unwrap_or_else(|| Grant {
                permission: permission.clone(),
                seq: cause.seq,
                source,
                grantor: cause.actor.clone(),
            }));
        }
        if grants.is_empty() {
            self.by_subject.remove(&subject);
        } else {
            grants.sort_by(Grant::in_order);
            self.by_subject.insert(subject, grants.into());
        }
        lost
    }

    /// Answers the memberships that are over.
    fn set_members(
        &mut self,
        before: Option<&Arc<Object>>,
        after: Option<&Arc<Object>>,
        cause: &Cause<'_>,
    ) -> Vec<(Uid, Membership)> {
        let were = before.map(member_uids).unwrap_or_default();
        let are = after.map(member_uids).unwrap_or_default();
        let mut ended = Vec::new();
        let Some(group) = before.or(after).map(|object| object.meta.uid) else { return ended };
        for subject in were.difference(&are) {
            self.edit_groups(*subject, |groups| {
                ended.extend(groups.extract_if(.., |member| member.group == group).map(|member| (*subject, member)));
            });
        }
        for subject in are.difference(&were) {
            let member = Membership { group, seq: cause.seq, grantor: cause.actor.clone() };
            self.edit_groups(*subject, |groups| groups.push(member));
        }
        ended
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
pub(crate) fn held(object: &Arc<Object>, credential: &dyn Fn(&Digest) -> Option<Uid>) -> BTreeSet<(Uid, Permission)> {
    let given = object.body.grants(&object.meta.name).into_iter();
    let to_others =
        given.filter_map(|(subject, permission)| Some((resolve(object, &subject, credential)?, permission)));
    let to_itself = object.body.own_grants(&object.meta).into_iter().map(|permission| (object.meta.uid, permission));
    to_others.chain(to_itself).collect()
}

pub(crate) fn member_uids(object: &Arc<Object>) -> BTreeSet<Uid> {
    let by_hand = object.body.members().into_iter().filter_map(|member| resolve(object, &member, &|_| None));
    by_hand.chain(object.body.claimed()).collect()
}

/// A token is found by its digest; everybody else is whom the object meant when it was applied.
fn resolve(object: &Object, subject: &SubjectRef, credential: &dyn Fn(&Digest) -> Option<Uid>) -> Option<Uid> {
    match subject {
        SubjectRef::McpToken { name } => credential(&name.0),
        _ => object.subject_uid(subject),
    }
}
