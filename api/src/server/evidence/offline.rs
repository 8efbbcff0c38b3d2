//! The log of a data folder, looked at from outside: verify, export for strangers, and repair of what can be proved.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::log::{EventLog as _, LogError, durable, journal};
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use mcpctl_tlog::facts::Facts;
use mcpctl_tlog::state_root::StateRoot;
use mcpctl_tlog::{Checkpoint, HASH_BYTES, Hash, Leaves as _, LogKey, LogSigner, TILE_WIDTH, Tree};

use super::anchors::Anchors;
use super::folder::Folder;
use super::source::Leaf;
use super::state_roots::step;
use super::{Evidence, EvidenceError, LogName, key};
use crate::server::audit::{AuditLog, AuditRecord};
use crate::server::data_folder::{self, FolderError};
use crate::server::effects::sealed_store::{SealError, SealedStore};
use crate::server::prepare;
use crate::server::published::Published;
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
    /// Number of entries there ever were: checksums and order hold for all that are kept, and the chain of hashes of events.
    pub records: u64,
    /// Hash of the last event; the audit log has no chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Digest>,
    /// Root of the tree over them, base64.
    pub root: String,
    /// Size of the signed checkpoint on disk that the records agree with.
    pub checkpoint: Option<u64>,
    /// What is derived and damaged or missing: `mcpctl log repair` makes it again.
    pub repairable: Vec<String>,
    /// Audit entries that were dropped by retention: their hashes are kept and belong to the tree.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// Events that say where the audit log stood, and with which it agrees.
    #[serde(skip_serializing_if = "is_zero")]
    pub anchors: u64,
    /// Audit entries whose details were erased.
    #[serde(skip_serializing_if = "is_zero")]
    pub erased: u64,
    /// Whether every event was folded and every snapshot compared with what came out, or the details of every audit entry
    /// with what its header commits to.
    pub deep: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Checks a log of a data folder without changing anything: every record, the chain, the tree against the checkpoint, the
/// tiles; and, `deep`, that every event folds, that a snapshot says the same and that every sealed value opens, or that the
/// details of every audit entry are those that its header commits to.
///
/// # Errors
/// When something that can't be made again is damaged, missing or altered.
pub fn verify(data: &Path, log: LogName, deep: bool) -> Result<Verified, OfflineError> {
    data_folder::check(data)?;
    match log {
        LogName::Config => verify_config(data, deep),
        LogName::Audit => verify_audit(data, deep),
        LogName::State => verify_state(data, deep),
    }
}

/// Derives every state root again from the events, and compares the tree over them with tiles and checkpoint.
fn verify_state(data: &Path, deep: bool) -> Result<Verified, OfflineError> {
    let mut look = Look::at(data, LogName::State)?;
    each_state_root(data, &mut |root| look.take(Leaf::Bytes(root.to_text().as_bytes())))?;
    Ok(Verified { deep, ..look.end()? })
}

/// The state root after each event of a data folder's log.
pub(super) fn each_state_root(data: &Path, each: &mut dyn FnMut(&StateRoot)) -> Result<(), OfflineError> {
    let dir = log_folder(data, LogName::Config)?;
    let (mut state, mut facts) = (State::default(), Facts::default());
    durable::verify(&dir, Seq(0), &mut |checked| {
        let (seq, hash, bytes) = (checked.seq, checked.hash, checked.bytes.to_vec());
        let folded = state.fold(&checked.record()?, hash).map(drop);
        folded.map_err(|error| LogError::Index { what: format!("the event at seq {seq} does not fold: {error}") })?;
        each(&step(&state, &mut facts, &bytes)?);
        Ok(())
    })?;
    Ok(())
}

/// What the log of events says of the audit log, oldest first.
fn anchors(data: &Path) -> Result<Anchors, OfflineError> {
    let (dir, mut found) = (data.join("log"), Vec::new());
    // An audit log by itself, as in a copy for somebody, is judged by its checkpoint alone.
    if !dir.is_dir() {
        return Ok(Anchors::default());
    }
    durable::verify(&dir, Seq(0), &mut |checked| {
        let seq = checked.seq;
        found.extend(checked.record()?.header.audit.map(|anchor| (seq, anchor)));
        Ok(())
    })?;
    Ok(Anchors::of(data, found))
}

