//! What is over: former versions of objects, objects that are gone, grants and memberships that ended.
//! What is in force is not kept here a second time; together the two answer for every seq (`as_of.rs`).
use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use mcpctl_core::access::{Grant, Membership, Permission};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::Name;
use mcpctl_core::object::{Meta, Object, ProjectName};
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actors::Actors;
use crate::chain::{Chain, Former};
use crate::grants::Ended;
use crate::tables::NameKey;
use crate::times::Times;

/// All that is over.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) times: Times,
    actors: Actors,
    chains: OrdMap<Uid, Arc<Chain>>,
    gone: OrdMap<Uid, Arc<Gone>>,
    names: OrdMap<Kind, OrdMap<NameKey, Vector<Uid>>>,
    grants: OrdMap<Uid, Vector<EndedGrant>>,
    memberships: OrdMap<Uid, Vector<EndedMembership>>,
    /// Target and former referrer; owner and former possession.
    referred: OrdSet<(Uid, Uid)>,
    owned: OrdSet<(Uid, Uid)>,
}

/// What stays of an object that is gone, beside its versions.
#[derive(Serialize, Deserialize)]
struct Gone {
    kind: Kind,
    name: Name,
    project: Option<ProjectName>,
    created_at: Timestamp,
    created_by: u64,
    at: Seq,
}

#[derive(Clone, Serialize, Deserialize)]
struct EndedGrant {
    #[serde(with = "crate::permission_image")]
    permission: Permission,
    from: Seq,
    until: Seq,
    source: Uid,
    grantor: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct EndedMembership {
    group: Uid,
    from: Seq,
    until: Seq,
    grantor: u64,
}

impl History {
    /// Notes what an event ended. `at` is its seq.
    pub(crate) fn push(&mut self, at: Seq, before: Option<&Arc<Object>>, after: Option<&Arc<Object>>, ended: Ended) {
        if let Some(before) = before {
            self.outdated(at, before, after.map(|object| &**object));
        }
        for (subject, grant) in ended.grants {
            let grantor = self.actors.number(&grant.grantor);
            let Grant { permission, seq: from, source, .. } = grant;
            let ended = EndedGrant { permission, from, until: at, source, grantor };
            self.grants.entry(subject).or_default().push_back(ended);
        }
        for (subject, member) in ended.memberships {
            let grantor = self.actors.number(&member.grantor);
            let ended = EndedMembership { group: member.group, from: member.seq, until: at, grantor };
            self.memberships.entry(subject).or_default().push_back(ended);
        }
    }

    fn outdated(&mut self, at: Seq, before: &Object, after: Option<&Object>) {
        let Meta { uid, resource_version, updated_by, .. } = &before.meta;
        let by = self.actors.number(updated_by);
        let content = before.body.content(&before.refs);
        let next = after.map(|object| object.body.content(&object.refs));
        Arc::make_mut(self.chains.entry(*uid).or_default()).push(*resource_version, by, &content, next.as_deref());
        self.unlink(before, after);
        if after.is_none() {
            self.bury(at, before);
        }
    }

    fn unlink(&mut self, before: &Object, after: Option<&Object>) {
        let uid = before.meta.uid;
        let still: BTreeSet<Uid> = after.iter().flat_map(|object| object.refs.iter()).map(|r| r.uid).collect();
        let lost = before.refs.iter().filter(|r| !still.contains(&r.uid));
        self.referred.extend(lost.map(|r| (r.uid, uid)));
        let owner = before.body.owner();
        if owner != after.and_then(|object| object.body.owner()) {
            self.owned.extend(owner.map(|owner| (owner, uid)));
        }
    }

    fn bury(&mut self, at: Seq, object: &Object) {
        let Meta { uid, kind, name, project, created_at, created_by, .. } = object.meta.clone();
        let created_by = self.actors.number(&created_by);
        let key = (project.as_ref().map(|project| project.uid), name.clone());
        self.names.entry(kind).or_default().entry(key).or_default().push_back(uid);
        self.gone.insert(uid, Arc::new(Gone { kind, name, project, created_at, created_by, at }));
    }

    /// The events of an object that is gone, or of its former versions, those after `from` and up to `to`, in order.
    pub(crate) fn seqs_between(&self, uid: Uid, from: Seq, to: Seq) -> impl Iterator<Item = Seq> {
        let former = self.chains.get(&uid).into_iter().flat_map(move |chain| chain.seqs_between(from, to));
        let end = self.gone.get(&uid).map(|gone| gone.at).filter(|at| from < *at && *at <= to);
        former.chain(end)
    }

    /// Objects that ended after a seq.
    pub(crate) fn gone_since(&self, seq: Seq) -> impl Iterator<Item = Uid> {
        self.gone.iter().filter(move |(_, gone)| gone.at > seq).map(|(uid, _)| *uid)
    }

    /// Objects that had a name and are gone, oldest first.
    pub(crate) fn named(&self, kind: Kind, name: &NameKey) -> impl Iterator<Item = Uid> {
        self.names.get(&kind).and_then(|names| names.get(name)).into_iter().flatten().copied()
    }

