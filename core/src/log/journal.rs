//! A journal: records in order, in files, durable before anybody hears of them. It knows nothing of what they mean.
//!
//! A batch is one write and, with [`Sync::EachBatch`], one `fdatasync`. Space is written ahead with zeros, so that the
//! sync has no metadata to write. What a crash may leave is described in `frame.rs` and judged in `tail.rs`; a torn
//! tail is cut off by the first append, so that opening changes nothing.
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogError;
use super::disk::{Disk, RealDisk};
use super::frame;
use super::journal_reader::{JournalReader, JournalSync};
use super::lock::DirLock;
use super::positions::{Positions, Segment};
use super::seal::Seal;
use super::segment::{self, SEGMENT_HEAD_BYTES, failed};
use super::tail::{Verdict, judge};
use super::walk::{Bad, Entry, Step, Walk};
use crate::ids::Seq;
use crate::record::{RECORD_BYTES_MAX, RecordError};

/// When a batch becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before the append returns.
    EachBatch,
    /// When somebody calls [`JournalSync::sync`]. A killed process loses nothing, a power cut the unsynced end.
    Later,
}

/// How a journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// A segment that would grow beyond this is followed by a new one. A larger batch gets a segment of its own.
    pub segment_bytes: u64,
    /// How much is written ahead with zeros at a time.
    pub ahead_bytes: u64,
    /// When a batch becomes durable.
    pub sync: Sync,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024, ahead_bytes: 4 * 1024 * 1024, sync: Sync::EachBatch }
    }
}

/// The writing side of a journal. Its folder is locked as long as it lives.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    pub(super) options: JournalOptions,
    pub(super) disk: &'static dyn Disk,
    pub(super) active: Option<Active>,
    pub(super) next: Seq,
    pub(super) positions: Arc<Positions>,
    frames: Vec<u8>,
    places: Vec<u64>,
    _lock: DirLock,
}

#[derive(Debug)]
pub(super) struct Active {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// End of the last whole batch.
    pub(super) end: u64,
    /// End of the space that is known to be zeros.
    ahead: u64,
    /// Whether what follows `end` must be cut off before anything is written there.
    torn: bool,
}

impl Active {
    /// Cuts off what follows the last whole batch, durably.
    pub(super) fn cut(&mut self, disk: &dyn Disk) -> io::Result<()> {
        disk.set_len(&self.path, &self.file, self.end)?;
        disk.sync_all(&self.path, &self.file)?;
        (self.torn, self.ahead) = (false, self.end);
        Ok(())
    }
}

impl Journal {
    /// Opens the journal in `dir`, which is made if need be, and hands every record to `each`, in order, checked.
    ///
    /// # Errors
    /// When the folder is in use, newer, damaged or can't be read, or when `each` fails. Nothing is changed then.
    pub fn open(
        dir: &Path,
        options: JournalOptions,
        each: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
    ) -> Result<Self, LogError> {
        Self::open_on(dir, options, &RealDisk, each)
    }

