//! Bringing the index level with the journal while the journal is read: check what it has, add what it lacks.
use std::path::{Path, PathBuf};

use super::LogError;
use super::chain::{Chain, Link};
use super::journal_reader::JournalReader;
use super::sled_index::{Cursor, IndexError, Indexed, SledIndex};
use crate::ids::{Digest, Seq, Uid};

/// Records put into the index at once.
const CHUNK_RECORDS: usize = 1000;
const CHUNK_BYTES: usize = 1024 * 1024;
/// Every so many records a line says how far it has come.
const PROGRESS_RECORDS: u64 = 100_000;

/// Name of the index's folder, and of the note that it was closed in good order.
const FOLDER: &str = "index";
const NOTE: &str = "index.closed";

/// The index while the journal is read.
pub(super) struct CatchUp {
    dir: PathBuf,
    index: Option<SledIndex>,
    /// What the index had when it was opened.
    had: Seq,
    /// Goes along with the journal when the index was not closed in good order: a power cut may have left holes in it.
    cursor: Option<Cursor>,
    pending: Pending,
}

#[derive(Default)]
struct Pending {
    records: Vec<(Seq, Uid, Vec<u8>)>,
    bytes: usize,
}

impl CatchUp {
    /// Opens the index of the log in `dir`; one that can't be opened is deleted.
    pub(super) fn begin(dir: &Path) -> Self {
        let mut this =
            Self { dir: dir.to_owned(), index: None, had: Seq(0), cursor: None, pending: Pending::default() };
        match SledIndex::open(&this.folder()).and_then(|index| Ok((index.head()?, index))) {
            Ok((had, index)) => {
                this.had = had;
                this.cursor = (had > Seq(0) && !this.closed_in_order(&index, had)).then(|| index.cursor());
                this.index = Some(index);
            }
            Err(error) => {
                tracing::warn!(%error, "the index of the log can't be opened: building it again from the journal");
                this.start_again();
            }
        }
        // From here on the index may change, and the note is not true any more.
        let _ = std::fs::remove_file(this.dir.join(NOTE));
        this
    }

    /// The first record that the index must be shown: all of them when it is to be compared or built.
    pub(super) fn needs_from(&self) -> Seq {
        if self.cursor.is_some() || self.index.is_none() { Seq(0) } else { self.had }
    }

    /// Takes one record of the journal, in order.
    pub(super) fn see(&mut self, link: &Link, bytes: &[u8]) {
        let result = if link.seq <= self.had { self.compare(link.seq, bytes) } else { self.add(link, bytes) };
        if let Err(error) = result {
            self.give_up(&error);
        }
    }

    /// The journal ends with `chain`: what is still missing is added. `None` when there can be no index for now.
    pub(super) fn finish(mut self, chain: Chain, journal: &JournalReader) -> Result<Option<SledIndex>, LogError> {
        self.refuse_lost_records(chain)?;
        if let Err(error) = self.complete(chain) {
            self.give_up(&error);
        }
        if self.index.is_none() {
            self.start_again();
            self.rebuild(journal)?;
            if let Err(error) = self.complete(chain) {
                self.give_up(&error);
            }
        }
        if self.index.is_none() {
            tracing::error!("the log has no index: histories are read from the journal, which is slow");
        }
        Ok(self.index)
    }

    fn folder(&self) -> PathBuf {
        self.dir.join(FOLDER)
    }

    fn closed_in_order(&self, index: &SledIndex, had: Seq) -> bool {
        let note = std::fs::read_to_string(self.dir.join(NOTE)).unwrap_or_default();
        index.read(had).ok().flatten().is_some_and(|last| note == note_of(had, Digest::blake3(&last)))
    }

    fn compare(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), IndexError> {
        let differs = || IndexError(format!("the index differs from the journal at seq {seq}"));
        let Some(index) = &self.index else { return Ok(()) };
        if let Some(cursor) = &mut self.cursor {
            return if cursor.next()?.is_some_and(|(at, found)| at == seq && found == bytes) {
                Ok(())
            } else {
                Err(differs())
            };
        }
        if seq == self.had && index.read(seq)?.as_deref() != Some(bytes) { Err(differs()) } else { Ok(()) }
    }

