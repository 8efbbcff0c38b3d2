//! The state at a seq: all projections together, immutable once published, and how one event changes it.
use std::sync::Arc;

use imbl::OrdMap;
use mcpctl_core::access::{Grant, Membership, Permission, Wanted, depth_by};
use mcpctl_core::erased::FoldError;
use mcpctl_core::ids::{Digest, RequestId, Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::Name;
use mcpctl_core::object::{Object, ProjectName};
use mcpctl_core::record::{AuditAnchor, AuthzMode, Header, Record};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;

use crate::as_of::AsOf;
use crate::grants::{Cause, Grants};
use crate::history::History;
use crate::tables::Tables;

/// How many request ids are remembered for retries: the last ones.
const REQUESTS_MAX: usize = 100_000;

/// The state at a seq. Cloning shares what did not change, so that publishing costs next to nothing.
#[derive(Clone, Default)]
pub struct State {
    seq: Seq,
    last_at: Timestamp,
    head: Digest,
    pub(crate) tables: Tables,
    pub(crate) grants: Grants,
    pub(crate) history: History,
    pub(crate) requests: OrdMap<(Uid, RequestId), (Seq, Seq)>,
    request_order: OrdMap<Seq, (Uid, RequestId)>,
    pub(crate) due: OrdMap<(Timestamp, Uid), ()>,
    /// The last place of the audit log that an event names, and the seq of that event.
    pub(crate) anchored: Option<(Seq, AuditAnchor)>,
    /// How many grants lead to those that an event made; events that are not in here made none, or at depth 0.
    pub(crate) depths: OrdMap<Seq, u32>,
}

/// What an event changed, for those who follow.
pub struct Fold {
    /// The object before.
    pub before: Option<Arc<Object>>,
    /// The object after.
    pub after: Option<Arc<Object>>,
}

impl State {
    /// Moment of the last event; decisions are never made before it.
    #[must_use]
    pub const fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Hash of the last record.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// Where the audit log stood when it was last written down, and the seq of the event that says so.
    #[must_use]
    pub const fn anchored(&self) -> Option<(Seq, AuditAnchor)> {
        self.anchored
    }

    /// Folds one event.
    ///
    /// # Errors
    /// When it does not follow from the state: then the log was not written by this program's rules.
    pub fn fold(&mut self, record: &Record, hash: Digest) -> Result<Fold, FoldError> {
        let header = &record.header;
        let before = self.tables.by_uid.get(&header.object).cloned();
        let project = header.project.and_then(|uid| self.project_name(uid));
        let after = header.kind.untyped().fold(before.as_deref(), header, &record.payload, project)?.map(Arc::new);
        self.retime(before.as_ref(), after.as_ref());
        self.tables.replace(before.as_ref(), after.as_ref());
        let credentials = self.tables.credentials.clone();
        let cause = Cause { seq: header.seq, actor: header.by_rights_of() };
        let known = |digest: &Digest| credentials.get(digest).copied();
        let ended = self.grants.replace(before.as_ref(), after.as_ref(), &cause, &known);
        if ended.gave && header.authz.mode == AuthzMode::Rbac {
            let depth = depth_by(self, &header.authz.via);
            self.depths.insert(header.seq, depth);
        }
        self.history.times.push(header.at);
        self.history.push(header.seq, before.as_ref(), after.as_ref(), ended);
        self.remember_request(header);
        self.anchored = header.audit.map(|anchor| (header.seq, anchor)).or(self.anchored);
        self.seq = header.seq;
        self.last_at = self.last_at.max(header.at);
        self.head = hash;
        Ok(Fold { before, after })
    }

    fn project_name(&self, uid: Uid) -> Option<ProjectName> {
        self.tables.by_uid.get(&uid).map(|object| ProjectName { uid, name: object.meta.name.clone() })
    }

    fn retime(&mut self, before: Option<&Arc<Object>>, after: Option<&Arc<Object>>) {
        if let Some((at, _)) = before.and_then(|object| object.body.due()) {
            self.due.remove(&(at, before.expect("looked at above").meta.uid));
        }
        if let Some(object) = after
            && let Some((at, _)) = object.body.due()
        {
            self.due.insert((at, object.meta.uid), ());
        }
    }

    fn remember_request(&mut self, header: &Header) {
        let Some(request) = &header.request else { return };
        let key = (header.actor.uid, request.clone());
        let (first, _) = self.requests.get(&key).copied().unwrap_or((header.seq, header.seq));
        let (actor, request) = key;
        self.recall_request(actor, request, first, header.seq);
        while self.request_order.len() > REQUESTS_MAX {
            let Some((oldest, key)) = self.request_order.get_min().cloned() else { break };
            self.request_order.remove(&oldest);
            self.requests.remove(&key);
        }
    }

    /// Takes note of a request that caused these events.
    pub(crate) fn recall_request(&mut self, actor: Uid, request: RequestId, first: Seq, last: Seq) {
        self.requests.insert((actor, request.clone()), (first, last));
        self.request_order.insert(first, (actor, request));
    }

    pub(crate) fn set_place(&mut self, seq: Seq, last_at: Timestamp, head: Digest) {
        (self.seq, self.last_at, self.head) = (seq, last_at, head);
    }

    /// First and last seq of the events that an actor's request caused, if it is among the last ones.
    #[must_use]
    pub fn request(&self, actor: Uid, request: &RequestId) -> Option<(Seq, Seq)> {
        self.requests.get(&(actor, request.clone())).copied()
    }

    /// Every object that ever had a name, oldest first, the deleted ones too.
    pub fn uids_named(&self, kind: Kind, project: Option<Uid>, name: &Name) -> Vec<Uid> {
        let now = self.by_name(kind, project, name).map(|object| object.meta.uid);
        self.history.named(kind, &(project, name.clone())).chain(now).collect()
    }

    /// The next moment at which an event is due, and the object it is about.
    #[must_use]
    pub fn next_due(&self) -> Option<(Timestamp, Uid)> {
        self.due.get_min().map(|(key, ())| *key)
    }

    /// The object as it was after a seq.
    #[must_use]
    pub fn object_at(&self, uid: Uid, seq: Seq) -> Option<Arc<Object>> {
        let now = self.by_uid(uid);
        let still = now.filter(|object| object.meta.resource_version <= seq);
        still.cloned().or_else(|| self.history.at(uid, seq, now))
    }

    /// The state as it was after a seq; as it is, for one that has not come yet.
    #[must_use]
    pub fn at(&self, seq: Seq) -> AsOf<'_> {
        AsOf::new(self, seq)
    }

    /// When an event happened.
    #[must_use]
    pub fn time_of(&self, seq: Seq) -> Option<Timestamp> {
        self.history.times.of(seq)
    }

    /// The last event that had happened at a moment; 0 when none had.
    #[must_use]
    pub fn seq_at(&self, at: Timestamp) -> Seq {
        self.history.times.seq_at(at)
    }

    /// All objects of every kind.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.tables.by_uid.values()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.by_uid.len()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.by_uid.is_empty()
    }

    /// The whole state as canonical bytes: two states are equal when these are.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let objects: Vec<_> = (self.tables.by_uid.values())
            .map(|object| {
                (serde_json::to_string(&object.meta).unwrap_or_default(), object.body.canonical(), &object.refs[..])
            })
            .collect();
        let names: Vec<_> = self.tables.by_name.values().flat_map(|names| names.iter()).collect();
        let referrers: Vec<_> = self.tables.referrers.iter().map(|(k, v)| (k, v.iter().collect::<Vec<_>>())).collect();
        let mut credentials: Vec<_> = self.tables.credentials.iter().collect();
        credentials.sort();
        let grants: Vec<_> = self.grants.by_subject.iter().map(|(k, v)| (k, &v[..])).collect();
        let groups: Vec<_> = (self.grants.groups.iter())
            .map(|(k, v)| (k, v.iter().map(|member| member.group).collect::<Vec<_>>()))
            .collect();
        let requests: Vec<_> = self.requests.iter().collect();
        let due: Vec<_> = self.due.keys().collect();
        let owned: Vec<_> = self.tables.owned.iter().map(|(k, v)| (k, v.iter().collect::<Vec<_>>())).collect();
        let mut bytes = serde_json::to_vec(&(
            (self.seq, self.last_at, self.head, objects, names, referrers),
            (credentials, grants, groups, requests, due, owned),
        ))
        .unwrap_or_default();
        // A log in which nothing was passed on has the state that it had before depths were counted.
        if !self.depths.is_empty() {
            bytes.extend(serde_json::to_vec(&self.depths.iter().collect::<Vec<_>>()).unwrap_or_default());
        }
        bytes
    }
}

