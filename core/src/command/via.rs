//! Whether the grants that an event names are those that allow it.
use std::collections::BTreeSet;
use std::sync::Arc;

use super::redecide::{Fault, NotAllowed};
use super::{Asking, Command, Decided, decide};
use crate::access::{Ask, Grant, Membership, Permission, decide as decide_access};
use crate::actor::Actor;
use crate::ids::{Digest, Seq, Uid};
use crate::kinds::Kind;
use crate::name::Name;
use crate::object::Object;
use crate::record::{AuthzMode, Record};
use crate::time::Timestamp;
use crate::world::World;

/// Checks that the grants which events name were in force, and that the command is allowed by these alone.
///
/// A later program may choose among several grants in another order than the one that wrote the log: what is named then
/// differs from what would be named today, and is looked at by itself.
pub(super) fn check_via(
    world: &dyn World,
    asking: &Asking<'_>,
    command: &Command,
    decided: &Decided,
    records: &[Record],
) -> Result<(), Fault> {
    if records.iter().zip(&decided.drafts).all(|(record, draft)| record.header.authz.via == draft.authz.via) {
        return Ok(());
    }
    // What the command stood on: each of its events names the part that was needed for it.
    let by_right = records.iter().filter(|record| record.header.authz.mode == AuthzMode::Rbac);
    let together: BTreeSet<Seq> = by_right.flat_map(|record| record.header.authz.via.iter().copied()).collect();
    let together: Vec<Seq> = together.into_iter().collect();
    let only = Only::new(world, &[asking.caller, asking.actor()], decided.object, &together);
    for (record, draft) in records.iter().zip(&decided.drafts) {
        let (named, seq) = (&record.header.authz.via, record.header.seq);
        if *named == draft.authz.via {
            continue;
        }
        let refuse = |why: String| Err((seq, NotAllowed::Via(why)));
        match record.header.authz.mode {
            // What followed from a command by itself named nothing in logs that were written before it named what that
            // stood on.
            AuthzMode::System if named.iter().all(|seq| together.contains(seq)) => continue,
            AuthzMode::Rbac if named.is_empty() => {
                return refuse("the grants that it names are not enough: none".into());
            }
            AuthzMode::Rbac => {}
            _ => return refuse("it names grants, and none is needed".to_owned()),
        }
        if let Some(unknown) = named.iter().find(|seq| !only.known.contains(seq)) {
            return refuse(format!("it names seq {unknown}, which gave {} nothing that was in force", asking.caller));
        }
        if let Err(refusal) = decide(&only, asking, command) {
            return refuse(format!("the grants that it names are not enough: {refusal}"));
        }
    }
    Ok(())
}

/// Whether a question is answered with yes by these grants alone, each of which was in force.
#[must_use]
pub fn allowed_by(world: &dyn World, caller: &Actor, ask: &Ask<'_>, now: Timestamp, via: &[Seq]) -> bool {
    let object = if let Ask::Object { uid: Some(uid), .. } = ask { *uid } else { caller.uid };
    let only = Only::new(world, &[caller], object, via);
    via.iter().all(|seq| only.known.contains(seq)) && decide_access(&only, caller, ask, now).allowed
}

/// A state in which the caller holds some of its grants only.
struct Only<'w> {
    world: &'w dyn World,
    held: Vec<(Uid, Vec<Grant>)>,
    /// Every event that gave the caller something, before grants were left out.
    known: BTreeSet<Seq>,
}

impl<'w> Only<'w> {
    fn new(world: &'w dyn World, callers: &[&Actor], object: Uid, via: &[Seq]) -> Self {
        let mut known: BTreeSet<Seq> = BTreeSet::new();
        let mut held = Vec::new();
        let holders: BTreeSet<Uid> = callers.iter().flat_map(|caller| holders(world, caller.uid)).collect();
        for holder in holders {
            let grants = world.grants(holder);
            known.extend(grants.iter().map(|grant| grant.seq));
            known.extend(world.memberships(holder).iter().map(|member| member.seq));
            held.push((holder, grants.iter().filter(|grant| via.contains(&grant.seq)).cloned().collect()));
        }
        // What is the caller's own is named by its version.
        known.extend(world.by_uid(object).map(|object| object.meta.resource_version));
        Self { world, held, known }
    }
}

/// The caller, its groups, and for a token its owner and the groups of that.
fn holders(world: &dyn World, caller: Uid) -> BTreeSet<Uid> {
    let owner = world.by_uid(caller).and_then(|object| object.body.owner());
    let people: Vec<Uid> = [caller].into_iter().chain(owner).collect();
    let groups = people.iter().flat_map(|uid| world.memberships(*uid)).map(|member| member.group);
    groups.chain(people.iter().copied()).collect()
}

impl World for Only<'_> {
    fn grants(&self, subject: Uid) -> &[Grant] {
        let held = self.held.iter().find(|(holder, _)| *holder == subject);
        held.map_or_else(|| self.world.grants(subject), |(_, grants)| grants)
    }
    fn seq(&self) -> Seq {
        self.world.seq()
    }
    fn by_name(&self, kind: Kind, project: Option<Uid>, name: &Name) -> Option<&Arc<Object>> {
        self.world.by_name(kind, project, name)
    }
    fn by_uid(&self, uid: Uid) -> Option<&Arc<Object>> {
        self.world.by_uid(uid)
    }
    fn all<'a>(&'a self, kind: Kind) -> Box<dyn Iterator<Item = &'a Arc<Object>> + 'a> {
        self.world.all(kind)
    }
    fn referrers(&self, uid: Uid) -> Vec<&Arc<Object>> {
        self.world.referrers(uid)
    }
    fn depth(&self, grant: Seq) -> u32 {
        self.world.depth(grant)
    }
    fn holding(&self, wanted: &dyn Fn(&Permission) -> bool) -> Vec<Uid> {
        self.world.holding(wanted)
    }
    fn memberships(&self, subject: Uid) -> &[Membership] {
        self.world.memberships(subject)
    }
    fn credential(&self, digest: &Digest) -> Option<Uid> {
        self.world.credential(digest)
    }
    fn owned_by(&self, owner: Uid) -> Vec<&Arc<Object>> {
        self.world.owned_by(owner)
    }
}
