//! What a client remembers of a log, and whether what it is shown now goes on from there.
use tlog_tiles::tlog::{Hash, check_tree};

use crate::checkpoint::Checkpoint;

/// The log is not the one that was seen before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fork {
    /// It has fewer entries.
    #[error("the log {origin} had {before} entries and shows {now}: entries were taken away")]
    Shorter {
        /// The log.
        origin: String,
        /// Size seen before.
        before: u64,
        /// Size shown now.
        now: u64,
    },
    /// Its entries are others.
    #[error("the log {origin} is not the one that was seen at {before} entries: its past was changed")]
    Other {
        /// The log.
        origin: String,
        /// Size seen before.
        before: u64,
    },
}

/// Whether a proof is needed to see that the log goes on from `before`: not when both are of one size.
///
/// # Errors
/// When it is shorter, or differs at the same size.
pub fn needs_proof(before: &Checkpoint, now: &Checkpoint) -> Result<bool, Fork> {
    let origin = now.origin.clone();
    if now.size < before.size {
        return Err(Fork::Shorter { origin, before: before.size, now: now.size });
    }
    if now.size == before.size && now.root != before.root {
        return Err(Fork::Other { origin, before: before.size });
    }
    Ok(before.size > 0 && now.size > before.size)
}

/// Whether the log goes on from `before`, by a proof (RFC 6962, section 2.1.2).
///
/// # Errors
/// When it does not.
pub fn check(before: &Checkpoint, now: &Checkpoint, proof: &[Hash]) -> Result<(), Fork> {
    if !needs_proof(before, now)? {
        return Ok(());
    }
    check_tree(&proof.to_vec(), now.size, now.root, before.size, before.root)
        .map_err(|_| Fork::Other { origin: now.origin.clone(), before: before.size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NoTiles, tree};
    use crate::tree::Tree;

    fn seen(tree: &Tree) -> Checkpoint {
        Checkpoint { origin: "example.com".to_owned(), size: tree.size(), root: tree.root() }
    }

    #[test]
    fn a_log_that_went_on_is_told_from_one_that_was_cut_or_changed() {
        let (before, now, other) = (tree("a", 100), tree("a", 200), tree("b", 200));
        check(&seen(&before), &seen(&now), &now.prove_prefix(100, &NoTiles).unwrap()).unwrap();
        check(&seen(&now), &seen(&now), &[]).unwrap();
        check(&seen(&Tree::default()), &seen(&now), &[]).unwrap();
        let fork = check(&seen(&before), &seen(&other), &other.prove_prefix(100, &NoTiles).unwrap()).unwrap_err();
        assert!(matches!(fork, Fork::Other { before: 100, .. }));
        assert!(matches!(check(&seen(&now), &seen(&other), &[]), Err(Fork::Other { .. })));
        assert!(matches!(check(&seen(&now), &seen(&before), &[]), Err(Fork::Shorter { before: 200, now: 100, .. })));
        assert!(check(&seen(&before), &seen(&now), &[]).is_err(), "no proof, no belief");
    }
}