    /// The same on a disk that may be another than the machine's: one that fails, in tests.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_on(
        dir: &Path,
        options: JournalOptions,
        disk: &'static dyn Disk,
        each: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
    ) -> Result<Self, LogError> {
        std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
        Self::open_locked(dir, DirLock::take(dir)?, options, disk, &[], each)
    }

    /// The same without looking at records of segments that have a seal (see [`super::seal::seal_each`]) which fits by name
    /// and length: whoever opens it so reads those in the background, and each is checked when it is read.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_sealed_on(
        dir: &Path,
        options: JournalOptions,
        disk: &'static dyn Disk,
        seals: &[Seal],
    ) -> Result<Self, LogError> {
        std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
        let lock = DirLock::take(dir)?;
        Self::open_locked(dir, lock, options, disk, &super::seal::fitting(dir, seals)?, &mut |_| Ok(()))
    }

    /// Opens the journal in a folder whose lock is held. Records of segments that have a seal which was seen to hold are
    /// not handed over.
    pub(super) fn open_locked(
        dir: &Path,
        lock: DirLock,
        options: JournalOptions,
        disk: &'static dyn Disk,
        sealed: &[Seal],
        each: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
    ) -> Result<Self, LogError> {
        let found = scan(dir, sealed, each)?;
        let active = found.active()?;
        let positions = Arc::new(Positions::new(dir.to_owned(), disk, found.segments, Seq(found.next.0 - 1)));
        if let Some(active) = &active {
            // What a killed process had written may still be on its way to the disk.
            disk.sync_data(&active.path, &active.file).map_err(failed("sync", &active.path))?;
            positions.activate(active.path.clone(), Arc::clone(&active.file));
        }
        let (frames, places) = (Vec::new(), Vec::new());
        let (dir, next) = (dir.to_owned(), found.next);
        Ok(Self { dir, options, disk, active, next, positions, frames, places, _lock: lock })
    }

    /// Seq of the last record.
    #[must_use]
    pub fn head(&self) -> Seq {
        Seq(self.next.0 - 1)
    }

    /// The reading side.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(Arc::clone(&self.positions))
    }

    /// A handle for syncing from another thread.
    #[must_use]
    pub fn syncer(&self) -> JournalSync {
        JournalSync::new(Arc::clone(&self.positions))
    }

    /// Appends one batch that begins with `first`: all of it or, after a crash, nothing of it.
    ///
    /// # Errors
    /// When the batch does not follow the head, a record is too large, there is no space, or the disk fails. After a
    /// failed write or sync the journal is broken: what the disk holds then is only known after a new open.
    pub fn append<'a>(&mut self, first: Seq, records: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<(), LogError> {
        self.positions.check()?;
        if first != self.next {
            return Err(LogError::OutOfOrder { expected: self.next, found: first });
        }
        let count = self.encode(records)?;
        if count == 0 {
            return Ok(());
        }
        self.make_room(self.frames.len() as u64)?;
        let result = self.write(count);
        result.inspect_err(|error| self.positions.break_off(error))
    }

    /// Puts the frames of a batch into `frames`, and where each begins, counted from the first, into `places`.
    fn encode<'a>(&mut self, records: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<u64, LogError> {
        self.frames.clear();
        self.places.clear();
        let mut left = records.len();
        let mut seq = self.next;
        let durable = self.positions.durable();
        for record in records {
            left -= 1;
            if record.len() > RECORD_BYTES_MAX {
                return Err(LogError::Record { seq, source: RecordError::TooLarge { bytes: record.len() } });
            }
            self.places.push(self.frames.len() as u64);
            let left = u32::try_from(left).expect("a batch fits in memory and so has fewer records than this");
            frame::encode(&mut self.frames, seq, left, durable, record);
            seq = seq.next();
        }
        Ok(seq.0 - self.next.0)
    }

    /// Sees to a segment with zeros where the batch goes. Failing here leaves everything as it was: no space today
    /// may be space tomorrow.
    pub(super) fn make_room(&mut self, needed: u64) -> Result<(), LogError> {
        let full =
            |active: &Active| active.end > SEGMENT_HEAD_BYTES && active.end + needed > self.options.segment_bytes;
        if self.active.as_ref().is_some_and(full) {
            self.seal()?;
        }
        if self.active.is_none() {
            self.begin_segment()?;
        }
        let active = self.active.as_mut().expect("a segment was begun just now");
        if active.torn {
            // Durable before anything is written there, or else a second crash might put new frames in front of old ones.
            active.cut(self.disk).map_err(failed("cut the torn end off", &active.path))?;
        }
        let end = active.end + needed;
        if end > active.ahead {
            let zeros = end - active.ahead + self.options.ahead_bytes;
            let written = segment::write_zeros(self.disk, &active.path, &active.file, active.ahead, zeros);
            written.map_err(failed("write", &active.path))?;
            active.ahead += zeros;
        }
        Ok(())
    }

    /// Makes the active segment durable and cuts off the space it does not need.
    fn seal(&mut self) -> Result<(), LogError> {
        self.positions.sync()?;
        if let Some(active) = &mut self.active {
            let cut = active.cut(self.disk);
            cut.map_err(failed("sync", &active.path)).inspect_err(|error| self.positions.break_off(error))?;
        }
        self.active = None;
        Ok(())
    }

    /// Ends the segment that is written to, if there is anything in it: all that was appended is in whole segments then.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn roll(&mut self) -> Result<(), LogError> {
        self.positions.check()?;
        if self.active.as_ref().is_none_or(|active| active.end == SEGMENT_HEAD_BYTES) {
            return Ok(());
        }
        self.seal()?;
        self.begin_segment()
    }

    fn begin_segment(&mut self) -> Result<(), LogError> {
        let zeros = self.options.ahead_bytes;
        let file = Arc::new(segment::create(self.disk, &self.dir, self.next, zeros)?);
        let path = segment::path_of(&self.dir, self.next);
        self.positions.begin(Segment::new(self.next, SEGMENT_HEAD_BYTES));
        self.positions.activate(path.clone(), Arc::clone(&file));
        let (end, ahead) = (SEGMENT_HEAD_BYTES, SEGMENT_HEAD_BYTES + zeros);
        self.active = Some(Active { path, file, end, ahead, torn: false });
        Ok(())
    }

    fn write(&mut self, count: u64) -> Result<(), LogError> {
        let active = self.active.as_mut().expect("room was made before");
        let written = self.disk.write_at(&active.path, &active.file, &self.frames, active.end);
        written.map_err(failed("write", &active.path))?;
        if self.options.sync == Sync::EachBatch {
            self.disk.sync_data(&active.path, &active.file).map_err(failed("sync", &active.path))?;
        }
        self.places.iter_mut().for_each(|place| *place += active.end);
        active.end += self.frames.len() as u64;
        self.positions.publish(self.next, &self.places, active.end);
        self.next = Seq(self.next.0 + count);
        if self.options.sync == Sync::EachBatch {
            self.positions.confirm(self.head());
        }
        // One huge batch must not hold its memory for ever.
        self.frames.shrink_to(1024 * 1024);
        Ok(())
    }
}

