//! The evidence of the `config` log: a tree over its records, signed checkpoints, and proofs for whoever asks.
//!
//! It is derived from the journal and never read to decide: brought level in the background after a start, and
//! within a moment of every commit. See `docs/decisions/0017-evidence-tree.md`.
mod folder;
mod key;
mod offline;
mod routes;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use mcpctl_core::ids::Seq;
use mcpctl_core::log::{LogError, LogReader};
use mcpctl_core::world::World as _;
use mcpctl_tlog::{
    Checkpoint, CheckpointError, Hash, LogKey, LogSigner, Proof, Resource, Tree, TreeError, bundle, record_hash,
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::published::Published;
use folder::Folder;

pub use key::KeyError;
pub use offline::{Exported, OfflineError, Repaired, Verified, export, repair, verify};
pub use routes::{MAY_READ, routes};

/// Shortest time between two checkpoints: under load one signature stands for all that was committed meanwhile.
const SIGN_EVERY: Duration = Duration::from_millis(50);
/// Shortest time between two checkpoints on disk.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Records read from the log at once.
const CHUNK: u64 = 4096;

/// Why the evidence can't be had.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Its key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Files can't be read or written.
    #[error("can't use the files of the evidence tree in {path}")]
    Files {
        /// The folder.
        path: std::path::PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The log has fewer records than were signed for.
    #[error(
        "the log has {now} records, and a checkpoint was signed for {signed}: acknowledged records are missing. Nothing was changed: restore the log from a copy, or delete {path} to go on without them"
    )]
    Shorter {
        /// Records there are.
        now: u64,
        /// Records signed for.
        signed: u64,
        /// The checkpoint.
        path: std::path::PathBuf,
    },
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The tree has no answer.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A checkpoint can't be signed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The records are not those that were signed for.
    #[error(
        "the log is not the one that was signed at {signed} records: it was changed outside this program, and nothing more is signed"
    )]
    Altered {
        /// Records signed for.
        signed: u64,
    },
}

/// A checkpoint, and the note that it stands in.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: Vec<u8>,
}

/// The evidence of one log.
pub struct Evidence {
    folder: Folder,
    signer: LogSigner,
    log: Arc<dyn LogReader>,
    tree: RwLock<Tree>,
    newest: ArcSwapOption<Signed>,
    /// The checkpoint that an earlier run left: the log must go on from there.
    before: Option<Checkpoint>,
    alarm: Mutex<Option<String>>,
    kept: Mutex<Option<Instant>>,
}

