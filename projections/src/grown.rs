//! A map that only grows, so that what was put in can be lent out while more is put in.
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;

type Slot<K, V> = OnceLock<Box<Node<K, V>>>;

struct Node<K, V> {
    key: K,
    value: V,
    next: Slot<K, V>,
}

/// The map. Readers never wait; two that miss the same key at once both make its value, and one of the two is kept.
pub(crate) struct Grown<K, V> {
    slots: Box<[Slot<K, V>]>,
    hasher: RandomState,
}

impl<K: Hash + Eq + Copy, V> Grown<K, V> {
    /// A map for about this many keys.
    pub(crate) fn sized(keys: usize) -> Self {
        let slots = (keys / 4).clamp(16, 8_192).next_power_of_two();
        Self { slots: (0..slots).map(|_| OnceLock::new()).collect(), hasher: RandomState::new() }
    }

    /// The value of a key, made when it is asked for first.
    pub(crate) fn get_or_make(&self, key: K, make: impl Fn() -> V) -> &V {
        let place = usize::try_from(self.hasher.hash_one(key) % self.slots.len() as u64).unwrap_or_default();
        let mut slot = &self.slots[place];
        loop {
            match slot.get() {
                Some(node) if node.key == key => return &node.value,
                Some(node) => slot = &node.next,
                None => drop(slot.set(Box::new(Node { key, value: make(), next: OnceLock::new() }))),
            }
        }
    }
}
