//! Who may do something: every user, service account and token, each with the proof.
use super::proof::{Proof, explain, held};
use super::subject::{actor_of, members_of};
use crate::access::Ask;
use crate::ids::Uid;
use crate::kinds::Kind;
use crate::time::Timestamp;
use crate::world::World;

/// Everybody who may, by kind and name. One pass over the grants finds who could; each is then proved by itself.
#[must_use]
pub fn who_can<'w>(world: &'w dyn World, ask: &Ask<'_>, now: Timestamp) -> Vec<Proof<'w>> {
    let mut candidates = owners(world, ask);
    for holder in world.holders().filter(|holder| held(world, *holder, ask).is_some()) {
        match world.by_uid(holder) {
            Some(group) if group.meta.kind == Kind::Group => candidates.extend(members_of(group)),
            _ => candidates.push(holder),
        }
    }
    candidates.sort_unstable();
    candidates.dedup();
    let actors = candidates.into_iter().filter_map(|uid| actor_of(world.by_uid(uid)?));
    let mut proofs: Vec<Proof<'w>> = actors.filter_map(|actor| explain(world, &actor, ask, now).ok()).collect();
    proofs.sort_by(|a, b| {
        (a.subject.kind, &a.subject.name, a.subject.uid).cmp(&(b.subject.kind, &b.subject.name, b.subject.uid))
    });
    proofs
}

/// The object itself and its owner: they may without a grant.
fn owners(world: &dyn World, ask: &Ask<'_>) -> Vec<Uid> {
    let Ask::Object { uid: Some(uid), .. } = ask else { return Vec::new() };
    let owner = world.by_uid(*uid).and_then(|object| object.body.owner());
    [*uid].into_iter().chain(owner).collect()
}
