//! A walk through one segment: frames in order, each checked, whole batches only, through a window of the file.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::LogError;
use super::frame::{FRAME_HEAD_BYTES, FrameHead};
use super::segment::{SEGMENT_HEAD_BYTES, check_header, failed};
use crate::ids::Seq;

/// A record that was found, and where.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its position in the log.
    pub seq: Seq,
    /// Its bytes.
    pub record: &'a [u8],
    /// The segment that holds it.
    pub path: &'a Path,
    /// Where its frame begins.
    pub offset: u64,
}

/// Where a good frame lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) seq: Seq,
    pub(super) offset: u64,
    pub(super) left: u32,
    frame_bytes: usize,
}

impl Spot {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.frame_bytes as u64
    }
}

/// A place where the next frame should be and is not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bad {
    /// Where the frame should begin.
    pub(super) offset: u64,
    /// Where its batch begins.
    pub(super) batch: u64,
    /// The seq it should have.
    pub(super) seq: Seq,
    /// What is wrong.
    pub(super) what: &'static str,
}

/// What comes next in a segment.
pub(super) enum Step {
    /// A whole batch.
    Batch,
    /// The end of the file, after a whole batch.
    End,
    /// Zeros, a torn write, or damage.
    Bad(Bad),
}

/// A position in a segment and a window around it.
pub(super) struct Walk {
    pub(super) path: PathBuf,
    pub(super) window: Window,
    pub(super) offset: u64,
    pub(super) next: Seq,
}

impl Walk {
    /// Walks a whole file from its first frame, after a look at its header.
    pub(super) fn whole(path: PathBuf, first: Seq) -> Result<Self, LogError> {
        let file = File::open(&path).map_err(failed("open", &path))?;
        let limit = file.metadata().map_err(failed("read", &path))?.len();
        let mut window = Window::new(file, limit, 1024 * 1024);
        let head = window.get(0, usize::try_from(SEGMENT_HEAD_BYTES).unwrap_or(32)).map_err(failed("read", &path))?;
        check_header(&path, head, first)?;
        Ok(Self { path, window, offset: SEGMENT_HEAD_BYTES, next: first })
    }

    /// Walks from a known frame up to a known end.
    pub(super) fn between(path: PathBuf, file: File, next: Seq, offset: u64, end: u64) -> Self {
        Self { path, window: Window::new(file, end, 64 * 1024), offset, next }
    }

    /// Reads the next batch; `batch` then says where its frames lie, and [`Walk::entry`] gives them.
    pub(super) fn next_batch(&mut self, batch: &mut Vec<Spot>) -> Result<Step, LogError> {
        batch.clear();
        self.window.keep_from = self.offset;
        if self.offset == self.window.limit {
            return Ok(Step::End);
        }
        let begins = self.offset;
        let (mut offset, mut seq) = (begins, self.next);
        loop {
            let bad = |what| Ok(Step::Bad(Bad { offset, batch: begins, seq, what }));
            let spot = match self.frame(offset, seq)? {
                Ok(spot) => spot,
                Err(what) => return bad(what),
            };
            if batch.last().is_some_and(|before| before.left != spot.left + 1) {
                return bad("it belongs to another batch");
            }
            batch.push(spot);
            (offset, seq) = (spot.end(), seq.next());
            if spot.left == 0 {
                (self.offset, self.next) = (offset, seq);
                return Ok(Step::Batch);
            }
        }
    }

    /// Reads the next frame of a part of the segment that is known to be whole.
    pub(super) fn next_frame(&mut self) -> Result<Option<Spot>, LogError> {
        self.window.keep_from = self.offset;
        if self.offset == self.window.limit {
            return Ok(None);
        }
        match self.frame(self.offset, self.next)? {
            Ok(spot) => {
                (self.offset, self.next) = (spot.end(), self.next.next());
                Ok(Some(spot))
            }
            Err(what) => Err(self.damage(self.offset, format!("the record at seq {}: {what}", self.next))),
        }
    }

    /// The record at a spot of the batch or the frame that was read last.
    pub(super) fn entry(&mut self, spot: Spot) -> Result<Entry<'_>, LogError> {
        let Self { path, window, .. } = self;
        let frame = window.get(spot.offset, spot.frame_bytes).map_err(failed("read", path))?;
        let record = frame.map_or(&[][..], |frame| &frame[FRAME_HEAD_BYTES..]);
        Ok(Entry { seq: spot.seq, record, path, offset: spot.offset })
    }

    /// Damage in this segment, as an error.
    pub(super) fn damage(&self, offset: u64, what: String) -> LogError {
        LogError::Corrupt { path: self.path.clone(), offset, what }
    }

    fn frame(&mut self, offset: u64, seq: Seq) -> Result<Result<Spot, &'static str>, LogError> {
        self.frame_io(offset, seq).map_err(failed("read", &self.path))
    }

    fn frame_io(&mut self, offset: u64, seq: Seq) -> io::Result<Result<Spot, &'static str>> {
        let Some(head) = self.window.get(offset, FRAME_HEAD_BYTES)? else { return Ok(Err("the file ends before it")) };
        let Some(head) = FrameHead::read(head) else { return Ok(Err("no record begins there")) };
        let frame_bytes = head.frame_bytes();
        let Some(frame) = self.window.get(offset, frame_bytes)? else { return Ok(Err("the file ends inside it")) };
        if !head.matches(frame) {
            return Ok(Err("it fails its checksum"));
        }
        if head.seq != seq {
            return Ok(Err("another seq stands there"));
        }
        Ok(Ok(Spot { seq, offset, left: head.left, frame_bytes }))
    }
}

/// A part of a file in memory, moving forward.
pub(super) struct Window {
    file: File,
    /// Bytes of the file that may be looked at.
    pub(super) limit: u64,
    chunk: u64,
    base: u64,
    bytes: Vec<u8>,
    /// Bytes from here on stay in memory.
    pub(super) keep_from: u64,
}

impl Window {
    fn new(file: File, limit: u64, chunk: u64) -> Self {
        Self { file, limit, chunk, base: 0, bytes: Vec::new(), keep_from: 0 }
    }

    /// Bytes of the file, or `None` when it ends before them.
    pub(super) fn get(&mut self, from: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let end = from + len as u64;
        if end > self.limit {
            return Ok(None);
        }
        if from < self.base || end > self.base + self.bytes.len() as u64 {
            self.load(from, end)?;
        }
        let start = usize::try_from(from - self.base).map_err(io::Error::other)?;
        Ok(self.bytes.get(start..start + len))
    }

    fn load(&mut self, from: u64, end: u64) -> io::Result<()> {
        let base = from.min(self.keep_from);
        match base.checked_sub(self.base).and_then(|drop| usize::try_from(drop).ok()) {
            Some(drop) if drop <= self.bytes.len() => drop_front(&mut self.bytes, drop),
            _ => self.bytes.clear(),
        }
        self.base = base;
        let have = self.bytes.len();
        let end = end.max(base + have as u64 + self.chunk).min(self.limit);
        self.bytes.resize(usize::try_from(end - base).map_err(io::Error::other)?, 0);
        self.file.read_exact_at(&mut self.bytes[have..], base + have as u64)
    }
}

fn drop_front(bytes: &mut Vec<u8>, count: usize) {
    bytes.copy_within(count.., 0);
    bytes.truncate(bytes.len() - count);
}
