//! The audit log's writing side: an entry is written before `append` returns and durable at most 50 ms later.
//!
//! What a strict project asks for is durable before [`AuditLog::append_durable`] returns; calls that ask at the same time
//! share a sync. A killed process loses nothing, a power cut the last 50 ms. When the disk fails, entries are refused until
//! it works again: the keeper, a thread of its own, opens the journal anew.
mod keeper;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::log::disk::{Disk, RealDisk};
use mcpctl_core::log::journal::{Journal, JournalOptions, Sync};
use mcpctl_core::log::{JournalReader, LogError};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::index::{Index, IndexFigures, SHARD};
use super::nonce::nonce;
use super::query::{AuditQuery, Look};
use super::record::encode;
use super::redact::Redactor;
use super::seals::Seals;
use super::text::clip;
use super::ticket::Tickets;
use crate::causes::causes;
use crate::plane::{AuditEntry, AuditFailed};
use keeper::further;

/// How long an entry may take to become durable, for whoever waits for that. A disk that is slower than this stands still.
const DURABLE_WITHIN: Duration = Duration::from_secs(2);
/// Small steps of written-ahead space: the step is taken while callers wait.
const OPTIONS: JournalOptions =
    JournalOptions { segment_bytes: 64 * 1024 * 1024, ahead_bytes: 256 * 1024, sync: Sync::Later };

/// The audit log. Its folder is locked as long as it lives; dropping it syncs and joins its threads.
pub struct AuditLog {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
    indexer: Option<JoinHandle<()>>,
}

/// Figures for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditFigures {
    /// Entries written since the start.
    pub appended: u64,
    /// Entries refused since the start.
    pub failed: u64,
    /// Position of the last entry.
    pub head: Seq,
    /// Position of the last entry that is durable.
    pub durable: Seq,
    /// How much of the index is there.
    pub index: IndexFigures,
    /// Entries that queries read, since the start.
    pub looked: u64,
}

struct Shared {
    dir: PathBuf,
    options: JournalOptions,
    disk: &'static dyn Disk,
    key: [u8; 32],
    desk: Mutex<Desk>,
    dirty: AtomicBool,
    stop: AtomicBool,
    appended: AtomicU64,
    failed: AtomicU64,
    keeper: std::sync::OnceLock<std::thread::Thread>,
    /// Told after each sync how far the log is durable, and when it is given up.
    synced: watch::Sender<Seq>,
    /// How often it was given up: what was appended before is not durable by what is written after.
    breaks: AtomicU64,
    index: Index,
    indexer: std::sync::OnceLock<std::thread::Thread>,
    to_index: AtomicBool,
    looked: AtomicU64,
    newest: watch::Sender<Seq>,
    seals: Seals,
    redactor: Redactor,
    erasing: Mutex<()>,
    #[cfg(test)]
    stop_after: AtomicU64,
}

/// What is behind the lock.
struct Desk {
    /// Nothing while the disk is being tried again.
    journal: Option<Journal>,
    reader: JournalReader,
    why: String,
}

impl AuditLog {
    /// Opens the log in a folder, which is made if need be. Digests of arguments are stored under `key`.
    ///
    /// # Errors
    /// When the folder is in use, damaged or can't be written.
    pub fn open(dir: &Path, key: [u8; 32]) -> Result<Self, LogError> {
        Self::open_with(dir, key, OPTIONS)
    }

    pub(in crate::server) fn open_with(dir: &Path, key: [u8; 32], options: JournalOptions) -> Result<Self, LogError> {
        Self::open_on(dir, key, options, &RealDisk)
    }

    /// The same with or without an index, so that its price can be measured.
    #[doc(hidden)]
    pub fn open_for_bench(dir: &Path, key: [u8; 32], indexed: bool) -> Result<Self, LogError> {
        Self::open_whole(dir, key, OPTIONS, &RealDisk, if indexed { SHARD } else { 0 })
    }

    /// The same on a disk that may fail, in tests.
    pub(in crate::server) fn open_on(
        dir: &Path,
        key: [u8; 32],
        options: JournalOptions,
        disk: &'static dyn Disk,
    ) -> Result<Self, LogError> {
        Self::open_whole(dir, key, options, disk, SHARD)
    }

    /// The same with an index of so many positions a shard: few, in tests.
    #[cfg(test)]
    pub(super) fn open_sharded(
        dir: &Path,
        key: [u8; 32],
        options: JournalOptions,
        shard: u32,
    ) -> Result<Self, LogError> {
        Self::open_whole(dir, key, options, &RealDisk, shard)
    }

