//! Seals: what is known of a segment that will not change any more, so that a start need not look at each record of it.
//!
//! A segment that another one follows is written no more. It is read once more from the disk, every record checked
//! against its checksum and the chain, and the very bytes that were checked are hashed as a whole. A later start hashes
//! the file and compares: a changed byte is found as surely as by the checksums and the chain, at the speed of hashing
//! large pieces. Where the hash is another one the segment is read record by record, which names the place. Whoever
//! keeps seals sees to it that nobody else can write them.
use std::fs::File;
use std::io::Read as _;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use super::LogError;
use super::chain::Chain;
use super::frame::{FRAME_HEAD_BYTES, FrameHead};
use super::positions::Segment;
use super::segment::{self, SEGMENT_HEAD_BYTES, check_header, failed, path_of};
use crate::ids::{Digest, Seq};

/// Bytes that are read and hashed at once.
const READ_BYTES: usize = 1024 * 1024;

/// What each record of a segment is handed to.
type EachRecord<'a> = &'a mut dyn FnMut(Seq, &[u8]) -> Result<(), LogError>;

/// What is known of a whole segment: the chain up to its end, and the hash of its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seal {
    first: Seq,
    last: Seq,
    /// Chain hash of the last record.
    hash: Digest,
    /// Length of the file: its last frame ends there.
    bytes: u64,
    /// blake3 of the file.
    file: Digest,
    /// Where every so many records lie, as readers look for them.
    places: Vec<u64>,
}

/// Looks through the segments that the seals do not speak of yet, as far as another one follows them. The seals after
/// that, all of them from the first segment on, each of which goes on where the one before it ends.
/// `go_on` is asked before each segment, which takes a part of a second.
///
/// # Errors
/// When a segment can't be read or is damaged: it has no seal then, and neither have those after it.
pub fn seal(dir: &Path, mut known: Vec<Seal>, go_on: &dyn Fn() -> bool) -> Result<Vec<Seal>, LogError> {
    let firsts = segment::list(dir)?;
    known.truncate(known.iter().zip(&firsts).take_while(|(seal, first)| seal.first == **first).count());
    for pair in firsts.windows(2).skip(known.len()) {
        if !go_on() {
            break;
        }
        let end = known.last().map_or_else(Chain::default, Seal::chain);
        known.push(Seal::of(dir, pair[0], end)?);
    }
    Ok(known)
}

/// Looks through whole segments of a journal whose records have no chain, and which may be dropped or written anew: each seal
/// is of one segment by itself. A segment whose seal fits already is not read again. `go_on` as for [`seal`].
///
/// # Errors
/// When a segment can't be read or is damaged.
pub fn seal_each(dir: &Path, known: &[Seal], go_on: &dyn Fn() -> bool) -> Result<Vec<Seal>, LogError> {
    let mut all = Vec::new();
    for pair in segment::list(dir)?.windows(2) {
        let fits = known.iter().find(|seal| seal.fits(dir, pair[0], pair[1]));
        match fits {
            Some(seal) => all.push(seal.clone()),
            None if go_on() => all.push(Seal::read(dir, pair[0], Digest::default(), &mut |_, _| Ok(()))?),
            None => break,
        }
    }
    Ok(all)
}

/// Those of [`seal_each`] that fit the segments in a folder now, by name and length. Nothing is read.
pub(super) fn fitting(dir: &Path, seals: &[Seal]) -> Result<Vec<Seal>, LogError> {
    let firsts = segment::list(dir)?;
    let of = |pair: &[Seq]| seals.iter().find(|seal| seal.fits(dir, pair[0], pair[1])).cloned();
    Ok(firsts.windows(2).filter_map(of).collect())
}

impl Seal {
    fn fits(&self, dir: &Path, first: Seq, next: Seq) -> bool {
        let named = self.first == first && self.last.next() == next;
        named && std::fs::metadata(path_of(dir, first)).is_ok_and(|file| file.len() == self.bytes)
    }

    /// Whether it is of the segment that begins there.
    pub(super) fn is_of(&self, first: Seq) -> bool {
        self.first == first
    }

    /// The end of the chain in this segment.
    pub(super) const fn chain(&self) -> Chain {
        Chain { seq: self.last, hash: self.hash }
    }

