//! What a decision may see: the state at a seq, read-only. The projections implement it.
use std::sync::Arc;

use crate::access::{Grant, Membership, Permission, Wanted};
use crate::ids::{Digest, Seq, Uid};
use crate::kinds::Kind;
use crate::name::Name;
use crate::object::Object;

/// The state at a seq.
pub trait World: Send + Sync {
    /// Position of the last event folded.
    fn seq(&self) -> Seq;

    /// The object of this name; `project` for kinds that live in one.
    fn by_name(&self, kind: Kind, project: Option<Uid>, name: &Name) -> Option<&Arc<Object>>;

    /// The object with this identity.
    fn by_uid(&self, uid: Uid) -> Option<&Arc<Object>>;

    /// All objects of a kind, by project and name.
    fn all<'a>(&'a self, kind: Kind) -> Box<dyn Iterator<Item = &'a Arc<Object>> + 'a>;

    /// Objects whose spec refers to this one, by uid.
    fn referrers(&self, uid: Uid) -> Vec<&Arc<Object>>;

    /// Grants made to this subject itself, not those of its groups.
    fn grants(&self, subject: Uid) -> &[Grant];

    /// The first grant made to this subject itself that answers a question with yes.
    fn answering(&self, subject: Uid, wanted: &Wanted<'_>) -> Option<&Grant> {
        self.grants(subject).iter().find(|grant| wanted.by(&grant.permission))
    }

    /// How many grants lead to those that an event made: 0 for what the control plane itself or local recovery gave, else
    /// one more than the deepest of the grants that were used to make it.
    fn depth(&self, grant: Seq) -> u32;

    /// Every subject to which a grant of a wanted permission was made itself, by uid.
    fn holding(&self, wanted: &dyn Fn(&Permission) -> bool) -> Vec<Uid>;

    /// Every subject to which a grant was made itself that answers a question with yes, by uid, with the first of them.
    fn holders(&self, wanted: &Wanted<'_>) -> Vec<(Uid, &Grant)> {
        let holders = self.holding(&|permission| wanted.by(permission)).into_iter();
        holders.filter_map(|holder| Some((holder, self.answering(holder, wanted)?))).collect()
    }

    /// Groups that this subject belongs to, by uid.
    fn memberships(&self, subject: Uid) -> &[Membership];

    /// The object that a credential of this digest belongs to.
    fn credential(&self, digest: &Digest) -> Option<Uid>;

    /// Objects that end with this owner (its tokens).
    fn owned_by(&self, owner: Uid) -> Vec<&Arc<Object>>;
}
