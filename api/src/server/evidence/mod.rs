//! The evidence of a log: a tree over its entries, signed checkpoints, and proofs for whoever asks.
//!
//! It is derived from the journals and never read to decide: brought level in the background after a start, and
//! within a moment of every commit. See `docs/decisions/0017-evidence-tree.md` and `0019-audit-records.md`.
mod anchors;
mod error;
mod export;
mod folder;
mod follow;
mod key;
mod log_name;
mod offline;
mod routes;
mod shows;
mod source;
mod state_roots;
pub mod witnesses;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::log::LogReader;
use mcpctl_core::log::disk::{Disk, RealDisk};
use mcpctl_core::record::AuditAnchor;
use mcpctl_tlog::{
    Checkpoint, HASH_BYTES, Hash, Leaves as _, LogKey, LogSigner, Proof, Resource, TILE_WIDTH, Tree, TreeError, bundle,
};
use parking_lot::Mutex;

use super::audit::AuditLog;
use super::published::Published;
use anchors::Anchors;
use folder::Folder;
use source::{Leaf, Source};
use state_roots::StateRoots;

pub use error::EvidenceError;
pub use export::{Exported, export};
pub(super) use follow::Heads;
pub use key::KeyError;
pub use log_name::{LogName, UnknownLog};
pub use offline::{OfflineError, Repaired, Verified, repair, verify};
pub use routes::{MAY_READ, routes};

/// Shortest time between two checkpoints on disk.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Records read from the log at once.
const CHUNK: u64 = 4096;

/// A checkpoint, and the note that it stands in.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: Vec<u8>,
}

/// An earlier size, and the proof that the log goes on from it.
type Prefix = (u64, Vec<Hash>);

/// The evidence of one log.
pub struct Evidence {
    name: LogName,
    folder: Folder,
    signer: LogSigner,
    source: Box<dyn Source>,
    tree: RwLock<Tree>,
    newest: ArcSwapOption<Signed>,
    /// The checkpoint that an earlier run left: the log must go on from there.
    before: Option<Checkpoint>,
    /// What the log of events says of the audit log: it must go on from there as well.
    anchors: Anchors,
    alarm: Mutex<Option<String>>,
    kept: Mutex<Option<Instant>>,
}

impl Evidence {
    /// Opens the evidence of the config log in a data folder. A key is made at the first start, for this origin or a
    /// random one.
    ///
    /// # Errors
    /// When the key is exposed or damaged, or the log has fewer records than were signed for.
    pub fn open(data: &Path, origin: Option<&str>, log: Arc<dyn LogReader>) -> Result<Self, EvidenceError> {
        Self::of(data, LogName::Config, origin, Box::new(log), &RealDisk)
    }

    /// Opens the evidence of the audit log, whose origin lies beside that of the config log.
    ///
    /// # Errors
    /// As for [`Evidence::open`], and when it has fewer entries than the log of events says (`anchored`).
    pub fn open_audit(
        data: &Path,
        config: &LogKey,
        audit: Arc<AuditLog>,
        anchored: Option<(Seq, AuditAnchor)>,
    ) -> Result<Self, EvidenceError> {
        let origin = LogName::Audit.beside(config.origin());
        let this = Self::of(data, LogName::Audit, Some(&origin), Box::new(audit), &RealDisk)?;
        let anchors = Anchors::of(data, anchored);
        anchors.not_shorter(this.source.head())?;
        Ok(Self { anchors, ..this })
    }

    /// Where the log stands, as it was signed last.
    #[must_use]
    pub fn anchor(&self) -> Option<AuditAnchor> {
        let newest = self.newest()?;
        (newest.checkpoint.size > 0)
            .then(|| AuditAnchor { size: newest.checkpoint.size, root: Digest(newest.checkpoint.root.0) })
    }

    /// Opens the state log: which facts about rights held after each event of the config log.
    ///
    /// # Errors
    /// As for [`Evidence::open`].
    pub(super) fn open_state(
        data: &Path,
        config: &LogKey,
        log: Arc<dyn LogReader>,
        published: Published,
    ) -> Result<Self, EvidenceError> {
        let origin = LogName::State.beside(config.origin());
        Self::of(data, LogName::State, Some(&origin), Box::new(StateRoots::new(log, published)), &RealDisk)
    }

