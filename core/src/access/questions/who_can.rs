//! Who may do something: every user, service account and token, each with the proof.
use std::collections::HashMap;

use super::proof::{Asked, Proof, held};
use super::subject::actor_of;
use crate::access::decision::answers;
use crate::access::{Ask, Grant};
use crate::ids::Uid;
use crate::kinds::Kind;
use crate::time::Timestamp;
use crate::world::World;

/// Everybody who may, by kind and name. One pass over the grants finds who could; each is then proved by itself.
#[must_use]
pub fn who_can<'w>(world: &'w dyn World, ask: &Ask<'_>, now: Timestamp) -> Vec<Proof<'w>> {
    let holders = world.holding(&|permission| answers(permission, ask)).into_iter();
    let hits: HashMap<Uid, &'w Grant> =
        holders.filter_map(|holder| Some((holder, held(world, holder, ask)?))).collect();
    let mut candidates = owners(world, ask);
    for holder in hits.keys() {
        match world.by_uid(*holder) {
            // Whether they are members still is part of the proof.
            Some(group) if group.meta.kind == Kind::Group => {
                candidates.extend(group.refs.iter().map(|r| r.uid).chain(group.body.claimed()));
            }
            _ => candidates.push(*holder),
        }
    }
    candidates.sort_unstable();
    candidates.dedup();
    let asked = Asked { world, ask, now, held: &|holder| hits.get(&holder).copied() };
    let actors = candidates.into_iter().filter_map(|uid| actor_of(world.by_uid(uid)?));
    let mut proofs: Vec<Proof<'w>> = actors.filter_map(|actor| asked.prove(actor)).collect();
    proofs.sort_unstable_by(|a, b| {
        let (a, b) = (&a.subject, &b.subject);
        (a.kind, &a.name, a.uid).cmp(&(b.kind, &b.name, b.uid))
    });
    proofs
}

/// The object itself and its owner: they may without a grant.
fn owners(world: &dyn World, ask: &Ask<'_>) -> Vec<Uid> {
    let Ask::Object { uid: Some(uid), .. } = ask else { return Vec::new() };
    let owner = world.by_uid(*uid).and_then(|object| object.body.owner());
    [*uid].into_iter().chain(owner).collect()
}
