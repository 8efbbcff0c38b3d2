//! The durable log: a journal that is the truth, and in front of the readers an index that is a copy of it.
//!
//! An append is durable in the journal first; that is the moment it happened. Then it goes into the index, then it can
//! be read. An index that fails is let go, and reads go to the journal: slower, never wrong. It is built again at the
//! next open. What the index is may be known by `sled_index.rs` alone.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::catch_up::{self, CatchUp};
use super::chain::{Chain, Link};
use super::checked::Checked;
use super::disk::{Disk, RealDisk};
use super::journal::{self, Journal, JournalOptions, Sync};
use super::journal_reader::JournalReader;
use super::lock::DirLock;
use super::pipeline::{self, Found};
use super::seal::{self, Seal};
use super::segment::failed;
use super::sled_index::{IndexError, Indexed, SledIndex};
use super::{EventLog, LogError, LogReader};
use crate::ids::{Digest, Seq, Uid};
use crate::record::StoredRecord;

/// How the log is kept.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// How its journal is kept. Every batch is synced, whatever stands there.
    pub journal: JournalOptions,
    /// Records up to there are checked and not decoded: what they come to is known from elsewhere (a snapshot).
    pub decode_after: Seq,
    /// Where its journal writes.
    pub disk: &'static dyn Disk,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { journal: JournalOptions::default(), decode_after: Seq(0), disk: &RealDisk }
    }
}

/// What an open calls for every record.
pub type EachRecord<'a> = dyn FnMut(Checked<'_>) -> Result<(), LogError> + 'a;

/// The event log on disk.
pub struct DurableLog {
    dir: PathBuf,
    journal: Journal,
    chain: Chain,
    reader: Arc<DurableReader>,
}

impl DurableLog {
    /// Opens the log in `dir`, which is made if need be. Every record is checked, against its checksum and against the
    /// chain, and handed to `each` in order, so that a start reads the log once. What `each` made of it counts only
    /// when the open succeeds.
    ///
    /// # Errors
    /// When the folder is in use, newer, damaged, lacks acknowledged records or can't be read, or when `each` fails.
    pub fn open(dir: &Path, options: OpenOptions, each: &mut EachRecord<'_>) -> Result<Self, LogError> {
        Self::open_sealed(dir, options, &[], each)
    }

    /// The same with seals of segments that were looked through before (see [`super::seal`]). Those that hold stand for
    /// their records, which are not handed to `each`, as far as they come before `decode_after` and the index was closed
    /// in good order and has them.
    ///
    /// # Errors
    /// As [`DurableLog::open`].
    pub fn open_sealed(
        dir: &Path,
        options: OpenOptions,
        seals: &[Seal],
        each: &mut EachRecord<'_>,
    ) -> Result<Self, LogError> {
        std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
        let lock = DirLock::take(dir)?;
        let mut catch_up = CatchUp::begin(dir);
        let sealed = &seals[..seal::holding(dir, seals, catch_up.needs_from().min(options.decode_after))?];
        let mut chain = sealed.last().map_or_else(Chain::default, Seal::chain);
        let (decode_after, disk) = (options.decode_after, options.disk);
        // A chain that begins later than at seq 1 does not hold, so a missing first segment is noticed as well.
        let options = JournalOptions { sync: Sync::EachBatch, ..options.journal };
        let read = |each: &mut pipeline::EachEntry<'_>| Journal::open_locked(dir, lock, options, disk, sealed, each);
        let journal = pipeline::run(read, decode_after, &mut |found| {
            let checked = checked(&mut chain, found)?;
            catch_up.see(&checked.decoded.link(), checked.bytes);
            each(checked)
        })?;
        let index = catch_up.finish(chain, &journal.reader())?;
        let reader =
            DurableReader { head: AtomicU64::new(chain.seq.0), journal: journal.reader(), index: RwLock::new(index) };
        Ok(Self { dir: dir.to_owned(), journal, chain, reader: Arc::new(reader) })
    }
}

/// Reads the log in `dir` from end to end, checked against checksums and the chain, without changing anything and without
/// taking its lock. Answers seq and hash of the last record. Records after `decode_after` are decoded.
///
/// # Errors
/// When it is newer, damaged or can't be read, or when `each` fails.
pub fn verify(dir: &Path, decode_after: Seq, each: &mut EachRecord<'_>) -> Result<(Seq, Digest), LogError> {
    let mut chain = Chain::default();
    let read = |each: &mut pipeline::EachEntry<'_>| journal::verify(dir, each);
    pipeline::run(read, decode_after, &mut |found| each(checked(&mut chain, found)?))?;
    Ok((chain.seq, chain.hash))
}