    fn open_whole(
        dir: &Path,
        key: [u8; 32],
        options: JournalOptions,
        disk: &'static dyn Disk,
        shard: u32,
    ) -> Result<Self, LogError> {
        let seals = Seals::new(dir, blake3::derive_key("mcpctl audit seals 1", &key), disk);
        let journal = Journal::open_sealed_on(dir, options, disk, &seals.read())?;
        let durable = journal.reader().durable();
        let index = Index::new(&dir.join("index"), blake3::derive_key("mcpctl audit index 1", &key), shard);
        index.load(&journal.reader())?;
        let newest = watch::Sender::new(journal.head());
        let desk = Desk { reader: journal.reader(), journal: Some(journal), why: String::new() };
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            options,
            disk,
            key,
            desk: Mutex::new(desk),
            dirty: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            appended: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            keeper: std::sync::OnceLock::new(),
            synced: watch::Sender::new(durable),
            breaks: AtomicU64::new(0),
            index,
            indexer: std::sync::OnceLock::new(),
            to_index: AtomicBool::new(true),
            looked: AtomicU64::new(0),
            newest,
            seals,
            redactor: Redactor::default(),
            erasing: Mutex::new(()),
            #[cfg(test)]
            stop_after: AtomicU64::new(0),
        });
        let mut log = Self { shared, keeper: None, indexer: None };
        let (of_keeper, of_indexer) = (Arc::clone(&log.shared), Arc::clone(&log.shared));
        log.keeper = Some(started(dir, "audit-keeper", &log.shared.keeper, move || of_keeper.keep())?);
        log.indexer = Some(started(dir, "audit-indexer", &log.shared.indexer, move || of_indexer.make_index())?);
        Ok(log)
    }

    /// Writes an entry and answers its position. When it returns, the entry survives the death of this process.
    ///
    /// # Errors
    /// When the log can't take it. What the entry is about must not be answered with success then.
    pub fn append(&self, entry: AuditEntry) -> Result<Seq, AuditFailed> {
        let result = self.shared.append(entry);
        let counter = if result.is_ok() { &self.shared.appended } else { &self.shared.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// Writes an entry and waits until it is durable. Whoever else waits at the same time shares the sync.
    ///
    /// # Errors
    /// When the log can't take it, or it is not durable within 2 s. It may be there all the same: what it says was about to
    /// happen must not happen.
    pub async fn append_durable(&self, entry: AuditEntry) -> Result<Seq, AuditFailed> {
        let shared = &self.shared;
        let (mut synced, breaks) = (shared.synced.subscribe(), shared.breaks.load(Ordering::Acquire));
        let position = self.append(entry)?;
        shared.wake();
        let broken = || shared.breaks.load(Ordering::Acquire) != breaks;
        let there = synced.wait_for(|durable| *durable >= position || broken());
        let failed = |why: &str| {
            shared.failed.fetch_add(1, Ordering::Relaxed);
            AuditFailed(why.to_owned())
        };
        match tokio::time::timeout(DURABLE_WITHIN, there).await {
            Ok(Ok(_)) if !broken() => Ok(position),
            Ok(_) => Err(failed("the disk failed before the entry was durable")),
            Err(_) => Err(failed("the disk did not make the entry durable in time")),
        }
    }

    /// Who signs tickets for gateways, and reads them.
    pub(in crate::server) fn tickets(&self) -> Tickets {
        Tickets::of(&self.shared.key)
    }

    /// Makes durable what is written, now: for an orderly end.
    pub fn sync(&self) {
        self.shared.sync();
    }

    /// Makes an entry durable, or says that it is not.
    pub(super) fn sync_up_to(&self, position: Seq) -> Result<(), LogError> {
        self.sync();
        let desk = self.shared.desk.lock();
        if desk.reader.durable() >= position {
            return Ok(());
        }
        Err(LogError::Broken { why: format!("the entry at position {position} is not durable: {}", desk.why) })
    }

    /// To be told how far the log is durable.
    pub(in crate::server) fn follow(&self) -> watch::Receiver<Seq> {
        self.shared.synced.subscribe()
    }

    /// Figures since the start.
    #[must_use]
    pub fn figures(&self) -> AuditFigures {
        let reader = self.reader();
        AuditFigures {
            appended: self.shared.appended.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            head: reader.head(),
            durable: reader.durable(),
            index: self.shared.index.figures(),
            looked: self.shared.looked.load(Ordering::Relaxed),
        }
    }

    /// Tells the position of the newest entry, as it grows.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<Seq> {
        self.shared.newest.subscribe()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Where it writes.
    pub(super) fn disk(&self) -> &'static dyn Disk {
        self.shared.disk
    }

    /// What is known of whole segments is so no more: they are about to be written anew.
    pub(super) fn discard_seals(&self) -> Result<(), LogError> {
        self.shared.seals.discard()
    }

    #[cfg(test)]
    pub(super) fn seal_for_tests(&self) {
        let _one = self.erasing();
        self.shared.seals.bring_level(&|| true).unwrap();
    }

    /// Held by whoever changes what was written: one at a time.
    pub(super) fn erasing(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.shared.erasing.lock()
    }

    /// Ends the segment that is written to: what was appended so far is in whole ones then, and durable.
    pub(super) fn roll(&self) -> Result<(), LogError> {
        let mut desk = self.shared.desk.lock();
        let why = desk.why.clone();
        let Some(journal) = &mut desk.journal else { return Err(LogError::Broken { why }) };
        journal.roll()
    }

    /// Makes the index level again with records that were exchanged.
    pub(super) fn index_anew(&self, changed: &[Seq]) -> Result<(), LogError> {
        // No entry is added as long as the desk is held.
        let desk = self.shared.desk.lock();
        self.shared.index.forget(Seq(0), changed);
        self.shared.index.again(&desk.reader)?;
        drop(desk);
        self.shared.wake_indexer();
        Ok(())
    }

    /// Forgets what was dropped.
    pub(super) fn index_forget(&self, kept: Seq) {
        self.shared.index.forget(kept, &[]);
    }

    #[cfg(test)]
    pub(super) fn stop_for_tests(&self, after: u64) {
        self.shared.stop_after.store(after + 1, Ordering::SeqCst);
    }

    /// As if the process were killed, after so many steps.
    #[cfg(test)]
    pub(super) fn stopped_for_tests(&self) -> Result<(), LogError> {
        match self.shared.stop_after.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => Err(LogError::Broken { why: "a test stopped it".to_owned() }),
            more => {
                self.shared.stop_after.store(more - 1, Ordering::SeqCst);
                Ok(())
            }
        }
    }

    /// What takes secrets out of entries.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.shared.redactor
    }

    /// The log and its index as they are now.
    pub(super) fn look<'a>(&'a self, query: &'a AuditQuery) -> Look<'a> {
        let index = &self.shared.index;
        let wants = index.hasher().wants(query);
        // No entry is added as long as the desk is held: what the index has is then level with the head.
        let desk = self.shared.desk.lock();
        let reader = desk.reader.clone();
        let looked = &self.shared.looked;
        Look { query, head: reader.head(), reader, index, moment: index.moment(&wants), wants, looked }
    }

    /// A query may have found that a part of the index is missing.
    pub(super) fn indexer_may_work(&self) {
        if self.shared.index.figures().missing > 0 {
            self.shared.wake_indexer();
        }
    }

    /// The reading side.
    pub(in crate::server) fn reader(&self) -> JournalReader {
        self.shared.desk.lock().reader.clone()
    }

    #[cfg(test)]
    pub(super) fn break_for_tests(&self) {
        self.shared.give_up(&mut self.shared.desk.lock(), "a test broke it".to_owned());
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in [self.keeper.take(), self.indexer.take()].into_iter().flatten() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Starts a thread, and leaves word where it can be woken.
fn started(
    dir: &Path,
    name: &str,
    woken: &std::sync::OnceLock<std::thread::Thread>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, LogError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    let thread =
        thread.map_err(|source| LogError::Io { action: "start a thread for", path: dir.to_owned(), source })?;
    let _ = woken.set(thread.thread().clone());
    Ok(thread)
}

impl Shared {
    fn append(&self, mut entry: AuditEntry) -> Result<Seq, AuditFailed> {
        // Before it is cut: half a secret is not recognised.
        self.redactor.redact(&mut entry);
        clip(&mut entry);
        // Short arguments could be guessed from a plain digest, not from one under a key.
        let under_key = |plain: Digest| Digest(*blake3::keyed_hash(&self.key, &plain.0).as_bytes());
        entry.arguments = entry.arguments.map(under_key);
        entry.answer = entry.answer.map(under_key);
        let (at, terms) = (entry.at, self.index.terms(&entry));
        let bytes = encode(entry, &nonce()).map_err(|error| AuditFailed(error.to_string()))?;
        let (seq, filled) = {
            let mut desk = self.desk.lock();
            let Some(journal) = &mut desk.journal else { return Err(AuditFailed(desk.why.clone())) };
            let seq = journal.head().next();
            match journal.append(seq, [&bytes[..]].into_iter()) {
                Ok(()) => (seq, self.index.take(seq, at, &terms)),
                Err(error) => return Err(self.failed_with(&mut desk, &error)),
            }
        };
        // Two that append at once may come here in the other order.
        further(&self.newest, seq);
        if filled {
            self.wake_indexer();
        }
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.wake();
        }
        Ok(seq)
    }

    /// A journal that could not make room is tried again with the next entry; a broken one must be opened anew.
    fn failed_with(&self, desk: &mut Desk, error: &LogError) -> AuditFailed {
        let why = causes(error);
        if matches!(error, LogError::Broken { .. }) {
            self.give_up(desk, why.clone());
        }
        tracing::error!(%why, "the audit log took no entry");
        AuditFailed(why)
    }

    fn give_up(&self, desk: &mut Desk, why: String) {
        // Dropping it gives its lock back, which opening it anew needs.
        desk.journal = None;
        desk.why = why;
        self.breaks.fetch_add(1, Ordering::AcqRel);
        self.synced.send_modify(|_| {});
        self.wake();
    }

    fn wake(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }

    fn wake_indexer(&self) {
        self.to_index.store(true, Ordering::Release);
        if let Some(indexer) = self.indexer.get() {
            indexer.unpark();
        }
    }
}
