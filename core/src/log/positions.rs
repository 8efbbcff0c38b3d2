//! What the writer of a journal shares with its readers: which segment holds what, how far it is written and durable.
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::LogError;
use super::disk::Disk;
use super::segment::{failed, path_of};
use crate::ids::Seq;

/// Every so many records, the place of one is kept in memory: 8 bytes for 256 records.
const STRIDE: u64 = 256;

/// One segment as far as it may be read.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) first: Seq,
    pub(super) end: u64,
    places: Vec<u64>,
}

impl Segment {
    pub(super) fn new(first: Seq, end: u64) -> Self {
        Self { first, end, places: Vec::new() }
    }

    /// A segment of which it is known where its records lie.
    pub(super) fn of_places(first: Seq, end: u64, places: Vec<u64>) -> Self {
        Self { first, end, places }
    }

    /// Where every so many records lie.
    pub(super) fn into_places(self) -> Vec<u64> {
        self.places
    }

    /// Takes note of a record, in order.
    pub(super) fn note(&mut self, seq: Seq, offset: u64) {
        if (seq.0 - self.first.0).is_multiple_of(STRIDE) {
            self.places.push(offset);
        }
    }
}

/// Where to begin to look for a record.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Opened while the places held: a segment that is written anew has others.
    pub(super) file: File,
    pub(super) seq: Seq,
    pub(super) offset: u64,
    pub(super) end: u64,
}

/// Shared by the writer, the readers and the one who syncs.
#[derive(Debug)]
pub(super) struct Positions {
    dir: PathBuf,
    disk: &'static dyn Disk,
    segments: RwLock<Vec<Segment>>,
    written: AtomicU64,
    durable: AtomicU64,
    active: Mutex<Option<(PathBuf, Arc<File>)>>,
    broken: Mutex<Option<String>>,
}

impl Positions {
    pub(super) fn new(dir: PathBuf, disk: &'static dyn Disk, segments: Vec<Segment>, head: Seq) -> Self {
        Self {
            dir,
            disk,
            segments: RwLock::new(segments),
            written: AtomicU64::new(head.0),
            durable: AtomicU64::new(head.0),
            active: Mutex::new(None),
            broken: Mutex::new(None),
        }
    }

    pub(super) fn written(&self) -> Seq {
        Seq(self.written.load(Ordering::Acquire))
    }

    pub(super) fn durable(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    /// First seq that can be read.
    pub(super) fn first(&self) -> Option<Seq> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).first().map(|segment| segment.first)
    }

    /// First seq of the last segment.
    pub(super) fn first_of_last(&self) -> Option<Seq> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).last().map(|segment| segment.first)
    }

    /// A new segment takes the writes from now on.
    pub(super) fn begin(&self, segment: Segment) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    /// The file that takes the writes from now on. Everything before it is durable.
    pub(super) fn activate(&self, path: PathBuf, file: Arc<File>) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = Some((path, file));
    }

    /// A batch was written: `places` say where its frames begin.
    pub(super) fn publish(&self, first: Seq, places: &[u64], end: u64) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let Some(segment) = segments.last_mut() else { return };
        let mut seq = first;
        for place in places {
            segment.note(seq, *place);
            seq = seq.next();
        }
        segment.end = end;
        self.written.store(seq.0 - 1, Ordering::Release);
    }

    /// Everything up to `seq` is durable.
    pub(super) fn confirm(&self, seq: Seq) {
        self.durable.fetch_max(seq.0, Ordering::AcqRel);
    }

    /// Syncs what is written by now.
    pub(super) fn sync(&self) -> Result<Seq, LogError> {
        self.check()?;
        // The head before the file: were it the other way round, the writer might begin a new segment in between, and
        // records of the new one would be called durable after a sync of the old one.
        let written = self.written();
        if written == self.durable() {
            return Ok(written);
        }
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((path, file)) = active {
            let synced = self.disk.sync_data(&path, &file).map_err(failed("sync", &path));
            synced.inspect_err(|error| self.break_off(error))?;
        }
        self.confirm(written);
        Ok(written)
    }

    /// From now on nothing is written: what the disk holds after a failed write or sync is not known.
    pub(super) fn break_off(&self, error: &LogError) {
        let why = match error {
            LogError::Io { source, .. } => format!("{error}: {source}"),
            other => other.to_string(),
        };
        // A second failure adds nothing to the first.
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// What is durable is known again.
    pub(super) fn mend(&self) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        match self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(why) => Err(LogError::Broken { why }),
            None => Ok(()),
        }
    }

    /// Where to begin to look for `seq`; `None` when no segment has it.
    pub(super) fn place(&self, seq: Seq) -> Result<Option<Place>, LogError> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        if seq > self.written() {
            return Ok(None);
        }
        let index = segments.partition_point(|segment| segment.first <= seq).checked_sub(1);
        let Some(segment) = index.and_then(|index| segments.get(index)) else { return Ok(None) };
        let stride = (seq.0 - segment.first.0) / STRIDE;
        let Some(offset) = usize::try_from(stride).ok().and_then(|stride| segment.places.get(stride)) else {
            return Ok(None);
        };
        let begins = Seq(segment.first.0 + stride * STRIDE);
        let path = path_of(&self.dir, segment.first);
        let file = File::open(&path).map_err(failed("open", &path))?;
        Ok(Some(Place { path, file, seq: begins, offset: *offset, end: segment.end }))
    }

    pub(super) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    pub(super) fn disk(&self) -> &'static dyn Disk {
        self.disk
    }

    /// Segments that nothing is written to any more, in order: all but the last.
    pub(super) fn whole(&self) -> Vec<Segment> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments[..segments.len().saturating_sub(1)].to_vec()
    }

    /// Puts a segment that was written anew in the place of the old one: its file and its places at once.
    pub(super) fn exchange(&self, new: Segment, rename: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        rename()?;
        if let Some(old) = segments.iter_mut().find(|segment| segment.first == new.first) {
            *old = new;
        }
        Ok(())
    }

    /// Nobody reads what is before `kept` from now on; answers the segments that held nothing else, in order.
    pub(super) fn leave(&self, kept: Seq) -> Vec<Segment> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let gone = segments.windows(2).take_while(|pair| pair[1].first <= kept).count();
        segments.drain(..gone).collect()
    }
}