/// A record that follows in the chain.
fn checked<'a>(chain: &mut Chain, found: Found<'a>) -> Result<Checked<'a>, LogError> {
    let Found { seq, bytes, path, offset, hash, decoded } = found;
    let decoded = decoded.map_err(|source| LogError::Record { seq, source })?;
    let followed = chain.follow_link(seq, &decoded.link(), hash);
    followed.map_err(|error| LogError::Corrupt { path: path.to_owned(), offset, what: error.to_string() })?;
    Ok(Checked { seq, bytes, hash, decoded })
}

impl EventLog for DurableLog {
    fn head(&self) -> (Seq, Digest) {
        (self.chain.seq, self.chain.hash)
    }

    fn append(&mut self, batch: &[StoredRecord]) -> Result<(), LogError> {
        let (chain, links) = self.chain.follow_batch(batch)?;
        self.journal.append(self.chain.seq.next(), batch.iter().map(|record| record.bytes.as_slice()))?;
        let records = batch.iter().zip(&links);
        let records =
            records.map(|(record, link)| Indexed { seq: link.seq, object: link.object, bytes: &record.bytes });
        self.reader.try_index(|index| index.insert(records));
        self.chain = chain;
        self.reader.head.store(chain.seq.0, Ordering::Release);
        Ok(())
    }

    fn recover(&mut self) -> Result<(), LogError> {
        self.journal.recover()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.reader) as Arc<dyn LogReader>
    }
}

/// Readers may live on after the log is closed; they read the journal then.
impl Drop for DurableLog {
    fn drop(&mut self) {
        if let Some(index) = self.reader.index.write().unwrap_or_else(PoisonError::into_inner).take() {
            catch_up::close(&self.dir, index, self.chain);
        }
    }
}

#[derive(Debug)]
struct DurableReader {
    head: AtomicU64,
    journal: JournalReader,
    index: RwLock<Option<SledIndex>>,
}

impl DurableReader {
    /// Asks the index; `None` when there is none, or none any more.
    fn try_index<T>(&self, ask: impl FnOnce(&SledIndex) -> Result<T, IndexError>) -> Option<T> {
        let answer = ask(self.index.read().unwrap_or_else(PoisonError::into_inner).as_ref()?);
        answer.inspect_err(|error| self.let_go(error)).ok()
    }

    fn let_go(&self, error: &IndexError) {
        tracing::error!(%error, "the index of the log failed: reading from the journal until the next start");
        if let Some(index) = self.index.write().unwrap_or_else(PoisonError::into_inner).take() {
            index.close();
        }
    }
}

impl LogReader for DurableReader {
    fn head(&self) -> Seq {
        Seq(self.head.load(Ordering::Acquire))
    }

    fn read(&self, seq: Seq) -> Result<Option<Vec<u8>>, LogError> {
        if seq == Seq(0) || seq > self.head() {
            return Ok(None);
        }
        match self.try_index(|index| index.read(seq)).flatten() {
            Some(bytes) => Ok(Some(bytes)),
            None => self.journal.read(seq),
        }
    }

    fn scan(&self, from: Seq, each: &mut dyn FnMut(Seq, &[u8]) -> bool) -> Result<(), LogError> {
        let head = self.head();
        self.journal.scan(from, &mut |seq, bytes| seq <= head && each(seq, bytes))
    }

    fn of_object(&self, object: Uid) -> Result<Vec<Seq>, LogError> {
        let head = self.head();
        if let Some(mut seqs) = self.try_index(|index| index.of_object(object)) {
            seqs.retain(|seq| *seq <= head);
            return Ok(seqs);
        }
        let mut seqs = Vec::new();
        let mut failure = Ok(());
        self.scan(Seq(1), &mut |seq, bytes| {
            match Link::read(bytes) {
                Ok(link) if link.object == object => seqs.push(seq),
                Ok(_) => {}
                Err(source) => failure = Err(LogError::Record { seq, source }),
            }
            failure.is_ok()
        })?;
        failure.map(|()| seqs)
    }
}

#[cfg(test)]
#[path = "durable_tests.rs"]
mod tests;
