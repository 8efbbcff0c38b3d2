//! Facts that hold at a moment, as a sparse Merkle tree: its root proves that a fact holds, and that a fact does not.
//!
//! A fact is a text (`grant 01J… view servers`) and a value (`source:01J…,seq:12`). Its place is `SHA-256(DOMAIN ‖ text)`, bit
//! by bit from the root. A leaf stands where it is the only one below, so that proofs are short:
//! ```text
//! nothing  32 zero bytes
//! leaf     SHA-256(0 ‖ place ‖ SHA-256(value))
//! branch   SHA-256(1 ‖ left ‖ right)
//! ```
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tlog_tiles::tlog::Hash;

use crate::HASH_BYTES;

/// What the place of a fact is hashed with.
pub const DOMAIN: &str = "mcpctl fact v1\n";
/// The hash of nothing.
const NOTHING: Hash = Hash([0; HASH_BYTES]);
/// A path can't be longer than a place has bits.
const DEPTH_MAX: usize = 8 * HASH_BYTES;

fn sha256(parts: &[&[u8]]) -> Hash {
    Hash(parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into())
}

/// The place of a fact.
#[must_use]
pub fn place(fact: &str) -> Hash {
    sha256(&[DOMAIN.as_bytes(), fact.as_bytes()])
}

fn leaf_hash(place: &Hash, value: &Hash) -> Hash {
    sha256(&[&[0], &place.0, &value.0])
}

fn branch_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], &left.0, &right.0])
}

fn bit(place: &Hash, depth: usize) -> bool {
    place.0[depth / 8] >> (7 - depth % 8) & 1 == 1
}

#[derive(Debug)]
enum Node {
    Leaf { place: Hash, value: Hash, hash: Hash },
    Branch { left: Link, right: Link, hash: Hash },
}

type Link = Option<Arc<Node>>;

fn hash_of(link: &Link) -> Hash {
    match link.as_deref() {
        None => NOTHING,
        Some(Node::Leaf { hash, .. } | Node::Branch { hash, .. }) => *hash,
    }
}

fn leaf(place: Hash, value: Hash) -> Link {
    Some(Arc::new(Node::Leaf { place, value, hash: leaf_hash(&place, &value) }))
}

/// A branch, or what is left of one: a leaf that is alone moves up.
fn branch(left: Link, right: Link) -> Link {
    let alone = |link: &Link| link.as_deref().is_none_or(|node| matches!(node, Node::Leaf { .. }));
    match (&left, &right) {
        (None, _) if alone(&right) => right,
        (_, None) if alone(&left) => left,
        _ => {
            let hash = branch_hash(&hash_of(&left), &hash_of(&right));
            Some(Arc::new(Node::Branch { left, right, hash }))
        }
    }
}

/// The facts that hold at a moment. Cloning shares what did not change.
#[derive(Clone, Debug, Default)]
pub struct Facts(Link);

impl Facts {
    /// The root: all facts in 32 bytes.
    #[must_use]
    pub fn root(&self) -> Hash {
        hash_of(&self.0)
    }

    /// A fact holds from now on, with this value.
    pub fn insert(&mut self, fact: &str, value: &str) {
        self.0 = put(&self.0, 0, place(fact), sha256(&[value.as_bytes()]));
    }

    /// A fact holds no more.
    pub fn remove(&mut self, fact: &str) {
        self.0 = take(&self.0, 0, &place(fact));
    }

    /// The proof that a fact holds, or that it does not.
    #[must_use]
    pub fn prove(&self, fact: &str) -> FactProof {
        let (place, mut siblings, mut node) = (place(fact), Vec::new(), &self.0);
        loop {
            match node.as_deref() {
                None => return FactProof { siblings, end: End::Nothing },
                Some(Node::Leaf { place: found, value, .. }) => {
                    return FactProof { siblings, end: End::Leaf { place: *found, value: *value } };
                }
                Some(Node::Branch { left, right, .. }) => {
                    let (next, beside) = if bit(&place, siblings.len()) { (right, left) } else { (left, right) };
                    siblings.push(hash_of(beside));
                    node = next;
                }
            }
        }
    }
}

fn put(link: &Link, depth: usize, place: Hash, value: Hash) -> Link {
    match link.as_deref() {
        None => leaf(place, value),
        Some(Node::Leaf { place: there, .. }) if *there == place => leaf(place, value),
        Some(Node::Leaf { place: there, .. }) => {
            let (old, new) = (bit(there, depth), bit(&place, depth));
            match (old, new) {
                (false, true) => branch(link.clone(), leaf(place, value)),
                (true, false) => branch(leaf(place, value), link.clone()),
                (false, false) => branch(put(link, depth + 1, place, value), None),
                (true, true) => branch(None, put(link, depth + 1, place, value)),
            }
        }
        Some(Node::Branch { left, right, .. }) if bit(&place, depth) => {
            branch(left.clone(), put(right, depth + 1, place, value))
        }
        Some(Node::Branch { left, right, .. }) => branch(put(left, depth + 1, place, value), right.clone()),
    }
}

fn take(link: &Link, depth: usize, place: &Hash) -> Link {
    match link.as_deref() {
        None => None,
        Some(Node::Leaf { place: there, .. }) => {
            if there == place {
                None
            } else {
                link.clone()
            }
        }
        Some(Node::Branch { left, right, .. }) if bit(place, depth) => {
            branch(left.clone(), take(right, depth + 1, place))
        }
        Some(Node::Branch { left, right, .. }) => branch(take(left, depth + 1, place), right.clone()),
    }
}

/// What stands at the end of the path to a fact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// Nothing: the fact does not hold.
    Nothing,
    /// A leaf: that of the fact, or that of another one which is alone here, so that the fact does not hold.
    Leaf {
        /// Its place.
        place: Hash,
        /// SHA-256 of its value.
        value: Hash,
    },
}

