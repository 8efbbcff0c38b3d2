//! A map that only grows, so that what was put in can be lent out while more is put in.
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;

type Slot<K, V> = OnceLock<Box<Node<K, V>>>;

/// An entry, and the four ways on from it: each level of the tree uses two bits of a key's hash.
struct Node<K, V> {
    key: K,
    value: V,
    next: [Slot<K, V>; 4],
}

/// The map. Readers never wait; two that miss the same key at once both make its value, and one of the two is kept.
pub(crate) struct Grown<K, V> {
    root: Slot<K, V>,
    hasher: RandomState,
}

impl<K, V> Default for Grown<K, V> {
    fn default() -> Self {
        Self { root: OnceLock::new(), hasher: RandomState::new() }
    }
}

impl<K: Hash + Eq + Copy, V> Grown<K, V> {
    /// The value of a key, made when it is asked for first.
    pub(crate) fn get_or_make(&self, key: K, make: impl Fn() -> V) -> &V {
        let (mut slot, mut hash) = (&self.root, self.hasher.hash_one(key));
        loop {
            match slot.get() {
                Some(node) if node.key == key => return &node.value,
                Some(node) => {
                    slot = &node.next[(hash & 3) as usize];
                    hash = hash.rotate_right(2);
                }
                None => drop(slot.set(Box::new(Node { key, value: make(), next: Default::default() }))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_made_once_and_lent_while_others_come() {
        let (grown, made) = (Grown::default(), std::sync::atomic::AtomicU32::new(0));
        let lent: Vec<&u32> = (0..10_000u32)
            .map(|key| {
                grown.get_or_make(key, || {
                    made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    key * 2
                })
            })
            .collect();
        for key in 0..10_000 {
            assert!(std::ptr::eq(grown.get_or_make(key, || unreachable!("it is there")), lent[key as usize]));
            assert_eq!(*lent[key as usize], key * 2);
        }
        assert_eq!(made.into_inner(), 10_000);
    }
}