#[cfg(test)]
impl Journal {
    pub(super) fn end_for_tests(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.end)
    }

    pub(super) fn replace_file_for_tests(&mut self, file: Arc<File>) -> Arc<File> {
        std::mem::replace(&mut self.active.as_mut().unwrap().file, file)
    }
}

/// What a scan of a folder found.
struct Found {
    dir: PathBuf,
    segments: Vec<Segment>,
    next: Seq,
    torn: bool,
}

impl Found {
    /// The last segment, opened for writing. Unless it is torn, what follows its last batch was seen to be zeros.
    fn active(&self) -> Result<Option<Active>, LogError> {
        let Some(last) = self.segments.last() else { return Ok(None) };
        let path = segment::path_of(&self.dir, last.first);
        let file = Arc::new(segment::open(&path)?);
        let length = file.metadata().map_err(failed("read", &path))?.len();
        Ok(Some(Active { path, file, end: last.end, ahead: length.max(last.end), torn: self.torn }))
    }
}

/// Reads the journal in `dir` from end to end, checked, without changing anything and without taking its lock.
///
/// # Errors
/// When it is newer, damaged or can't be read, or when `each` fails.
pub fn verify(dir: &Path, each: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>) -> Result<Seq, LogError> {
    scan(dir, &[], each).map(|found| Seq(found.next.0 - 1))
}

fn scan(
    dir: &Path,
    sealed: &[Seal],
    each: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
) -> Result<Found, LogError> {
    let firsts = segment::list(dir)?;
    let mut found = Found { dir: dir.to_owned(), segments: Vec::new(), next: Seq(1), torn: false };
    found.next = firsts.first().copied().unwrap_or(Seq(1));
    for (index, first) in firsts.iter().enumerate() {
        let sealed = sealed.iter().find(|seal| seal.is_of(*first));
        let path = segment::path_of(dir, *first);
        if *first != found.next {
            let what = format!("the records from seq {} on are missing in front of it", found.next);
            return Err(LogError::Corrupt { path, offset: 0, what });
        }
        if let Some(seal) = sealed {
            found.next = seal.chain().seq.next();
            found.segments.push(seal.segment());
            continue;
        }
        let mut walk = Walk::whole(path, *first)?;
        let (segment, bad) = scan_segment(&mut walk, *first, each)?;
        found.next = walk.next;
        found.segments.push(segment);
        if let Some(bad) = bad {
            found.torn = accept(&mut walk, &bad, index + 1 == firsts.len())?;
        }
    }
    Ok(found)
}

/// Hands over the whole batches of a segment, up to its end or to the first frame that is not good.
fn scan_segment(
    walk: &mut Walk,
    first: Seq,
    each: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
) -> Result<(Segment, Option<Bad>), LogError> {
    let mut segment = Segment::new(first, walk.offset);
    let mut batch = Vec::new();
    loop {
        match walk.next_batch(&mut batch)? {
            Step::End => return Ok((segment, None)),
            Step::Bad(bad) => return Ok((segment, Some(bad))),
            Step::Batch => {
                for spot in &batch {
                    segment.note(spot.seq, spot.offset);
                    each(walk.entry(*spot)?)?;
                }
                segment.end = walk.offset;
            }
        }
    }
}

/// Whether the segment ends in a torn write, when it may; an error when this is damage.
fn accept(walk: &mut Walk, bad: &Bad, last: bool) -> Result<bool, LogError> {
    let here = format!("the record at seq {}: {}", bad.seq, bad.what);
    match judge(walk, bad)? {
        Verdict::Empty => Ok(false),
        Verdict::Torn if last => Ok(true),
        Verdict::Torn => Err(walk.damage(bad.offset, format!("{here}, and a later segment shows that it was durable"))),
        Verdict::Damage { proof } => {
            Err(walk.damage(bad.offset, format!("{here}, and the record at byte {proof} shows that it was durable")))
        }
    }
}