impl Evidence {
    /// Opens the evidence of the log in a data folder. A key is made at the first start, for this origin or a random one.
    ///
    /// # Errors
    /// When the key is exposed or damaged, or the log has fewer records than were signed for.
    pub fn open(data: &Path, origin: Option<&str>, log: Arc<dyn LogReader>) -> Result<Self, EvidenceError> {
        let signer = key::open(data, origin)?;
        let folder = Folder::open(data, signer.key())?;
        let before = folder.checkpoint(signer.key());
        if let Some(signed) = before.as_ref().filter(|signed| signed.size > log.head().0) {
            let (now, path) = (log.head().0, folder.checkpoint_path());
            return Err(EvidenceError::Shorter { now, signed: signed.size, path });
        }
        let (tree, newest) = (RwLock::default(), ArcSwapOption::empty());
        let (alarm, kept) = (Mutex::new(None), Mutex::new(None));
        Ok(Self { folder, signer, log, tree, newest, before, alarm, kept })
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

    /// Brings the tree level with the log up to a seq, and signs it.
    ///
    /// # Errors
    /// When the log can't be read, or is not the one that was signed before.
    pub fn catch_up(&self, head: Seq) -> Result<(), EvidenceError> {
        if self.alarm().is_some() {
            return Ok(());
        }
        while self.size() < head.0 {
            let leaves = self.leaf_hashes(self.size() + 1, CHUNK.min(head.0 - self.size()))?;
            if leaves.is_empty() {
                break;
            }
            leaves.into_iter().try_for_each(|leaf| self.push(leaf))?;
        }
        let (size, root) = self.head();
        if self.newest().is_some_and(|newest| newest.checkpoint.size == size) {
            return Ok(());
        }
        self.newest.store(Some(Arc::new(self.sign(size, root)?)));
        let due = self.kept.lock().is_none_or(|kept| kept.elapsed() >= KEEP_EVERY);
        if due { self.keep() } else { Ok(()) }
    }

    fn push(&self, leaf: Hash) -> Result<(), EvidenceError> {
        let mut tree = self.tree.write().unwrap_or_else(PoisonError::into_inner);
        let full = tree.push(leaf);
        if let Some(signed) = self.before.as_ref().filter(|signed| signed.size == tree.size())
            && signed.root != tree.root()
        {
            let altered = EvidenceError::Altered { signed: signed.size };
            tracing::error!("{altered}");
            *self.alarm.lock() = Some(altered.to_string());
            return Err(altered);
        }
        match full {
            Some((n, tile)) => self.folder.put(&tree, n, &tile),
            None => Ok(()),
        }
    }

    fn leaf_hashes(&self, from: u64, count: u64) -> Result<Vec<Hash>, LogError> {
        let mut hashes = Vec::new();
        self.log.scan(Seq(from), &mut |seq, bytes| {
            hashes.push(record_hash(bytes));
            seq.0 - from + 1 < count
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
        let Some(first) = n.checked_mul(mcpctl_tlog::TILE_WIDTH) else { return Ok(None) };
        if first.checked_add(width).is_none_or(|end| end > self.size()) {
            return Ok(None);
        }
        let (mut entries, mut fits) = (Vec::new(), true);
        self.log.scan(Seq(first + 1), &mut |seq, bytes| {
            fits &= bundle::push(&mut entries, bytes);
            seq.0 < first + width
        })?;
        Ok(fits.then_some(entries))
    }

    /// The stored bytes of an event, and the proof that it is in the log; `None` when the log has it not.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn prove(&self, seq: Seq) -> Result<Option<(Vec<u8>, Proof)>, EvidenceError> {
        let Some(index) = seq.0.checked_sub(1).filter(|index| *index < self.size()) else { return Ok(None) };
        let Some(event) = self.log.read(seq)? else { return Ok(None) };
        let proof = self.with_tiles(|tree| Ok((tree.prove_entry(index, &self.folder)?, tree.size(), tree.root())));
        let (hashes, size, root) = proof?;
        let checkpoint = self.sign(size, root)?.note;
        Ok(Some((event, Proof { index, hashes, checkpoint })))
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

    /// Asks the tree; a tile on disk that is missing or is not the tree's is made again from the journal.
    fn with_tiles<T>(&self, ask: impl Fn(&Tree) -> Result<T, TreeError>) -> Result<T, EvidenceError> {
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        match ask(&tree) {
            Err(TreeError::Tile { .. } | TreeError::Read(_) | TreeError::Proof(_)) => {}
            other => return Ok(other?),
        }
        for n in 0..tree.size() / mcpctl_tlog::TILE_WIDTH {
            if !self.folder.has(&tree, n) {
                let first = n * mcpctl_tlog::TILE_WIDTH + 1;
                let hashes = self.leaf_hashes(first, mcpctl_tlog::TILE_WIDTH)?;
                let tile: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
                tracing::warn!(
                    tile = n,
                    "a tile of the evidence tree was damaged or missing: made again from the journal"
                );
                self.folder.put(&tree, n, &tile)?;
            }
        }
        Ok(ask(&tree)?)
    }

    /// Keeps the tree level with what is published, until stopped; then leaves the last checkpoint on disk.
    pub(super) async fn follow(self: Arc<Self>, published: Published, stop: CancellationToken) {
        let mut states = published.follow();
        loop {
            let head = states.borrow_and_update().seq();
            let this = self.clone();
            let caught_up = tokio::task::spawn_blocking(move || this.catch_up(head)).await;
            if let Ok(Err(error)) = caught_up {
                tracing::error!(%error, "the evidence tree is not level with the log");
            }
            let wait = async {
                tokio::time::sleep(SIGN_EVERY).await;
                states.changed().await
            };
            tokio::select! {
                () = stop.cancelled() => break,
                changed = wait => if changed.is_err() { break },
            }
        }
        let head = published.load().seq();
        let last = tokio::task::spawn_blocking(move || self.catch_up(head).and_then(|()| self.keep())).await;
        if let Ok(Err(error)) = last {
            tracing::warn!(%error, "the last checkpoint is not on disk");
        }
    }
}

#[cfg(test)]
mod interop_tests;
#[cfg(test)]
mod tests;