/// The proof that a fact holds, or that it does not.
#[derive(Clone, Debug, PartialEq)]
pub struct FactProof {
    /// Hashes beside the path, from the root down.
    pub siblings: Vec<Hash>,
    /// What stands at its end.
    pub end: End,
}

/// The proof shows something else, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// It does not lead to the root.
    #[error("the path of {0:?} does not lead to the root of the facts")]
    OtherRoot(String),
    /// It does not show what is said.
    #[error("the path of {fact:?} shows that it {shown}")]
    Otherwise {
        /// The fact.
        fact: String,
        /// What it shows.
        shown: &'static str,
    },
    /// It is no proof.
    #[error("this is no proof of facts: {0}")]
    Malformed(&'static str),
}

impl FactProof {
    /// Checks that a fact holds with this value, or, without one, that it does not hold.
    ///
    /// # Errors
    /// When the proof does not show that.
    pub fn verify(&self, root: &Hash, fact: &str, value: Option<&str>) -> Result<(), FactError> {
        let here = place(fact);
        if self.siblings.len() > DEPTH_MAX {
            return Err(FactError::Malformed("a path is too long"));
        }
        let end = match &self.end {
            End::Nothing => NOTHING,
            End::Leaf { place, value } => leaf_hash(place, value),
        };
        let up = |hash: Hash, (depth, beside): (usize, &Hash)| {
            if bit(&here, depth) { branch_hash(beside, &hash) } else { branch_hash(&hash, beside) }
        };
        if self.siblings.iter().enumerate().rev().fold(end, up) != *root {
            return Err(FactError::OtherRoot(fact.to_owned()));
        }
        let otherwise = |shown| Err(FactError::Otherwise { fact: fact.to_owned(), shown });
        match (&self.end, value) {
            (End::Leaf { place, value: found }, Some(value)) if *place == here => {
                if *found == sha256(&[value.as_bytes()]) { Ok(()) } else { otherwise("has another value") }
            }
            (End::Leaf { place, .. }, None) if *place == here => otherwise("holds"),
            // A leaf that stands on the way to another place would be a leaf that is not where it belongs.
            (End::Leaf { place, .. }, _)
                if !(0..self.siblings.len()).all(|depth| bit(place, depth) == bit(&here, depth)) =>
            {
                Err(FactError::Malformed("a leaf stands where it does not belong"))
            }
            (_, Some(_)) => otherwise("does not hold"),
            (_, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// By the definition, from all facts at once.
    fn by_the_book(facts: &[(Hash, Hash)], depth: usize) -> Hash {
        match facts {
            [] => NOTHING,
            [(place, value)] => leaf_hash(place, value),
            _ => {
                let (right, left): (Vec<_>, Vec<_>) = facts.iter().partition(|(place, _)| bit(place, depth));
                branch_hash(&by_the_book(&left, depth + 1), &by_the_book(&right, depth + 1))
            }
        }
    }

    /// A small generator of numbers: the same run every time.
    struct Numbers(u64);
    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    #[test]
    fn after_any_changes_the_root_is_that_of_the_facts_and_every_proof_says_what_they_say() {
        let (mut numbers, mut facts, mut model) = (Numbers(1), Facts::default(), BTreeMap::new());
        for step in 0..3_000 {
            let (fact, value) = (format!("fact {}", numbers.below(60)), format!("value {}", numbers.below(3)));
            if numbers.below(2) == 0 {
                facts.insert(&fact, &value);
                model.insert(fact, value);
            } else {
                facts.remove(&fact);
                model.remove(&fact);
            }
            let all: Vec<_> = model.iter().map(|(fact, value)| (place(fact), sha256(&[value.as_bytes()]))).collect();
            assert_eq!(facts.root(), by_the_book(&all, 0), "step {step}");
            let asked = format!("fact {}", numbers.below(60));
            let (proof, held) = (facts.prove(&asked), model.get(&asked).map(String::as_str));
            proof.verify(&facts.root(), &asked, held).unwrap();
            for lie in [None, Some("value 0"), Some("value 1"), Some("value 9")] {
                if lie != held {
                    proof.verify(&facts.root(), &asked, lie).unwrap_err();
                }
            }
        }
    }

    /// Whatever is changed in a proof, it shows nothing that is not so.
    #[test]
    fn no_forged_proof_shows_what_is_not_so() {
        let mut facts = Facts::default();
        (0..40).for_each(|n| facts.insert(&format!("fact {n}"), "value"));
        let root = facts.root();
        for n in 0..80 {
            let fact = format!("fact {n}");
            let (held, lie) = if n < 40 { (Some("value"), None) } else { (None, Some("value")) };
            let proof = facts.prove(&fact);
            proof.verify(&root, &fact, held).unwrap();
            let mut forged = vec![FactProof { end: End::Nothing, ..proof.clone() }];
            let (here, value) = (place(&fact), sha256(&[b"value"]));
            forged.push(FactProof { end: End::Leaf { place: here, value }, ..proof.clone() });
            for other in 0..80 {
                forged.push(facts.prove(&format!("fact {other}")));
                let End::Leaf { place, value } = facts.prove(&format!("fact {other}")).end else { continue };
                forged.push(FactProof { end: End::Leaf { place, value }, ..proof.clone() });
            }
            for index in 0..proof.siblings.len() {
                let (mut changed, mut shorter) = (proof.clone(), proof.clone());
                changed.siblings[index].0[0] ^= 1;
                shorter.siblings.truncate(index);
                forged.extend([changed, shorter]);
            }
            for forged in forged {
                forged.verify(&root, &fact, lie).unwrap_err();
            }
        }
    }
}
