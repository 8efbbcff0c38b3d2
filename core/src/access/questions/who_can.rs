//! Who may do something: every user, service account and token, each with the proof.
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::proof::{Asked, Proof};
use crate::access::{Ask, Grant, Wanted};
use crate::actor::ActorKind;
use crate::ids::Uid;
use crate::kinds::Kind;
use crate::time::Timestamp;
use crate::world::World;

/// Everybody who may, by kind and name. One pass over the grants finds who could; each is then proved by itself.
#[must_use]
pub fn who_can<'w>(world: &'w dyn World, ask: &Ask<'_>, now: Timestamp) -> Vec<Proof<'w>> {
    let hits: Hits<'w> = world.holders(&Wanted::of(ask)).into_iter().collect();
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
    let found = candidates.into_iter().filter_map(|uid| asked.prove_object(world.by_uid(uid)?));
    in_order(found.collect())
}

/// The grant by which each holder could.
type Hits<'w> = HashMap<Uid, &'w Grant, BuildHasherDefault<OfUid>>;

/// A hash of an identity: this program draws them at random, so that their own bits are as good as any.
#[derive(Default)]
struct OfUid(u64);

impl Hasher for OfUid {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }
    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(8) ^ u64::from(byte)).wrapping_mul(SPREAD);
    }
    fn write_u128(&mut self, uid: u128) {
        self.0 = ((uid >> 64) as u64 ^ uid as u64).wrapping_mul(SPREAD);
    }
}

/// An odd number with its bits all over the place, after the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// By kind, name and uid. Names are compared by their first bytes at once, which is enough for nearly all.
fn in_order(mut found: Vec<Proof<'_>>) -> Vec<Proof<'_>> {
    let first = |name: &str| {
        let mut bytes = [0; 16];
        let len = name.len().min(16);
        bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
        u128::from_be_bytes(bytes)
    };
    let mut keys: Vec<(ActorKind, u128, usize)> =
        found.iter().enumerate().map(|(at, proof)| (proof.subject.kind, first(&proof.subject.name), at)).collect();
    keys.sort_unstable_by(|a, b| {
        let rest = || {
            let (a, b) = (&found[a.2].subject, &found[b.2].subject);
            (&a.name, a.uid).cmp(&(&b.name, b.uid))
        };
        (a.0, a.1).cmp(&(b.0, b.1)).then_with(rest)
    });
    let mut places = vec![0; keys.len()];
    keys.into_iter().enumerate().for_each(|(place, (_, _, at))| places[at] = place);
    // Each swap brings one to its place.
    for at in 0..found.len() {
        while places[at] != at {
            let place = places[at];
            found.swap(at, place);
            places.swap(at, place);
        }
    }
    found
}

/// The object itself and its owner: they may without a grant.
fn owners(world: &dyn World, ask: &Ask<'_>) -> Vec<Uid> {
    let Ask::Object { uid: Some(uid), .. } = ask else { return Vec::new() };
    let owner = world.by_uid(*uid).and_then(|object| object.body.owner());
    [*uid].into_iter().chain(owner).collect()
}