fn verify_config(data: &Path, deep: bool) -> Result<Verified, OfflineError> {
    let dir = log_folder(data, LogName::Config)?;
    let (mut look, mut state) = (Look::at(data, LogName::Config)?, State::default());
    let snapshots = snapshots(data)?;
    let snapshot = if deep { snapshots.peek() } else { None };
    let decode_after = if deep { Seq(0) } else { Seq(u64::MAX) };
    let (_, head) = durable::verify(&dir, decode_after, &mut |checked| {
        look.take(Leaf::Bytes(checked.bytes));
        if deep {
            let (seq, hash) = (checked.seq, checked.hash);
            let folded = state.fold(&checked.record()?, hash).map(drop);
            folded
                .map_err(|error| LogError::Index { what: format!("the event at seq {seq} does not fold: {error}") })?;
            if snapshot
                .as_ref()
                .is_some_and(|snapshot| snapshot.seq() == seq && snapshot.to_image() != state.to_image())
            {
                look.repairable.push(format!("snapshot at {seq}"));
            }
        }
        Ok(())
    })?;
    if deep {
        look.repairable.extend(snapshots.damaged());
        let sealed = SealedStore::open(data)?;
        prepare::live_commitments(&state).iter().try_for_each(|commitment| sealed.check(commitment))?;
    }
    Ok(Verified { head: Some(head), deep, ..look.end()? })
}

fn verify_audit(data: &Path, deep: bool) -> Result<Verified, OfflineError> {
    let mut look = Look { anchors: anchors(data)?, ..Look::at(data, LogName::Audit)? };
    let (mut dropped, mut erased) = (0, 0);
    let mut bad = None;
    each_audit_record(data, &mut |position, record| {
        if look.tree.size() + 1 < position {
            dropped = position - 1 - look.tree.size();
            look.take_dropped(position)?;
        }
        look.take(record.into());
        erased += u64::from(record.is_erased());
        if let (true, Err(source)) = (deep, record.check()) {
            bad.get_or_insert(EvidenceError::Entry { position, source });
        }
        Ok(())
    })?;
    match bad {
        Some(bad) => Err(bad.into()),
        None => {
            let anchors = look.anchors.count();
            Ok(Verified { dropped, anchors, erased, deep, ..look.end()? })
        }
    }
}