    fn of(
        data: &Path,
        name: LogName,
        origin: Option<&str>,
        source: Box<dyn Source>,
        disk: &'static dyn Disk,
    ) -> Result<Self, EvidenceError> {
        let signer = key::open_on(data, name, origin, disk)?;
        let folder = Folder::open(data, name, signer.key(), disk)?;
        let before = folder.checkpoint(signer.key());
        if let Some(signed) = before.as_ref().filter(|signed| signed.size > source.head()) {
            let (now, path) = (source.head(), folder.checkpoint_path());
            return Err(EvidenceError::Shorter { now, signed: signed.size, path });
        }
        let (tree, newest) = (RwLock::default(), ArcSwapOption::empty());
        let (alarm, kept) = (Mutex::new(None), Mutex::new(None));
        Ok(Self { name, folder, signer, source, tree, newest, before, anchors: Anchors::default(), alarm, kept })
    }

    /// Which log it is of.
    #[must_use]
    pub const fn name(&self) -> LogName {
        self.name
    }

    /// The public key of the log.
    #[must_use]
    pub fn key(&self) -> &LogKey {
        self.signer.key()
    }

    /// The newest checkpoint; `None` until the tree is level with the log for the first time.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<Signed>> {
        self.newest.load_full()
    }

    /// Why nothing is signed any more, if so.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        self.alarm.lock().clone()
    }

    /// Brings the tree level with the log up to a position, and signs it.
    ///
    /// # Errors
    /// When the log can't be read, or is not the one that was signed before.
    pub fn catch_up(&self, head: u64) -> Result<(), EvidenceError> {
        if self.alarm().is_some() {
            return Ok(());
        }
        let grown = self.grow(head, self.name == LogName::State);
        let grown = match grown {
            // Tiles are believed for a start that need not derive everything; when they lead elsewhere, everything is.
            Err(EvidenceError::Altered { .. } | EvidenceError::LostTile { .. }) if self.name == LogName::State => {
                tracing::warn!(log = %self.name, "the tiles lead to another root: they are made again");
                *self.tree.write().unwrap_or_else(PoisonError::into_inner) = Tree::default();
                self.grow(head, false)
            }
            grown => grown,
        };
        if let Some(error) = grown.as_ref().err().filter(|error| error.is_alarm()) {
            self.raise(error);
        }
        grown?;
        let (size, root) = self.head();
        if self.newest().is_some_and(|newest| newest.checkpoint.size == size) {
            return Ok(());
        }
        self.newest.store(Some(Arc::new(self.sign(size, root)?)));
        let due = self.kept.lock().is_none_or(|kept| kept.elapsed() >= KEEP_EVERY);
        if due { self.keep() } else { Ok(()) }
    }

    /// Takes in what the log has up to a position; with `believing`, from tiles as far as they were signed for.
    fn grow(&self, head: u64, believing: bool) -> Result<(), EvidenceError> {
        let signed = self.before.as_ref().filter(|_| believing).map_or(0, |signed| signed.size.min(head));
        while self.size() < head {
            let size = self.size();
            if size + 1 < self.source.first() || size + TILE_WIDTH <= signed {
                self.push_dropped(size)?;
                continue;
            }
            let leaves = self.leaf_hashes(size + 1, CHUNK.min(head - size))?;
            if leaves.is_empty() {
                break;
            }
            leaves.into_iter().try_for_each(|leaf| self.push(leaf))?;
        }
        Ok(())
    }

    /// Entries that were dropped live on in their tile: it was made durable before.
    fn push_dropped(&self, size: u64) -> Result<(), EvidenceError> {
        let (n, within) = (size / TILE_WIDTH, (size % TILE_WIDTH) as usize);
        let tile = self.folder.full(n).ok().filter(|tile| tile.len() == TILE_WIDTH as usize * HASH_BYTES);
        let tile = tile.ok_or(EvidenceError::LostTile { n })?;
        let (hashes, _) = tile.as_chunks::<HASH_BYTES>();
        hashes[within..].iter().try_for_each(|hash| self.push(Hash(*hash)))
    }

    fn raise(&self, error: &EvidenceError) {
        tracing::error!(log = %self.name, "{error}");
        *self.alarm.lock() = Some(error.to_string());
    }

    fn push(&self, leaf: Hash) -> Result<(), EvidenceError> {
        let mut tree = self.tree.write().unwrap_or_else(PoisonError::into_inner);
        let full = tree.push(leaf);
        if let Some(signed) = self.before.as_ref().filter(|signed| signed.size == tree.size())
            && signed.root != tree.root()
        {
            return Err(EvidenceError::Altered { signed: signed.size });
        }
        self.anchors.hold(&tree)?;
        match full {
            Some((n, tile)) => self.folder.put(&tree, n, &tile),
            None => Ok(()),
        }
    }

    /// Hashes of the leaves from a position on: fewer than `count`, or none, when they are not there or no more.
    fn leaf_hashes(&self, from: u64, count: u64) -> Result<Vec<Hash>, EvidenceError> {
        let (mut hashes, mut next) = (Vec::new(), from);
        self.source.scan(from, &mut |position, leaf| {
            if position != next {
                return false;
            }
            hashes.push(leaf.hash());
            next += 1;
            next - from < count
        })?;
        Ok(hashes)
    }

    fn size(&self) -> u64 {
        self.tree.read().unwrap_or_else(PoisonError::into_inner).size()
    }

    fn head(&self) -> (u64, Hash) {
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        (tree.size(), tree.root())
    }

    fn sign(&self, size: u64, root: Hash) -> Result<Signed, EvidenceError> {
        let checkpoint = Checkpoint { origin: self.key().origin().to_owned(), size, root };
        Ok(Signed { note: self.signer.sign(size, root)?, checkpoint })
    }

    /// Puts the newest checkpoint and the tiles of the right edge on disk.
    fn keep(&self) -> Result<(), EvidenceError> {
        let Some(newest) = self.newest() else { return Ok(()) };
        *self.kept.lock() = Some(Instant::now());
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        if tree.size() == newest.checkpoint.size {
            self.folder.put_edge(&tree)?;
        }
        self.folder.put_checkpoint(&newest.note)
    }

    /// The evidence of both logs on a disk that may fail.
    #[cfg(test)]
    pub(super) fn open_both_on(
        data: &Path,
        log: Arc<dyn LogReader>,
        audit: Arc<AuditLog>,
        disk: &'static dyn Disk,
    ) -> Result<[Self; 2], EvidenceError> {
        let config = Self::of(data, LogName::Config, None, Box::new(log), disk)?;
        let origin = LogName::Audit.beside(config.key().origin());
        Ok([config, Self::of(data, LogName::Audit, Some(&origin), Box::new(audit), disk)?])
    }

    #[cfg(test)]
    pub(super) fn keep_for_tests(&self) -> Result<(), EvidenceError> {
        self.keep()
    }

    /// A resource of the log, as it is served; `None` when the log has it not.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn resource(&self, resource: Resource) -> Result<Option<Vec<u8>>, EvidenceError> {
        match resource {
            Resource::Checkpoint => Ok(self.newest().map(|newest| newest.note.clone())),
            Resource::Tile { level, n, width } => self.with_tiles(|tree| tree.tile(level, n, width, &self.folder)),
            Resource::Entries { n, width } => self.entries(n, width),
        }
    }

    fn entries(&self, n: u64, width: u64) -> Result<Option<Vec<u8>>, EvidenceError> {
        let Some(first) = n.checked_mul(TILE_WIDTH) else { return Ok(None) };
        if first.checked_add(width).is_none_or(|end| end > self.size()) {
            return Ok(None);
        }
        let gone = || EvidenceError::Gone { what: format!("a part of the entries {first} to {}", first + width - 1) };
        if first + 1 < self.source.first() {
            return Err(gone());
        }
        let (mut entries, mut fits, mut whole) = (Vec::new(), true, true);
        self.source.scan(first + 1, &mut |position, leaf| {
            match leaf {
                Leaf::Bytes(bytes) => fits &= bundle::push(&mut entries, bytes),
                Leaf::Hash(_) => whole = false,
            }
            position < first + width
        })?;
        if whole { Ok(fits.then_some(entries)) } else { Err(gone()) }
    }

    /// An entry, and the proof that it is in the log; `None` when the log has it not.
    ///
    /// # Errors
    /// When the log can't be read, or only the hash of the entry is left.
    pub fn prove(&self, position: Seq) -> Result<Option<(Vec<u8>, Proof)>, EvidenceError> {
        let Some(index) = position.0.checked_sub(1).filter(|index| *index < self.size()) else { return Ok(None) };
        let event = self.entry(position.0)?;
        let proof = self.with_tiles(|tree| Ok((tree.prove_entry(index, &self.folder)?, tree.size(), tree.root())));
        let (hashes, size, root) = proof?;
        let checkpoint = self.sign(size, root)?.note;
        Ok(Some((event, Proof { index, hashes, checkpoint })))
    }

    fn entry(&self, position: u64) -> Result<Vec<u8>, EvidenceError> {
        let mut found = None;
        self.source.scan(position, &mut |at, leaf| {
            if let (true, Leaf::Bytes(bytes)) = (at == position, leaf) {
                found = Some(bytes.to_vec());
            }
            false
        })?;
        found.ok_or_else(|| EvidenceError::Gone { what: format!("the entry at position {position}") })
    }

    /// The proof that the log goes on from the one of its first `size` records, and the checkpoint it leads to; `None` when
    /// the log is shorter.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn prove_prefix(&self, size: u64) -> Result<Option<(Vec<Hash>, Signed)>, EvidenceError> {
        if size == 0 || size > self.size() {
            return Ok(None);
        }
        let proof = self.with_tiles(|tree| Ok((tree.prove_prefix(size, &self.folder)?, tree.size(), tree.root())));
        let (hashes, size, root) = proof?;
        Ok(Some((hashes, self.sign(size, root)?)))
    }

    /// For each earlier size the proof that the log goes on from it, all to one checkpoint. A size that the log never had, such
    /// as 0 or a larger one, is answered as 0 with no proof.
    pub(super) fn prove_prefixes(&self, sizes: &[u64]) -> Result<(Signed, Vec<Prefix>), EvidenceError> {
        let proved = self.with_tiles(|tree| {
            let one = |size: &u64| match *size {
                size if size == tree.size() => Ok((size, Vec::new())),
                size if size > 0 && size < tree.size() => Ok((size, tree.prove_prefix(size, &self.folder)?)),
                _ => Ok((0, Vec::new())),
            };
            let proofs: Result<Vec<_>, TreeError> = sizes.iter().map(one).collect();
            Ok((proofs?, tree.size(), tree.root()))
        });
        let (proofs, size, root) = proved?;
        Ok((self.sign(size, root)?, proofs))
    }

    /// Asks the tree; a tile on disk that is missing or is not the tree's is made again from the journal.
    fn with_tiles<T>(&self, ask: impl Fn(&Tree) -> Result<T, TreeError>) -> Result<T, EvidenceError> {
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        match ask(&tree) {
            Err(TreeError::Tile { .. } | TreeError::Read(_) | TreeError::Proof(_)) => {}
            other => return Ok(other?),
        }
        for n in 0..tree.size() / TILE_WIDTH {
            if !self.folder.has(&tree, n) {
                let hashes = self.leaf_hashes(n * TILE_WIDTH + 1, TILE_WIDTH)?;
                let tile: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
                if !tree.holds(n, &tile) {
                    return Err(EvidenceError::LostTile { n });
                }
                tracing::warn!(
                    log = %self.name,
                    tile = n,
                    "a tile of the evidence tree was damaged or missing: made again from the journal"
                );
                self.folder.put(&tree, n, &tile)?;
            }
        }
        Ok(ask(&tree)?)
    }

    /// Makes the tiles and the checkpoint durable, and answers up to which position entries may be dropped: the hashes of
    /// those are kept in full tiles. What is dropped before that can't be verified any more.
    ///
    /// # Errors
    /// When files can't be written or synced, or the tree is not level with the log yet.
    pub fn settle(&self) -> Result<u64, EvidenceError> {
        if self.newest().is_none() || self.alarm().is_some() {
            return Ok(0);
        }
        self.keep()?;
        let full = self.size() / TILE_WIDTH;
        // Asking for a tile makes it again if it is damaged.
        for n in 0..full {
            self.with_tiles(|tree| tree.tile(0, n, TILE_WIDTH, &self.folder))?;
        }
        self.folder.sync()?;
        Ok(full * TILE_WIDTH)
    }
}

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod interop_tests;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;
/// What tests elsewhere begin with.
#[cfg(test)]
pub(crate) mod testing {
    pub(crate) use super::tests::House;
}