impl World for State {
    fn seq(&self) -> Seq {
        self.seq
    }
    fn by_name(&self, kind: Kind, project: Option<Uid>, name: &Name) -> Option<&Arc<Object>> {
        let uid = self.tables.by_name.get(&kind)?.get(&(project, name.clone()))?;
        self.tables.by_uid.get(uid)
    }
    fn by_uid(&self, uid: Uid) -> Option<&Arc<Object>> {
        self.tables.by_uid.get(&uid)
    }
    fn all<'a>(&'a self, kind: Kind) -> Box<dyn Iterator<Item = &'a Arc<Object>> + 'a> {
        let uids = self.tables.by_name.get(&kind).into_iter().flat_map(|names| names.values());
        Box::new(uids.filter_map(|uid| self.tables.by_uid.get(uid)))
    }
    fn referrers(&self, uid: Uid) -> Vec<&Arc<Object>> {
        let uids = self.tables.referrers.get(&uid).into_iter().flatten();
        uids.filter_map(|uid| self.tables.by_uid.get(uid)).collect()
    }
    fn grants(&self, subject: Uid) -> &[Grant] {
        self.grants.by_subject.get(&subject).map_or(&[], |grants| grants)
    }
    fn answering(&self, subject: Uid, wanted: &Wanted<'_>) -> Option<&Grant> {
        self.grants.by_subject.get(&subject)?.answering(wanted)
    }
    fn holders(&self, wanted: &Wanted<'_>) -> Vec<(Uid, &Grant)> {
        let all = self.grants.by_subject.iter();
        all.filter_map(|(uid, held)| Some((*uid, held.answering(wanted)?))).collect()
    }
    fn depth(&self, grant: Seq) -> u32 {
        self.depths.get(&grant).copied().unwrap_or(0)
    }
    fn holding(&self, wanted: &dyn Fn(&Permission) -> bool) -> Vec<Uid> {
        let all = self.grants.by_subject.iter();
        all.filter(|(_, grants)| grants.iter().any(|grant| wanted(&grant.permission))).map(|(uid, _)| *uid).collect()
    }
    fn memberships(&self, subject: Uid) -> &[Membership] {
        self.grants.groups.get(&subject).map_or(&[], |groups| groups)
    }
    fn credential(&self, digest: &Digest) -> Option<Uid> {
        self.tables.credentials.get(digest).copied()
    }
    fn owned_by(&self, owner: Uid) -> Vec<&Arc<Object>> {
        let uids = self.tables.owned.get(&owner).into_iter().flatten();
        uids.filter_map(|uid| self.tables.by_uid.get(uid)).collect()
    }
}