    /// The segment as its readers know it.
    pub(super) fn segment(&self) -> Segment {
        Segment::of_places(self.first, self.bytes, self.places.clone())
    }

    /// Checks every record of a segment, and hashes the bytes that were checked.
    fn of(dir: &Path, first: Seq, mut chain: Chain) -> Result<Self, LogError> {
        let follow = &mut |seq: Seq, record: &[u8]| chain.follow(seq, record).map(drop);
        let seal = Self::read(dir, first, Digest::default(), follow)?;
        Ok(Self { hash: chain.hash, ..seal })
    }

    fn read(dir: &Path, first: Seq, hash: Digest, each: EachRecord<'_>) -> Result<Self, LogError> {
        let path = path_of(dir, first);
        let bytes = std::fs::read(&path).map_err(failed("read", &path))?;
        let head = usize::try_from(SEGMENT_HEAD_BYTES).unwrap_or(32);
        check_header(&path, bytes.get(..head), first)?;
        let mut segment = Segment::new(first, bytes.len() as u64);
        let (mut at, mut left, mut seq) = (head, 0, first);
        while at < bytes.len() || left > 0 {
            let damaged = |what: String| LogError::Corrupt { path: path.clone(), offset: at as u64, what };
            let frame =
                frame_at(&bytes[at..], seq).map_err(|what| damaged(format!("the record at seq {seq}: {what}")))?;
            let (this, record) = frame;
            if left > 0 && this.left + 1 != left {
                return Err(damaged(format!("the record at seq {seq}: it belongs to another batch")));
            }
            segment.note(seq, at as u64);
            each(seq, record).map_err(|error| damaged(error.to_string()))?;
            (at, left, seq) = (at + this.frame_bytes(), this.left, seq.next());
        }
        let (length, places) = (bytes.len() as u64, segment.into_places());
        Ok(Self { first, last: Seq(seq.0 - 1), hash, bytes: length, file: Digest::blake3(&bytes), places })
    }

    /// Whether the file is still the one that was looked through.
    fn holds(&self, dir: &Path) -> Result<bool, LogError> {
        let path = path_of(dir, self.first);
        let mut file = File::open(&path).map_err(failed("open", &path))?;
        if file.metadata().map_err(failed("read", &path))?.len() != self.bytes {
            return Ok(false);
        }
        let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; READ_BYTES]);
        loop {
            match file.read(&mut piece).map_err(failed("read", &path))? {
                0 => return Ok(Digest(*hasher.finalize().as_bytes()) == self.file),
                read => drop(hasher.update(&piece[..read])),
            }
        }
    }
}

fn frame_at(bytes: &[u8], seq: Seq) -> Result<(FrameHead, &[u8]), &'static str> {
    let head = bytes.get(..FRAME_HEAD_BYTES).and_then(FrameHead::read).ok_or("no record begins there")?;
    let frame = bytes.get(..head.frame_bytes()).ok_or("the file ends inside it")?;
    if !head.matches(frame) {
        return Err("it fails its checksum");
    }
    if head.seq != seq { Err("another seq stands there") } else { Ok((head, &frame[FRAME_HEAD_BYTES..])) }
}

/// How many seals, from the first on, hold now and end before a seq. Hashes on as many cores as there are.
pub(super) fn holding(dir: &Path, seals: &[Seal], before: Seq) -> Result<usize, LogError> {
    let firsts = segment::list(dir)?;
    let fitting = seals.iter().zip(firsts.windows(2));
    let fitting =
        fitting.take_while(|(seal, pair)| seal.first == pair[0] && seal.last.next() == pair[1] && seal.last < before);
    let seals = &seals[..fitting.count()];
    let (next, good) = (AtomicUsize::new(0), AtomicUsize::new(seals.len()));
    let work = || -> Result<(), LogError> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(seal) = seals.get(at) else { return Ok(()) };
            if !seal.holds(dir)? {
                tracing::warn!(first = %seal.first, "a segment is not what it was: each of its records is looked at");
                good.fetch_min(at, Ordering::Relaxed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(seals.len());
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let stopped = || LogError::Index { what: "hashing the log was stopped".to_owned() };
        all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Err(stopped())))
    })?;
    Ok(good.into_inner())
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
