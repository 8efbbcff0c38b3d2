//! The log of a data folder, looked at from outside: verify, export for strangers, and repair of what can be proved.
use std::fs;
use std::path::{Path, PathBuf};

use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::log::{EventLog as _, LogError, durable};
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use mcpctl_tlog::{Checkpoint, Resource, TILE_WIDTH, Tree, record_hash};

use super::folder::Folder;
use super::{Evidence, EvidenceError, key};
use crate::server::data_folder::{self, FolderError};
use crate::server::effects::sealed_store::{SealError, SealedStore};
use crate::server::snapshot::{Snapshots, this_program};
use crate::server::start::open_log;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The log is damaged or can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The evidence says otherwise, or can't be read.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The data folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its key can't be used.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// There is no log.
    #[error("there is no log in {0}: name the data folder of mcpd or mcpctl up")]
    NoLog(PathBuf),
    /// Somewhere else can't be written.
    #[error("can't write {path}")]
    Write {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The log's origin.
    pub origin: String,
    /// Number of records: checksums, order and chain of hashes hold for all of them.
    pub records: u64,
    /// Hash of the last one.
    pub head: Digest,
    /// Root of the tree over them, base64.
    pub root: String,
    /// Size of the signed checkpoint on disk that the records agree with.
    pub checkpoint: Option<u64>,
    /// What is derived and damaged or missing: `mcpctl log repair` makes it again.
    pub repairable: Vec<String>,
    /// Whether every event was folded, and every snapshot compared with what came out.
    pub deep: bool,
}

/// Checks the log of a data folder without changing anything: every record, the chain, the tree against the checkpoint,
/// the tiles; and, `deep`, that every event folds and that a snapshot says the same.
///
/// # Errors
/// When something that can't be made again is damaged, missing or altered.
pub fn verify(data: &Path, deep: bool) -> Result<Verified, OfflineError> {
    let log = log_folder(data)?;
    let signer = key::open(data, None).map_err(EvidenceError::from)?;
    let folder = Folder::at(data);
    let before = folder.checkpoint(signer.key());
    let (mut tree, mut state, mut repairable) = (Tree::default(), State::default(), Vec::new());
    let snapshots = snapshots(data)?;
    let snapshot = if deep { snapshots.peek() } else { None };
    let mut altered = None;
    let decode_after = if deep { Seq(0) } else { Seq(u64::MAX) };
    let (records, head) = durable::verify(&log, decode_after, &mut |checked| {
        if let Some((n, tile)) = tree.push(record_hash(checked.bytes))
            && mcpctl_tlog::Leaves::full(&folder, n).ok().as_ref() != Some(&tile)
        {
            repairable.push(Resource::Tile { level: 0, n, width: TILE_WIDTH }.to_string());
        }
        if before.as_ref().is_some_and(|signed| signed.size == tree.size() && signed.root != tree.root()) {
            altered = Some(tree.size());
        }
        if deep {
            let (seq, hash) = (checked.seq, checked.hash);
            let folded = state.fold(&checked.record()?, hash).map(drop);
            folded
                .map_err(|error| LogError::Index { what: format!("the event at seq {seq} does not fold: {error}") })?;
            if snapshot
                .as_ref()
                .is_some_and(|snapshot| snapshot.seq() == seq && snapshot.to_image() != state.to_image())
            {
                repairable.push(format!("snapshot at {seq}"));
            }
        }
        Ok(())
    })?;
    if let Some(signed) = altered {
        return Err(EvidenceError::Altered { signed }.into());
    }
    shorter(&folder, before.as_ref(), records)?;
    if before.is_none() && records > Seq(0) {
        repairable.push("checkpoint".to_owned());
    }
    let (origin, root) = (signer.key().origin().to_owned(), tree.root().to_string());
    let checkpoint = before.map(|signed| signed.size);
    Ok(Verified { origin, records: records.0, head, root, checkpoint, repairable, deep })
}

fn shorter(folder: &Folder, before: Option<&Checkpoint>, records: Seq) -> Result<(), EvidenceError> {
    match before.filter(|signed| signed.size > records.0) {
        Some(signed) => {
            let path = folder.checkpoint_path();
            Err(EvidenceError::Shorter { now: records.0, signed: signed.size, path })
        }
        None => Ok(()),
    }
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Repaired {
    /// What was wrong before, as [`verify`] names it.
    pub repaired: Vec<String>,
    /// Number of records.
    pub records: u64,
}

/// Makes again what is derived (index, tiles, checkpoint, snapshot) and cuts off a write that nobody was told of. What had
/// been acknowledged is never touched: damage there is named and left.
///
/// # Errors
/// When the folder is in use, or the damage can't be repaired.
pub fn repair(data: &Path) -> Result<Repaired, OfflineError> {
    log_folder(data)?;
    data_folder::prepare(data)?;
    let before = verify(data, true)?;
    let snapshots = snapshots(data)?;
    if before.repairable.iter().any(|what| what.starts_with("snapshot")) {
        snapshots.discard();
    }
    let (mut log, state) = open_log(&data.join("log"), &snapshots)?;
    log.recover()?;
    let evidence = Evidence::open(data, None, log.reader())?;
    evidence.catch_up(state.seq())?;
    evidence.keep()?;
    Ok(Repaired { repaired: before.repairable, records: state.seq().0 })
}

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// The log's origin.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// The public key.
    pub key: String,
    /// How many files.
    pub files: u64,
}

