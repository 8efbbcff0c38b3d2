//! The threads of the audit log: one syncs what was written and opens a failed journal anew, one makes the index.
use std::sync::atomic::Ordering;
use std::time::Duration;

use mcpctl_core::ids::Seq;
use mcpctl_core::log::journal::Journal;
use tokio::sync::watch;

use super::Shared;
use crate::causes::causes;

/// A sync follows the first unsynced entry after this long; with the sync itself it stays below 50 ms.
const SYNC_AFTER: Duration = Duration::from_millis(20);
/// Waits between attempts to open a journal that failed.
const REOPEN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

impl Shared {
    /// Writes full shards of the index, and makes those that are missing.
    pub(super) fn make_index(&self) {
        while !self.stop.load(Ordering::Acquire) {
            if !self.to_index.swap(false, Ordering::AcqRel) {
                std::thread::park();
                continue;
            }
            let reader = self.desk.lock().reader.clone();
            match self.index.work(&reader) {
                Ok(true) => self.to_index.store(true, Ordering::Release),
                // What is full is written when it is durable; the sync says so.
                Ok(false) => self.seal(),
                Err(error) => {
                    tracing::error!(why = causes(&error), "a part of the audit index can't be made: queries read on");
                    std::thread::park_timeout(REOPEN.1);
                    self.to_index.store(true, Ordering::Release);
                }
            }
        }
    }

    /// Whole segments are looked through once, so that the next open need not. Nobody writes them anew meanwhile.
    fn seal(&self) {
        let _one = self.erasing.lock();
        if let Err(error) = self.seals.bring_level(&|| !self.stop.load(Ordering::Acquire)) {
            tracing::error!(why = causes(&error), "a whole segment of the audit log can't be sealed");
        }
    }

    pub(super) fn keep(&self) {
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

    pub(super) fn sync(&self) {
        self.dirty.store(false, Ordering::Release);
        let Some(syncer) = self.desk.lock().journal.as_ref().map(Journal::syncer) else { return };
        match syncer.sync() {
            Ok(durable) => {
                self.tell(durable);
                if self.index.figures().waiting > 0 {
                    self.wake_indexer();
                }
            }
            Err(error) => {
                let why = causes(&error);
                tracing::error!(%why, "the audit log can't be synced");
                self.give_up(&mut self.desk.lock(), why);
            }
        }
    }

    pub(super) fn tell(&self, durable: Seq) {
        further(&self.synced, durable);
    }

    pub(super) fn reopen(&self) -> bool {
        if self.stop.load(Ordering::Acquire) {
            return false;
        }
        match Journal::open_sealed_on(&self.dir, self.options, self.disk, &self.seals.read()) {
            Ok(journal) => {
                let mut desk = self.desk.lock();
                if let Err(error) = self.index.load(&journal.reader()) {
                    desk.why = causes(&error);
                    return false;
                }
                desk.reader = journal.reader();
                desk.journal = Some(journal);
                self.tell(desk.reader.durable());
                self.wake_indexer();
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

/// Tells a position on, unless a further one was told already.
pub(super) fn further(told: &watch::Sender<Seq>, seq: Seq) {
    told.send_if_modified(|told| {
        let further = seq > *told;
        *told = seq.max(*told);
        further
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_never_goes_back() {
        let told = watch::Sender::new(Seq(0));
        let mut heard = told.subscribe();
        for (seq, wanted, new) in [(2, 2, true), (1, 2, false), (2, 2, false), (3, 3, true)] {
            further(&told, Seq(seq));
            assert_eq!(heard.has_changed().expect("the sender is there"), new, "{seq}");
            assert_eq!(*heard.borrow_and_update(), Seq(wanted));
        }
    }
}
