//! The other sides of a journal: reading by position, and syncing from another thread.
use std::sync::Arc;

use super::LogError;
use super::positions::Positions;
use super::walk::Walk;
use crate::ids::Seq;

/// Reads a journal while it is written. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JournalReader {
    positions: Arc<Positions>,
}

impl JournalReader {
    pub(super) fn new(positions: Arc<Positions>) -> Self {
        Self { positions }
    }

    /// For what is written anew, and for what is dropped.
    pub(super) fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Seq of the first record that is kept; `None` for an empty journal.
    #[must_use]
    pub fn first(&self) -> Option<Seq> {
        self.positions.first()
    }

    /// Seq of the last record that can be read. With `Sync::Later` it may not be durable yet.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.positions.written()
    }

    /// Seq of the last record that is durable.
    #[must_use]
    pub fn durable(&self) -> Seq {
        self.positions.durable()
    }

    /// One record, checked.
    ///
    /// # Errors
    /// When the segment can't be read or is damaged there.
    pub fn read(&self, seq: Seq) -> Result<Option<Vec<u8>>, LogError> {
        let mut found = None;
        self.scan(seq, &mut |at, record| {
            if at == seq {
                found = Some(record.to_vec());
            }
            false
        })?;
        Ok(found)
    }

    /// Calls `each` for every record from `from` up to the head of this moment, checked, until it answers `false`.
    ///
    /// # Errors
    /// When a segment can't be read or is damaged.
    pub fn scan(&self, from: Seq, each: &mut dyn FnMut(Seq, &[u8]) -> bool) -> Result<(), LogError> {
        let head = self.head();
        let mut next = from;
        while next <= head {
            // Asked each time: what is dropped meanwhile is not there to be read.
            let Some(first) = self.first() else { return Ok(()) };
            next = next.max(first);
            let Some(place) = self.positions.place(next)? else { return Ok(()) };
            let mut walk = Walk::between(place.path, place.file, place.seq, place.offset, place.end);
            let begins = next;
            while let Some(spot) = walk.next_frame()? {
                if spot.seq < next {
                    continue;
                }
                if spot.seq > head || !each(spot.seq, walk.entry(spot)?.record) {
                    return Ok(());
                }
                next = spot.seq.next();
            }
            if next == begins {
                return Err(walk.damage(place.end, format!("the record at seq {next} is not where it was written")));
            }
        }
        Ok(())
    }
}

/// Makes durable what is written, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JournalSync {
    positions: Arc<Positions>,
}

impl JournalSync {
    pub(super) fn new(positions: Arc<Positions>) -> Self {
        Self { positions }
    }

    /// Syncs; answers up to where the journal is durable now.
    ///
    /// # Errors
    /// When the sync fails: the journal is broken then. When it was broken before.
    pub fn sync(&self) -> Result<Seq, LogError> {
        self.positions.sync()
    }
}
