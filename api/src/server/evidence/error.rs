//! Why the evidence of a log can't be had.
use std::path::PathBuf;

use mcpctl_core::ids::Seq;
use mcpctl_core::log::LogError;
use mcpctl_tlog::{CheckpointError, TreeError};

use super::KeyError;
use crate::server::audit::RecordError;

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
        path: PathBuf,
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
        path: PathBuf,
    },
    /// The log of events says otherwise.
    #[error(
        "the event at seq {seq} says that the audit log had {size} entries, and it {what}: entries were taken away or changed. Nothing was changed: restore the audit log from a copy. If it is lost, write {seq} into {accept} to go on without them"
    )]
    Anchored {
        /// The event.
        seq: Seq,
        /// Entries that it says there were.
        size: u64,
        /// What is wrong.
        what: String,
        /// The file that says up to which event the loss is accepted.
        accept: PathBuf,
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
    /// An entry of the audit log can't be read.
    #[error("the audit entry at position {position}")]
    Entry {
        /// Its position.
        position: u64,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// It was there, and was erased or dropped: only hashes are left.
    #[error("{what} was erased or dropped: the log keeps only the hash")]
    Gone {
        /// What is asked for.
        what: String,
    },
    /// A tile of hashes is missing or damaged whose entries were dropped: it can't be made again.
    #[error(
        "tile {n} of leaf hashes is missing or damaged, and the entries that it was made from were dropped: restore it from a copy or an export"
    )]
    LostTile {
        /// Which.
        n: u64,
    },
    /// The records are not those that were signed for.
    #[error(
        "the log is not the one that was signed at {signed} records: it was changed outside this program, and nothing more is signed"
    )]
    Altered {
        /// Records signed for.
        signed: u64,
    },
}

impl EvidenceError {
    /// Whether the log is not the one that was signed, or was damaged: nothing more is signed then.
    pub(super) const fn is_alarm(&self) -> bool {
        let damaged = matches!(self, Self::Log(LogError::Corrupt { .. }) | Self::Entry { .. });
        damaged || matches!(self, Self::Altered { .. } | Self::LostTile { .. } | Self::Anchored { .. })
    }
}