/// What each record of an audit log is handed to.
type EachAudit<'a> = &'a mut dyn FnMut(u64, AuditRecord<'_>) -> Result<(), EvidenceError>;

pub(super) fn each_audit_record(data: &Path, each: EachAudit<'_>) -> Result<(), OfflineError> {
    let dir = log_folder(data, LogName::Audit)?;
    let mut failed = None;
    journal::verify(&dir, &mut |entry| {
        if failed.is_none() {
            let position = entry.seq.0;
            let record = AuditRecord::read(entry.record).map_err(|source| EvidenceError::Entry { position, source });
            failed = record.and_then(|record| each(position, record)).err();
        }
        Ok(())
    })?;
    failed.map_or(Ok(()), |failed| Err(failed.into()))
}

/// A log as it is looked at, entry by entry: its tree, against tiles and checkpoint on disk.
pub(super) struct Look {
    pub(super) folder: Folder,
    key: LogKey,
    before: Option<Checkpoint>,
    pub(super) tree: Tree,
    repairable: Vec<String>,
    altered: Option<EvidenceError>,
    anchors: Anchors,
}

impl Look {
    pub(super) fn at(data: &Path, log: LogName) -> Result<Self, OfflineError> {
        let key = signer(data, log)?.key().clone();
        let folder = Folder::at(data, log);
        let before = folder.checkpoint(&key);
        let (repairable, anchors) = (Vec::new(), Anchors::default());
        Ok(Self { folder, key, before, tree: Tree::default(), repairable, altered: None, anchors })
    }

    fn take(&mut self, leaf: Leaf<'_>) {
        if let Some((n, tile)) = self.push(leaf.hash()) {
            self.repairable.extend(self.folder.damaged(&self.tree, n, &tile));
        }
        if self.before.as_ref().is_some_and(|signed| signed.size == self.tree.size()) {
            self.repairable.extend(self.folder.damaged_edge(&self.tree));
        }
    }

    pub(super) fn push(&mut self, leaf: Hash) -> Option<(u64, Vec<u8>)> {
        let full = self.tree.push(leaf);
        let size = self.tree.size();
        if self.before.as_ref().is_some_and(|signed| signed.size == size && signed.root != self.tree.root()) {
            self.altered.get_or_insert(EvidenceError::Altered { signed: size });
        }
        if let Err(error) = self.anchors.hold(&self.tree) {
            self.altered.get_or_insert(error);
        }
        full
    }

    /// Entries before a position were dropped: their hashes are in tiles, which can't be made again.
    pub(super) fn take_dropped(&mut self, first: u64) -> Result<(), EvidenceError> {
        while self.tree.size() + 1 < first {
            let (n, within) = (self.tree.size() / TILE_WIDTH, self.tree.size() % TILE_WIDTH);
            let tile = self.folder.full(n).ok().filter(|tile| tile.len() == TILE_WIDTH as usize * HASH_BYTES);
            let tile = tile.ok_or(EvidenceError::LostTile { n })?;
            let (hashes, _) = tile.as_chunks::<HASH_BYTES>();
            let last = (first - 1 - n * TILE_WIDTH).min(TILE_WIDTH);
            for hash in &hashes[within as usize..last as usize] {
                let _ = self.push(Hash(*hash));
            }
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> Result<Verified, OfflineError> {
        let records = self.tree.size();
        if let Some(altered) = self.altered {
            return Err(altered.into());
        }
        shorter(&self.folder, self.before.as_ref(), records)?;
        self.anchors.not_shorter(records)?;
        if self.before.is_none() && records > 0 {
            self.repairable.push("checkpoint".to_owned());
        }
        Ok(Verified {
            origin: self.key.origin().to_owned(),
            records,
            head: None,
            root: self.tree.root().to_string(),
            checkpoint: self.before.map(|signed| signed.size),
            repairable: self.repairable,
            dropped: 0,
            anchors: 0,
            erased: 0,
            deep: false,
        })
    }
}

fn shorter(folder: &Folder, before: Option<&Checkpoint>, records: u64) -> Result<(), EvidenceError> {
    match before.filter(|signed| signed.size > records) {
        Some(signed) => {
            let path = folder.checkpoint_path();
            Err(EvidenceError::Shorter { now: records, signed: signed.size, path })
        }
        None => Ok(()),
    }
}

/// The key of a log; that of the audit log lies beside that of the config log.
pub(super) fn signer(data: &Path, log: LogName) -> Result<LogSigner, OfflineError> {
    let config = key::open(data, LogName::Config, None).map_err(EvidenceError::from)?;
    match log {
        LogName::Config => Ok(config),
        other => {
            let origin = other.beside(config.key().origin());
            Ok(key::open(data, other, Some(&origin)).map_err(EvidenceError::from)?)
        }
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
pub fn repair(data: &Path, log: LogName) -> Result<Repaired, OfflineError> {
    log_folder(data, log)?;
    data_folder::prepare(data)?;
    let before = verify(data, log, true)?;
    let records = match log {
        LogName::Config => repair_config(data, &before)?,
        LogName::Audit => repair_audit(data)?,
        LogName::State => repair_state(data)?,
    };
    Ok(Repaired { repaired: before.repairable, records })
}

fn repair_config(data: &Path, before: &Verified) -> Result<u64, OfflineError> {
    let snapshots = snapshots(data)?;
    if before.repairable.iter().any(|what| what.starts_with("snapshot")) {
        snapshots.discard();
    }
    let (mut log, state) = open_log(&data.join("log"), &snapshots)?;
    log.recover()?;
    level(&Evidence::open(data, None, log.reader())?, state.seq().0)
}

fn repair_state(data: &Path) -> Result<u64, OfflineError> {
    let (log, state) = open_log(&data.join("log"), &snapshots(data)?)?;
    let (head, config) = (state.seq().0, signer(data, LogName::Config)?);
    level(&Evidence::open_state(data, config.key(), log.reader(), Published::new(state))?, head)
}

fn repair_audit(data: &Path) -> Result<u64, OfflineError> {
    let key = SealedStore::open(data)?.derive(crate::server::audit::ARGUMENTS_KEY);
    let audit = Arc::new(AuditLog::open(&data.join("audit"), key)?);
    let config = signer(data, LogName::Config)?;
    let head = audit.figures().durable.0;
    level(&Evidence::open_audit(data, config.key(), audit, None)?, head)
}

fn level(evidence: &Evidence, head: u64) -> Result<u64, OfflineError> {
    evidence.catch_up(head)?;
    evidence.keep()?;
    Ok(head)
}

pub(super) fn log_folder(data: &Path, log: LogName) -> Result<PathBuf, OfflineError> {
    let folder = data.join(match log {
        // State roots follow from the events.
        LogName::Config | LogName::State => "log",
        LogName::Audit => "audit",
    });
    if folder.is_dir() { Ok(folder) } else { Err(OfflineError::NoLog(data.to_owned())) }
}

fn snapshots(data: &Path) -> Result<Snapshots, OfflineError> {
    let key = SealedStore::open(data)?.derive(crate::server::snapshot::KEY);
    Ok(Snapshots::new(data.join("snapshot"), key, this_program()))
}
