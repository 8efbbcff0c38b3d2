//! The files of the evidence tree, laid out as C2SP tlog-tiles says, so that a plain file server could serve them. Entry
//! bundles are not among them: they are cut from the journal when asked for, or the disk would hold every event thrice.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use mcpctl_core::log::disk::{Disk, RealDisk, put_whole};
use mcpctl_tlog::{Checkpoint, Leaves, LogKey, Resource, TILE_WIDTH, Tree};

use super::{EvidenceError, LogName};

/// Most levels of tiles that a tree of 2^64 entries has.
const LEVELS: u8 = 8;

/// The folder of one log's evidence.
pub(super) struct Folder {
    dir: PathBuf,
    disk: &'static dyn Disk,
    /// Two that make a tile again at once write different drafts.
    drafts: AtomicU64,
}

/// What drafts are called: one that a crash left is removed by the next open.
const DRAFT: &str = "draft";

impl Folder {
    /// Opens the folder, and puts the public key into it.
    pub(super) fn open(
        data: &Path,
        log: LogName,
        key: &LogKey,
        disk: &'static dyn Disk,
    ) -> Result<Self, EvidenceError> {
        let folder = Self { disk, ..Self::at(data, log) };
        for entry in fs::read_dir(&folder.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                let _ = fs::remove_file(entry.path());
            }
        }
        folder.write("log.vkey", format!("{}\n", key.as_str()).as_bytes())?;
        Ok(folder)
    }

    /// The folder as it is, of the log in a data folder.
    pub(super) fn at(data: &Path, log: LogName) -> Self {
        Self::exported(&data.join("tlog").join(log.as_str()))
    }

    /// Tiles that lie elsewhere.
    pub(super) fn exported(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), disk: &RealDisk, drafts: AtomicU64::new(0) }
    }

    pub(super) fn checkpoint_path(&self) -> PathBuf {
        self.dir.join("checkpoint")
    }

    /// The checkpoint on disk, if there is one of this key. Another is no evidence of anything.
    pub(super) fn checkpoint(&self, key: &LogKey) -> Option<Checkpoint> {
        let note = fs::read(self.checkpoint_path()).ok()?;
        let opened = key.open(&note);
        opened.inspect_err(|error| tracing::warn!(%error, "the checkpoint on disk is not used")).ok()
    }

    /// Durably: what was signed must not be forgotten, or a log that is shorter could be signed again.
    pub(super) fn put_checkpoint(&self, note: &[u8]) -> Result<(), EvidenceError> {
        let path = self.checkpoint_path();
        let failed = |source| EvidenceError::Files { path: path.clone(), source };
        self.disk.create_dir(&self.dir).map_err(failed)?;
        put_whole(self.disk, &path, &self.draft(), note).map_err(failed)
    }

    /// Puts a full tile of leaf hashes, and the tiles above that are full with it, unless they are there already.
    pub(super) fn put(&self, tree: &Tree, n: u64, tile: &[u8]) -> Result<(), EvidenceError> {
        self.put_once(Resource::Tile { level: 0, n, width: TILE_WIDTH }, tile)?;
        let (mut level, mut count) = (1, n + 1);
        while count.is_multiple_of(TILE_WIDTH) {
            let n = count / TILE_WIDTH - 1;
            if let Some(tile) = tree.tile(level, n, TILE_WIDTH, self)? {
                self.put_once(Resource::Tile { level, n, width: TILE_WIDTH }, &tile)?;
            }
            (level, count) = (level + 1, count / TILE_WIDTH);
        }
        Ok(())
    }

    /// Puts the tiles that are not full yet, in place of those of an earlier size.
    pub(super) fn put_edge(&self, tree: &Tree) -> Result<(), EvidenceError> {
        let mut at_level = tree.size();
        for level in 0..LEVELS {
            let (n, width) = (at_level / TILE_WIDTH, at_level % TILE_WIDTH);
            if width > 0
                && let Some(tile) = tree.tile(level, n, width, self)?
            {
                let path = self.dir.join(Resource::Tile { level, n, width }.to_string());
                let others = path.parent().map(Path::to_owned).unwrap_or_default();
                self.put_once(Resource::Tile { level, n, width }, &tile)?;
                self.remove_all_but(&others, &path);
            }
            at_level /= TILE_WIDTH;
        }
        Ok(())
    }

    /// Full tiles that end with leaf tile `n`, and are not on disk what they are in the tree.
    pub(super) fn damaged(&self, tree: &Tree, n: u64, tile: &[u8]) -> Vec<String> {
        let mut damaged = Vec::from_iter(self.unless_equal(Resource::Tile { level: 0, n, width: TILE_WIDTH }, tile));
        let (mut level, mut count) = (1, n + 1);
        while count.is_multiple_of(TILE_WIDTH) {
            damaged
                .extend(self.unless_same(tree, Resource::Tile { level, n: count / TILE_WIDTH - 1, width: TILE_WIDTH }));
            (level, count) = (level + 1, count / TILE_WIDTH);
        }
        damaged
    }

    /// The same of the tiles that are not full yet, for the size that was signed last.
    pub(super) fn damaged_edge(&self, tree: &Tree) -> Vec<String> {
        let (mut damaged, mut at_level) = (Vec::new(), tree.size());
        for level in 0..LEVELS {
            let (n, width) = (at_level / TILE_WIDTH, at_level % TILE_WIDTH);
            if width > 0 {
                damaged.extend(self.unless_same(tree, Resource::Tile { level, n, width }));
            }
            at_level /= TILE_WIDTH;
        }
        damaged
    }

    fn unless_same(&self, tree: &Tree, tile: Resource) -> Option<String> {
        let Resource::Tile { level, n, width } = tile else { return None };
        let expected = tree.tile(level, n, width, self).ok()??;
        self.unless_equal(tile, &expected)
    }

    fn unless_equal(&self, tile: Resource, expected: &[u8]) -> Option<String> {
        let name = tile.to_string();
        let same = fs::read(self.dir.join(&name)).is_ok_and(|found| found == expected);
        (!same).then_some(name)
    }

    fn put_once(&self, tile: Resource, bytes: &[u8]) -> Result<(), EvidenceError> {
        let name = tile.to_string();
        if fs::read(self.dir.join(&name)).is_ok_and(|found| found == bytes) {
            return Ok(());
        }
        self.write(&name, bytes)
    }

    /// Whether a full tile of leaf hashes is there, and is the tree's.
    pub(super) fn has(&self, tree: &Tree, n: u64) -> bool {
        self.full(n).is_ok_and(|tile| tree.holds(n, &tile))
    }

    /// Makes everything that is here durable.
    pub(super) fn sync(&self) -> Result<(), EvidenceError> {
        let failed = |source| EvidenceError::Files { path: self.dir.clone(), source };
        self.sync_all(&self.dir).map_err(failed)?;
        // The names of the folders above it too, up to the data folder.
        self.dir.ancestors().skip(1).take(2).try_for_each(|dir| self.disk.sync_dir(dir)).map_err(failed)
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            if path.is_dir() {
                self.sync_all(&path)?;
            } else {
                self.disk.sync_all(&path, &fs::File::open(&path)?)?;
            }
        }
        self.disk.sync_dir(path)
    }

    fn remove_all_but(&self, folder: &Path, keep: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path() != keep {
                let _ = self.disk.remove(&entry.path());
            }
        }
    }

    fn draft(&self) -> PathBuf {
        self.dir.join(format!("{DRAFT}.{}", self.drafts.fetch_add(1, Ordering::Relaxed)))
    }

    /// Writes a file as a whole: readers never see half of one. It may be lost in a power cut, and is made again then.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), EvidenceError> {
        let path = self.dir.join(name);
        let failed = |source| EvidenceError::Files { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            self.disk.create_dir(folder).map_err(failed)?;
        }
        let draft = self.draft();
        let file = self.disk.create(&draft).map_err(failed)?;
        let written = self.disk.write_at(&draft, &file, bytes, 0);
        written.and_then(|()| self.disk.rename(&draft, &path)).map_err(failed)
    }
}

impl Leaves for Folder {
    fn full(&self, n: u64) -> io::Result<Vec<u8>> {
        fs::read(self.dir.join(Resource::Tile { level: 0, n, width: TILE_WIDTH }.to_string()))
    }
}