/// Writes the whole log, as C2SP tlog-tiles, into a folder: checkpoint, key, tiles of hashes, entries. A plain file server
/// can serve it, and whoever has it can verify it offline.
///
/// # Errors
/// When the log is damaged or altered, or the folder can't be written.
pub fn export(data: &Path, to: &Path) -> Result<Exported, OfflineError> {
    let log = log_folder(data)?;
    let signer = key::open(data, None).map_err(EvidenceError::from)?;
    let before = Folder::at(data).checkpoint(signer.key());
    let mut out = Export { to, tree: Tree::default(), bundle: Vec::new(), files: 0, failed: None };
    let mut altered = None;
    let (records, _) = durable::verify(&log, Seq(u64::MAX), &mut |checked| {
        out.take(checked.bytes);
        if before.as_ref().is_some_and(|signed| signed.size == out.tree.size() && signed.root != out.tree.root()) {
            altered = Some(out.tree.size());
        }
        Ok(())
    })?;
    if let Some(signed) = altered {
        return Err(EvidenceError::Altered { signed }.into());
    }
    shorter(&Folder::at(data), before.as_ref(), records)?;
    out.edge();
    let note = signer.sign(out.tree.size(), out.tree.root()).map_err(EvidenceError::from)?;
    out.write("log.vkey", format!("{}\n", signer.key().as_str()).as_bytes());
    out.write("checkpoint", &note);
    match out.failed {
        Some(failed) => Err(failed),
        None => Ok(Exported {
            origin: signer.key().origin().to_owned(),
            size: out.tree.size(),
            key: signer.key().as_str().to_owned(),
            files: out.files,
        }),
    }
}

struct Export<'a> {
    to: &'a Path,
    tree: Tree,
    bundle: Vec<u8>,
    files: u64,
    failed: Option<OfflineError>,
}

impl Export<'_> {
    fn take(&mut self, entry: &[u8]) {
        let _ = mcpctl_tlog::bundle::push(&mut self.bundle, entry);
        let Some((n, tile)) = self.tree.push(record_hash(entry)) else { return };
        let bundle = std::mem::take(&mut self.bundle);
        self.write(&Resource::Entries { n, width: TILE_WIDTH }.to_string(), &bundle);
        self.write(&Resource::Tile { level: 0, n, width: TILE_WIDTH }.to_string(), &tile);
        let (mut level, mut count) = (1, n + 1);
        while count.is_multiple_of(TILE_WIDTH) {
            self.upper(level, count / TILE_WIDTH - 1, TILE_WIDTH);
            (level, count) = (level + 1, count / TILE_WIDTH);
        }
    }

    fn edge(&mut self) {
        let (n, width) = (self.tree.size() / TILE_WIDTH, self.tree.size() % TILE_WIDTH);
        if width > 0 {
            let bundle = std::mem::take(&mut self.bundle);
            self.write(&Resource::Entries { n, width }.to_string(), &bundle);
        }
        let mut at_level = self.tree.size();
        for level in 0..8 {
            if !at_level.is_multiple_of(TILE_WIDTH) {
                self.upper(level, at_level / TILE_WIDTH, at_level % TILE_WIDTH);
            }
            at_level /= TILE_WIDTH;
        }
    }

    fn upper(&mut self, level: u8, n: u64, width: u64) {
        if let Ok(Some(tile)) = self.tree.tile(level, n, width, &Folder::exported(self.to)) {
            self.write(&Resource::Tile { level, n, width }.to_string(), &tile);
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) {
        let path = self.to.join(name);
        let folder = path.parent().unwrap_or(self.to);
        if let Err(source) = fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes)) {
            self.failed.get_or_insert(OfflineError::Write { path, source });
        }
        self.files += 1;
    }
}

fn log_folder(data: &Path) -> Result<PathBuf, OfflineError> {
    let log = data.join("log");
    if log.is_dir() { Ok(log) } else { Err(OfflineError::NoLog(data.to_owned())) }
}

fn snapshots(data: &Path) -> Result<Snapshots, OfflineError> {
    let key = SealedStore::open(data)?.derive(crate::server::snapshot::KEY);
    Ok(Snapshots::new(data.join("snapshot"), key, this_program()))
}