    fn add(&mut self, link: &Link, bytes: &[u8]) -> Result<(), IndexError> {
        let Some(index) = &self.index else { return Ok(()) };
        self.pending.bytes += bytes.len();
        self.pending.records.push((link.seq, link.object, bytes.to_vec()));
        if link.seq.0.is_multiple_of(PROGRESS_RECORDS) {
            tracing::info!(records = link.seq.0, "building the index of the log");
        }
        let full = self.pending.records.len() >= CHUNK_RECORDS || self.pending.bytes >= CHUNK_BYTES;
        if full { self.pending.write(index) } else { Ok(()) }
    }

    /// The index gets only what is durable in the journal. When it goes on where the journal ends, the journal had more.
    fn refuse_lost_records(&self, chain: Chain) -> Result<(), LogError> {
        let Some(index) = &self.index else { return Ok(()) };
        if self.had <= chain.seq || !goes_on(index, chain) {
            return Ok(());
        }
        let (path, folder) = (self.dir.clone(), self.folder());
        Err(LogError::Lost { path, journal: chain.seq, index: self.had, folder })
    }

    /// Adds what is pending, and looks whether the index then has what the journal has, no less and no more.
    fn complete(&mut self, chain: Chain) -> Result<(), IndexError> {
        let Some(index) = &self.index else { return Ok(()) };
        self.pending.write(index)?;
        if index.head()? != chain.seq {
            return Err(IndexError("the index does not end where the journal ends".to_owned()));
        }
        if self.cursor.is_some() && index.count_of_objects()? != chain.seq.0 {
            return Err(IndexError("the index has lost entries of objects".to_owned()));
        }
        Ok(())
    }

    fn rebuild(&mut self, journal: &JournalReader) -> Result<(), LogError> {
        let mut failure = Ok(());
        journal.scan(Seq(1), &mut |seq, bytes| {
            match Link::read(bytes) {
                Ok(link) => self.see(&link, bytes),
                Err(source) => failure = Err(LogError::Record { seq, source }),
            }
            failure.is_ok() && self.index.is_some()
        })?;
        failure
    }

    /// Deletes the index and makes an empty one.
    fn start_again(&mut self) {
        self.had = Seq(0);
        let folder = self.folder();
        let removed = match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(IndexError(error.to_string())),
            _ => Ok(()),
        };
        match removed.and_then(|()| SledIndex::open(&folder)) {
            Ok(index) => self.index = Some(index),
            Err(error) => tracing::error!(%error, folder = %folder.display(), "the index of the log can't be made"),
        }
    }

    fn give_up(&mut self, error: &IndexError) {
        tracing::warn!(%error, "the index of the log is no good: building it again from the journal");
        self.pending = Pending::default();
        self.cursor = None;
        if let Some(index) = self.index.take() {
            index.close();
        }
    }
}

impl Pending {
    fn write(&mut self, index: &SledIndex) -> Result<(), IndexError> {
        let records = self.records.iter();
        index.insert(records.map(|(seq, object, bytes)| Indexed { seq: *seq, object: *object, bytes }))?;
        *self = Self::default();
        Ok(())
    }
}

/// Whether the index goes on, past the end of the journal, with a record that the chain calls for.
fn goes_on(index: &SledIndex, chain: Chain) -> bool {
    let next = index.read(chain.seq.next()).ok().flatten();
    next.and_then(|bytes| Link::read(&bytes).ok()).is_some_and(|link| link.prev == chain.hash)
}

/// Brings the index to the disk and leaves a note about it, so that the next open need not go through it.
pub(super) fn close(dir: &Path, index: SledIndex, chain: Chain) {
    let flushed = index.flush(&dir.join(FOLDER));
    index.close();
    let noted = flushed.and_then(|()| {
        std::fs::write(dir.join(NOTE), note_of(chain.seq, chain.hash)).map_err(|error| IndexError(error.to_string()))
    });
    if let Err(error) = noted {
        tracing::warn!(%error, "the index of the log was not closed in good order: the next start checks it");
    }
}

fn note_of(seq: Seq, hash: Digest) -> String {
    format!("{seq} {hash}\n")
}
