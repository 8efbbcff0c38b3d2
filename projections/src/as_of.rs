//! The state as it was at a seq: what is in force now and was then, and of what is over the part that held then.
use std::collections::BTreeSet;
use std::sync::Arc;

use mcpctl_core::access::{Grant, Membership, Permission};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::Name;
use mcpctl_core::object::Object;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;

use crate::grown::Grown;
use crate::state::State;

/// A view of the past. Making one costs next to nothing; each object that is asked for is rebuilt once.
pub struct AsOf<'s> {
    state: &'s State,
    seq: Seq,
    objects: Grown<Uid, Option<Arc<Object>>>,
    grants: Grown<Uid, Vec<Grant>>,
    memberships: Grown<Uid, Vec<Membership>>,
}

impl<'s> AsOf<'s> {
    pub(crate) fn new(state: &'s State, seq: Seq) -> Self {
        let seq = seq.min(state.seq());
        Self { state, seq, objects: Grown::default(), grants: Grown::default(), memberships: Grown::default() }
    }

    /// Moment of the last event of that state: what has a time to live is looked at from there.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        self.state.time_of(self.seq).unwrap_or_default()
    }

    /// Those of now and of the past that were so at that seq, by uid.
    fn those(&self, uids: BTreeSet<Uid>, so: impl Fn(&Object) -> bool) -> Vec<&Arc<Object>> {
        uids.into_iter().filter_map(|uid| self.by_uid(uid)).filter(|object| so(object)).collect()
    }
}

fn full_name(object: &Object) -> (Option<Uid>, &Name) {
    (object.meta.project.as_ref().map(|project| project.uid), &object.meta.name)
}

impl World for AsOf<'_> {
    fn seq(&self) -> Seq {
        self.seq
    }
    fn by_name(&self, kind: Kind, project: Option<Uid>, name: &Name) -> Option<&Arc<Object>> {
        let now = self.state.by_name(kind, project, name).and_then(|object| self.by_uid(object.meta.uid));
        now.or_else(|| self.by_uid(self.state.history.named_at(kind, &(project, name.clone()), self.seq)?))
    }
    fn by_uid(&self, uid: Uid) -> Option<&Arc<Object>> {
        let now = self.state.by_uid(uid);
        if let Some(object) = now.filter(|object| object.meta.resource_version <= self.seq) {
            return Some(object);
        }
        self.objects.get_or_make(uid, || self.state.history.at(uid, self.seq, now)).as_ref()
    }
    fn all<'a>(&'a self, kind: Kind) -> Box<dyn Iterator<Item = &'a Arc<Object>> + 'a> {
        let now = self.state.all(kind).filter_map(|object| self.by_uid(object.meta.uid));
        let gone = self.state.history.all_named_at(kind, self.seq).filter_map(|uid| self.by_uid(uid));
        let mut found: Vec<&Arc<Object>> = now.chain(gone).collect();
        found.sort_by(|a, b| full_name(a).cmp(&full_name(b)));
        Box::new(found.into_iter())
    }
    fn referrers(&self, uid: Uid) -> Vec<&Arc<Object>> {
        let now = self.state.referrers(uid).into_iter().map(|object| object.meta.uid);
        let uids = now.chain(self.state.history.former_referrers(uid)).collect();
        self.those(uids, |object| object.refs.iter().any(|r| r.uid == uid))
    }
    fn grants(&self, subject: Uid) -> &[Grant] {
        let now = self.state.grants(subject);
        let so_far = &now[..now.partition_point(|grant| grant.seq <= self.seq)];
        let ended = || {
            let mut ended = self.state.history.grants_at(subject, self.seq);
            if !ended.is_empty() {
                ended.extend_from_slice(so_far);
                ended.sort_by(Grant::in_order);
            }
            ended
        };
        let held = self.grants.get_or_make(subject, ended);
        if held.is_empty() { so_far } else { held }
    }
    fn depth(&self, grant: Seq) -> u32 {
        // A fact about an event, whenever it is asked.
        self.state.depth(grant)
    }
    fn holding(&self, wanted: &dyn Fn(&Permission) -> bool) -> Vec<Uid> {
        let still = |grants: &[Grant]| grants.iter().any(|grant| grant.seq <= self.seq && wanted(&grant.permission));
        let now = self.state.grants.by_subject.iter().filter(|(_, grants)| still(grants)).map(|(uid, _)| *uid);
        let mut all: Vec<Uid> = now.chain(self.state.history.held_at(self.seq, wanted)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
    fn memberships(&self, subject: Uid) -> &[Membership] {
        let now = self.state.memberships(subject);
        let held = || {
            let mut held = self.state.history.memberships_at(subject, self.seq);
            held.extend(now.iter().filter(|member| member.seq <= self.seq).cloned());
            held.sort_by_key(|member| member.group);
            held
        };
        self.memberships.get_or_make(subject, held)
    }
    fn credential(&self, digest: &Digest) -> Option<Uid> {
        let presents = |object: &&Arc<Object>| object.body.credentials().iter().any(|c| c.digest == *digest);
        let now = self.state.credential(digest).and_then(|uid| self.by_uid(uid)).filter(presents);
        // A credential that is over is rarely asked for, and is looked for among all.
        let found = now.or_else(|| Kind::ALL.iter().flat_map(|kind| self.all(*kind)).find(presents));
        found.map(|object| object.meta.uid)
    }
    fn owned_by(&self, owner: Uid) -> Vec<&Arc<Object>> {
        let now = self.state.owned_by(owner).into_iter().map(|object| object.meta.uid);
        let uids = now.chain(self.state.history.formerly_owned(owner)).collect();
        self.those(uids, |object| object.body.owner() == Some(owner))
    }
}
