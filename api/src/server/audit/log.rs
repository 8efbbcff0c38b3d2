//! The audit log's writing side: an entry is written before `append` returns and durable at most 50 ms later.
//!
//! What a strict project asks for is durable before [`AuditLog::append_durable`] returns; calls that ask at the same time
//! share a sync. A killed process loses nothing, a power cut the last 50 ms. When the disk fails, entries are refused until
//! it works again: the keeper, a thread of its own, opens the journal anew.
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

use super::record::encode;
use super::text::clip;
use super::ticket::Tickets;
use crate::plane::{AuditEntry, AuditFailed};
use crate::server::clock;

/// A sync follows the first unsynced entry after this long; with the sync itself it stays below 50 ms.
const SYNC_AFTER: Duration = Duration::from_millis(20);
/// How long an entry may take to become durable, for whoever waits for that. A disk that is slower than this stands still.
const DURABLE_WITHIN: Duration = Duration::from_secs(2);
/// Waits between attempts to open a journal that failed.
const REOPEN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Small steps of written-ahead space: the step is taken while callers wait.
const OPTIONS: JournalOptions =
    JournalOptions { segment_bytes: 64 * 1024 * 1024, ahead_bytes: 256 * 1024, sync: Sync::Later };

/// The audit log. Its folder is locked as long as it lives; dropping it syncs and joins the keeper.
pub struct AuditLog {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
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

    /// The same on a disk that may fail, in tests.
    pub(in crate::server) fn open_on(
        dir: &Path,
        key: [u8; 32],
        options: JournalOptions,
        disk: &'static dyn Disk,
    ) -> Result<Self, LogError> {
        let journal = Journal::open_on(dir, options, disk, &mut |_| Ok(()))?;
        let durable = journal.reader().durable();
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
        });
        let of_keeper = Arc::clone(&shared);
        let keeper = std::thread::Builder::new().name("audit-keeper".to_owned()).spawn(move || of_keeper.keep());
        let keeper =
            keeper.map_err(|source| LogError::Io { action: "start the keeper of", path: dir.to_owned(), source })?;
        let _ = shared.keeper.set(keeper.thread().clone());
        Ok(Self { shared, keeper: Some(keeper) })
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
        if let Some(keeper) = self.keeper.take() {
            keeper.thread().unpark();
            let _ = keeper.join();
        }
    }
}

impl Shared {
    fn append(&self, mut entry: AuditEntry) -> Result<Seq, AuditFailed> {
        clip(&mut entry);
        // Short arguments could be guessed from a plain digest, not from one under a key.
        entry.arguments = entry.arguments.map(|plain| Digest(*blake3::keyed_hash(&self.key, &plain.0).as_bytes()));
        let bytes = encode(entry, &clock::random()).map_err(|error| AuditFailed(error.to_string()))?;
        let seq = {
            let mut desk = self.desk.lock();
            let Some(journal) = &mut desk.journal else { return Err(AuditFailed(desk.why.clone())) };
            let seq = journal.head().next();
            match journal.append(seq, [&bytes[..]].into_iter()) {
                Ok(()) => seq,
                Err(error) => return Err(self.failed_with(&mut desk, &error)),
            }
        };
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

    fn keep(&self) {
        let mut wait = REOPEN.0;
        while !self.stop.load(Ordering::Acquire) {
            if self.desk.lock().journal.is_none() {
                std::thread::park_timeout(wait);
                wait = if self.reopen() { REOPEN.0 } else { (wait * 2).min(REOPEN.1) };
            } else if self.dirty.load(Ordering::Acquire) {
                // A wake-up in between only makes the sync earlier.
                std::thread::park_timeout(SYNC_AFTER);
                self.sync();
            } else {
                std::thread::park();
            }
        }
        self.sync();
    }

    fn sync(&self) {
        self.dirty.store(false, Ordering::Release);
        let Some(syncer) = self.desk.lock().journal.as_ref().map(Journal::syncer) else { return };
        match syncer.sync() {
            Ok(durable) => self.tell(durable),
            Err(error) => {
                let why = causes(&error);
                tracing::error!(%why, "the audit log can't be synced");
                self.give_up(&mut self.desk.lock(), why);
            }
        }
    }

    fn tell(&self, durable: Seq) {
        self.synced.send_if_modified(|told| {
            let further = durable > *told;
            *told = durable.max(*told);
            further
        });
    }

    fn reopen(&self) -> bool {
        if self.stop.load(Ordering::Acquire) {
            return false;
        }
        match Journal::open_on(&self.dir, self.options, self.disk, &mut |_| Ok(())) {
            Ok(journal) => {
                let mut desk = self.desk.lock();
                desk.reader = journal.reader();
                desk.journal = Some(journal);
                self.tell(desk.reader.durable());
                tracing::info!("the audit log takes entries again");
                true
            }
            Err(error) => {
                let why = causes(&error);
                tracing::error!(%why, "the audit log can't be opened again");
                self.desk.lock().why = why;
                false
            }
        }
    }
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