    /// Of those that are gone now, the last to be created with a name by a seq.
    pub(crate) fn named_at(&self, kind: Kind, name: &NameKey, seq: Seq) -> Option<Uid> {
        self.last_by(self.names.get(&kind)?.get(name)?, seq)
    }

    fn last_by(&self, uids: &Vector<Uid>, seq: Seq) -> Option<Uid> {
        let first = |uid: &Uid| self.chains.get(uid).map_or(Seq(u64::MAX), |chain| chain.first());
        let next = uids.binary_search_by(|uid| first(uid).cmp(&seq)).map_or_else(|next| next, |found| found + 1);
        uids.get(next.checked_sub(1)?).copied()
    }

    /// The same for each name of a kind.
    pub(crate) fn all_named_at(&self, kind: Kind, seq: Seq) -> impl Iterator<Item = Uid> {
        self.names
            .get(&kind)
            .into_iter()
            .flat_map(|names| names.values())
            .filter_map(move |uids| self.last_by(uids, seq))
    }

    /// The object as it was after a seq, when that is not what it is now. `now` is what it is now, if it is.
    pub(crate) fn at(&self, uid: Uid, seq: Seq, now: Option<&Arc<Object>>) -> Option<Arc<Object>> {
        let gone = self.gone.get(&uid);
        if gone.is_some_and(|gone| gone.at <= seq) {
            return None;
        }
        let content_now = || now.map(|object| object.body.content(&object.refs)).unwrap_or_default();
        let former = self.chains.get(&uid)?.at(seq, content_now)?;
        let meta = self.meta(uid, &former, now, gone.map(|gone| &**gone))?;
        let (body, refs) = meta.kind.untyped().of_content(&former.content)?;
        Some(Arc::new(Object { meta, body, refs }))
    }

    fn meta(&self, uid: Uid, former: &Former, now: Option<&Arc<Object>>, gone: Option<&Gone>) -> Option<Meta> {
        let (updated_at, updated_by) = (self.times.of(former.from)?, self.actors.of(former.by)?);
        let resource_version = former.from;
        if let Some(object) = now {
            return Some(Meta { resource_version, updated_at, updated_by, ..object.meta.clone() });
        }
        let Gone { kind, name, project, created_at, created_by, .. } = gone?;
        let (kind, name, project, created_at) = (*kind, name.clone(), project.clone(), *created_at);
        let created_by = self.actors.of(*created_by)?;
        Some(Meta { uid, kind, name, project, resource_version, created_at, created_by, updated_at, updated_by })
    }

    /// Grants to a subject that were in force at a seq and ended since.
    pub(crate) fn grants_at(&self, subject: Uid, seq: Seq) -> Vec<Grant> {
        let ended = self.grants.get(&subject).into_iter().flatten();
        let held = ended.filter(|grant| grant.from <= seq && seq < grant.until);
        held.filter_map(|grant| {
            let EndedGrant { permission, from, source, grantor, .. } = grant.clone();
            Some(Grant { permission, seq: from, source, grantor: self.actors.of(grantor)? })
        })
        .collect()
    }

    /// Memberships of a subject that were in force at a seq and ended since.
    pub(crate) fn memberships_at(&self, subject: Uid, seq: Seq) -> Vec<Membership> {
        let ended = self.memberships.get(&subject).into_iter().flatten();
        let held = ended.filter(|member| member.from <= seq && seq < member.until);
        held.filter_map(|member| {
            Some(Membership { group: member.group, seq: member.from, grantor: self.actors.of(member.grantor)? })
        })
        .collect()
    }

    /// From when until when grants to a subject were in force that ended since.
    pub(crate) fn spans_of_grants(&self, subject: Uid) -> impl Iterator<Item = (Seq, Seq)> {
        self.grants.get(&subject).into_iter().flatten().map(|grant| (grant.from, grant.until))
    }

    /// The same of memberships, with the group of each.
    pub(crate) fn spans_of_memberships(&self, subject: Uid) -> impl Iterator<Item = (Uid, Seq, Seq)> {
        self.memberships.get(&subject).into_iter().flatten().map(|member| (member.group, member.from, member.until))
    }

    /// Every subject to which a grant of a wanted permission was in force at a seq and ended since.
    pub(crate) fn held_at(&self, seq: Seq, wanted: &dyn Fn(&Permission) -> bool) -> impl Iterator<Item = Uid> {
        let held = move |grant: &EndedGrant| grant.from <= seq && seq < grant.until && wanted(&grant.permission);
        self.grants.iter().filter(move |(_, ended)| ended.iter().any(held)).map(|(uid, _)| *uid)
    }

    /// Those that referred to an object and don't any more.
    pub(crate) fn former_referrers(&self, uid: Uid) -> impl Iterator<Item = Uid> {
        beside(&self.referred, uid)
    }

    /// Those that an owner had and has not any more.
    pub(crate) fn formerly_owned(&self, owner: Uid) -> impl Iterator<Item = Uid> {
        beside(&self.owned, owner)
    }
}

fn beside(pairs: &OrdSet<(Uid, Uid)>, of: Uid) -> impl Iterator<Item = Uid> {
    pairs.range((of, Uid::fixed(0))..=(of, Uid::fixed(u128::MAX))).map(|(_, other)| *other)
}
