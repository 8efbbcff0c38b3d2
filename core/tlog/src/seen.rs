//! What an auditor keeps of a log, and what it makes of what it is shown later. The command line and every gateway judge by
//! this: the key is believed at first sight; from then on the log may only grow.
use tlog_tiles::tlog::Hash;

use crate::checkpoint::{Checkpoint, CheckpointError, LogKey};
use crate::consistency::{Fork, check};

/// A log as it was seen last.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its public key.
    pub key: &'a str,
    /// The signed note of its last checkpoint.
    pub note: &'a [u8],
}

/// A log as it is shown now.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The public key that it says is its own.
    pub key: &'a str,
    /// The signed note of its newest checkpoint.
    pub note: &'a [u8],
    /// The proof that it goes on from the checkpoint that was seen; empty when there is none.
    pub proof: &'a [Hash],
}

/// Why a log is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// It signs with another key.
    #[error("the log shows the key {shown}, and its key was {kept}")]
    OtherKey {
        /// The key that it shows.
        shown: String,
        /// The key that it had.
        kept: String,
    },
    /// What it shows is not signed by it.
    #[error(transparent)]
    Unsigned(CheckpointError),
    /// It does not go on from what was seen.
    #[error(transparent)]
    Fork(#[from] Fork),
    /// What was kept of it can't be read: no fault of the log.
    #[error("what was kept of the log can't be read: {0}")]
    Kept(#[source] CheckpointError),
}

impl Distrust {
    /// Whether it is the log that is to blame, and for ever.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Kept(_))
    }
}

/// Judges what is shown of a log by what was seen of it before, if anything. Answers the newest checkpoint, to be kept.
///
/// # Errors
/// See [`Distrust`].
pub fn judge(seen: Option<Seen<'_>>, shown: Shown<'_>) -> Result<Checkpoint, Distrust> {
    let key = LogKey::read(shown.key).map_err(Distrust::Unsigned)?;
    if let Some(seen) = seen.filter(|seen| seen.key.trim() != key.as_str()) {
        return Err(Distrust::OtherKey { shown: key.as_str().to_owned(), kept: seen.key.trim().to_owned() });
    }
    let now = key.open(shown.note).map_err(Distrust::Unsigned)?;
    if let Some(seen) = seen {
        check(&key.open(seen.note).map_err(Distrust::Kept)?, &now, shown.proof)?;
    }
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::LogSigner;
    use crate::testing::{NoTiles, signer, tree};

    /// Judges a log `of` so many entries, signed by a key, by an honest one of 50.
    fn judged(of: &str, size: u64, by: &LogSigner, proof: bool) -> Result<Checkpoint, Distrust> {
        let (before, now) = (tree("a", 50), tree(of, size));
        let (kept, note) = (signer(1).sign(50, before.root()).unwrap(), by.sign(size, now.root()).unwrap());
        let proof = if proof && size > 50 { now.prove_prefix(50, &NoTiles).unwrap() } else { Vec::new() };
        let seen = Seen { key: &format!("{}\n", signer(1).key().as_str()), note: &kept };
        judge(Some(seen), Shown { key: by.key().as_str(), note: &note, proof: &proof })
    }

    #[test]
    fn a_log_may_grow_and_nothing_else() {
        let (own, other) = (signer(1), signer(2));
        assert_eq!(judged("a", 80, &own, true).unwrap().size, 80);
        assert_eq!(judged("a", 50, &own, true).unwrap().size, 50);
        assert!(matches!(judged("a", 80, &own, false), Err(Distrust::Fork(Fork::Other { before: 50, .. }))));
        assert!(matches!(judged("b", 80, &own, true), Err(Distrust::Fork(Fork::Other { .. }))));
        assert!(matches!(judged("b", 50, &own, true), Err(Distrust::Fork(Fork::Other { .. }))));
        assert!(matches!(judged("a", 40, &own, true), Err(Distrust::Fork(Fork::Shorter { before: 50, now: 40, .. }))));
        assert!(matches!(judged("a", 80, &other, true), Err(Distrust::OtherKey { .. })));
    }

    #[test]
    fn the_first_sight_needs_a_signature_and_what_was_kept_badly_is_no_fault_of_the_log() {
        let (own, tree) = (signer(1), tree("a", 7));
        let note = own.sign(7, tree.root()).unwrap();
        let shown = Shown { key: own.key().as_str(), note: &note, proof: &[] };
        assert_eq!(judge(None, shown).unwrap().size, 7);
        let by_another = signer(2).sign(7, tree.root()).unwrap();
        assert!(matches!(judge(None, Shown { note: &by_another, ..shown }), Err(Distrust::Unsigned(_))));
        assert!(matches!(judge(None, Shown { key: "nonsense", ..shown }), Err(Distrust::Unsigned(_))));
        let seen = Seen { key: own.key().as_str(), note: b"torn" };
        let kept = judge(Some(seen), shown).unwrap_err();
        assert!(matches!(kept, Distrust::Kept(_)) && !kept.is_final(), "{kept}");
    }
}
