//! The event log: what every engine must do, whatever it stores on.
mod catch_up;
mod chain;
mod checked;
pub mod disk;
#[cfg(test)]
mod disk_model;
#[cfg(test)]
mod disk_tests;
pub mod durable;
mod frame;
#[cfg(test)]
mod golden_tests;
pub mod journal;
mod journal_reader;
#[cfg(test)]
mod journal_tests;
pub mod kept;
#[cfg(test)]
mod kept_tests;
#[cfg(test)]
mod laws;
mod lock;
pub mod memory;
mod pipeline;
mod positions;
mod recovery;
pub mod seal;
mod segment;
mod sled_index;
mod tail;
mod walk;

pub use checked::Checked;
pub use journal_reader::{JournalReader, JournalSync};
pub use seal::Seal;
pub use walk::Entry;

use std::path::PathBuf;
use std::sync::Arc;

use crate::ids::{Digest, Seq, Uid};
use crate::record::{Record, RecordError, StoredRecord};

/// The writing side of a log. One owner: the writer.
pub trait EventLog: Send {
    /// Seq and hash of the last record; `Seq(0)` and zeros for an empty log.
    fn head(&self) -> (Seq, Digest);

    /// Appends a batch that follows the head without a gap. When it returns, the batch is durable; when it fails,
    /// nothing of it is there, or the log says [`LogError::Broken`] from then on.
    ///
    /// # Errors
    /// See [`LogError`].
    fn append(&mut self, batch: &[StoredRecord]) -> Result<(), LogError>;

    /// After a failure: makes sure of what is durable and that there is space for more, so that the next append may
    /// succeed. What failed was not appended, and is not found by a later open.
    ///
    /// # Errors
    /// When the log takes no writes still.
    fn recover(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    /// The reading side, to be shared freely.
    fn reader(&self) -> Arc<dyn LogReader>;
}

/// The reading side of a log. It sees what is durable, and nothing else.
pub trait LogReader: Send + Sync {
    /// Seq of the last record that can be read.
    fn head(&self) -> Seq;

    /// One record's stored bytes.
    ///
    /// # Errors
    /// When the store can't be read.
    fn read(&self, seq: Seq) -> Result<Option<Vec<u8>>, LogError>;

    /// Calls `each` for the stored bytes of every record from `from` on, in order, until it answers `false`.
    ///
    /// # Errors
    /// When the store can't be read.
    fn scan(&self, from: Seq, each: &mut dyn FnMut(Seq, &[u8]) -> bool) -> Result<(), LogError>;

    /// Seqs of the events of one object, ascending.
    ///
    /// # Errors
    /// When the store can't be read.
    fn of_object(&self, object: Uid) -> Result<Vec<Seq>, LogError>;
}

/// Reads and decodes one record.
///
/// # Errors
/// When the store can't be read or the bytes are not a record.
pub fn read_record(log: &dyn LogReader, seq: Seq) -> Result<Option<Record>, LogError> {
    match log.read(seq)? {
        Some(bytes) => Record::load(&bytes).map(Some).map_err(|source| LogError::Record { seq, source }),
        None => Ok(None),
    }
}

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The batch does not follow the head.
    #[error("the batch starts at seq {found}, and the log expects {expected}")]
    OutOfOrder {
        /// Next seq of the log.
        expected: Seq,
        /// First seq of the batch.
        found: Seq,
    },
    /// Another process has the log open.
    #[error("the log in {path} is in use by another mcpd or mcpctl up: stop that one first")]
    InUse {
        /// Folder of the log.
        path: PathBuf,
    },
    /// The folder was written by a later version.
    #[error("the log in {path} has format {found}, and this program knows {known}: use the newer mcpctl")]
    Newer {
        /// Folder of the log.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this program knows.
        known: u32,
    },
    /// A file can't be read or written.
    #[error("{action} {path}")]
    Io {
        /// What was tried, as a verb: `read`, `write`, `sync`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Something that had been durable is bad: this is damage, not a torn tail.
    #[error("{path} is damaged at byte {offset}: {what}. Nothing was changed: restore the file from a copy")]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The record does not name the hash of the one before it.
    #[error("the record at seq {seq} does not follow from the one before it (chain of hashes)")]
    Unchained {
        /// Its position.
        seq: Seq,
    },
    /// The index knows records that the journal had and has no more.
    #[error(
        "the journal in {path} ends at seq {journal}, and its index knows records up to seq {index}: acknowledged records are missing. Nothing was changed: restore the journal from a copy, or delete {folder} to go on without them"
    )]
    Lost {
        /// Folder of the log.
        path: PathBuf,
        /// Last seq of the journal.
        journal: Seq,
        /// Last seq of the index.
        index: Seq,
        /// Folder of the index.
        folder: PathBuf,
    },
    /// A record does not decode.
    #[error("the record at seq {seq} can't be read")]
    Record {
        /// Its position.
        seq: Seq,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// The index engine failed.
    #[error("the index of the log failed: {what}")]
    Index {
        /// What the engine said.
        what: String,
    },
    /// An earlier failure left the log unable to take writes; reads go on.
    #[error("the log takes no writes since an earlier failure: {why}")]
    Broken {
        /// The earlier failure.
        why: String,
    },
}
