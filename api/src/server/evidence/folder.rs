//! The files of the evidence tree, laid out as C2SP tlog-tiles says, so that a plain file server could serve them. Entry
//! bundles are not among them: they are cut from the journal when asked for, or the disk would hold every event thrice.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mcpctl_tlog::{Checkpoint, Leaves, LogKey, Resource, TILE_WIDTH, Tree};

use super::{EvidenceError, LogName};

/// Most levels of tiles that a tree of 2^64 entries has.
const LEVELS: u8 = 8;

/// The folder of one log's evidence.
pub(super) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Opens the folder, and puts the public key into it.
    pub(super) fn open(data: &Path, log: LogName, key: &LogKey) -> Result<Self, EvidenceError> {
        let folder = Self::at(data, log);
        folder.write("log.vkey", format!("{}\n", key.as_str()).as_bytes())?;
        Ok(folder)
    }

    /// The folder as it is, of the log in a data folder.
    pub(super) fn at(data: &Path, log: LogName) -> Self {
        Self { dir: data.join("tlog").join(log.as_str()) }
    }

    /// Tiles that lie elsewhere.
    pub(super) fn exported(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
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

    pub(super) fn put_checkpoint(&self, note: &[u8]) -> Result<(), EvidenceError> {
        self.write("checkpoint", note)
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
                remove_all_but(&others, &path);
            }
            at_level /= TILE_WIDTH;
        }
        Ok(())
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
        sync_all(&self.dir).map_err(|source| EvidenceError::Files { path: self.dir.clone(), source })
    }

    /// Writes a file as a whole: readers never see half of one. It may be lost in a power cut, and is made again then.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), EvidenceError> {
        let path = self.dir.join(name);
        let failed = |source| EvidenceError::Files { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let draft = self.dir.join("draft");
        fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, &path)).map_err(failed)
    }
}

fn sync_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_all(&entry?.path())?;
        }
    }
    fs::File::open(path)?.sync_all()
}

fn remove_all_but(folder: &Path, keep: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path() != keep {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Leaves for Folder {
    fn full(&self, n: u64) -> io::Result<Vec<u8>> {
        fs::read(self.dir.join(Resource::Tile { level: 0, n, width: TILE_WIDTH }.to_string()))
    }
}
