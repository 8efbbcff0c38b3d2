//! What becomes of whole segments later: records exchanged for others, and old segments dropped. For a log whose records
//! may have to go; the event log never does.
//!
//! A segment is written anew beside the old one, made durable, and takes its name: a crash leaves the one or the other. Old
//! segments are dropped from the oldest on: a crash leaves a log that begins later.
use std::path::Path;

use super::LogError;
use super::frame;
use super::journal_reader::JournalReader;
use super::positions::Segment;
use super::segment::{self, SEGMENT_HEAD_BYTES, failed};
use super::walk::Walk;
use crate::ids::Seq;

/// Bytes that are gathered before they are written.
const CHUNK: usize = 1024 * 1024;

/// What a record is exchanged for; nothing when it stays.
pub type Exchange<'a> = &'a mut dyn FnMut(Seq, &[u8]) -> Option<Vec<u8>>;

impl JournalReader {
    /// First and last seq of each segment that nothing is written to any more, in order.
    #[must_use]
    pub fn whole_segments(&self) -> Vec<(Seq, Seq)> {
        let whole = self.positions().whole();
        let ends = whole.iter().skip(1).map(|segment| segment.first).chain(self.positions().first_of_last());
        whole.iter().zip(ends).map(|(segment, next)| (segment.first, Seq(next.0 - 1))).collect()
    }

    /// Exchanges records of the whole segment that begins with `first`, durably. Readers see the old records or the new
    /// ones. Answers how many were exchanged; with none, nothing is written.
    ///
    /// # Errors
    /// When the segment is damaged or the disk fails: the old one stays then.
    pub fn exchange(&self, first: Seq, each: Exchange<'_>) -> Result<u64, LogError> {
        let positions = self.positions();
        let Some(old) = positions.whole().into_iter().find(|segment| segment.first == first) else { return Ok(0) };
        let (disk, path) = (positions.disk(), segment::path_of(positions.dir(), first));
        let draft = path.with_extension("new");
        let (new, count) = write_anew(self, &old, &path, &draft, each)?;
        if count == 0 {
            return disk.remove(&draft).map(|()| 0).map_err(failed("remove", &draft));
        }
        let exchanged = positions.exchange(new, || disk.rename(&draft, &path));
        exchanged.map_err(failed("rename to", &path))?;
        disk.sync_dir(positions.dir()).map_err(failed("sync", positions.dir()))?;
        Ok(count)
    }

    /// Drops whole segments all of whose records are before `kept`. Answers the first seq that is kept.
    ///
    /// # Errors
    /// When a file can't be removed: what was not is dropped by the next call after an open.
    pub fn drop_before(&self, kept: Seq) -> Result<Option<Seq>, LogError> {
        let positions = self.positions();
        for gone in positions.leave(kept) {
            let path = segment::path_of(positions.dir(), gone.first);
            positions.disk().remove(&path).map_err(failed("remove", &path))?;
            positions.disk().sync_dir(positions.dir()).map_err(failed("sync", positions.dir()))?;
        }
        Ok(self.first())
    }
}

fn write_anew(
    reader: &JournalReader,
    old: &Segment,
    path: &Path,
    draft: &Path,
    each: Exchange<'_>,
) -> Result<(Segment, u64), LogError> {
    let disk = reader.positions().disk();
    let file = disk.create(draft).map_err(failed("create", draft))?;
    let write = |bytes: &[u8], at: u64| disk.write_at(draft, &file, bytes, at).map_err(failed("write", draft));
    write(&segment::header(old.first), 0)?;
    let mut new = Segment::new(old.first, SEGMENT_HEAD_BYTES);
    let source = std::fs::File::open(path).map_err(failed("open", path))?;
    let mut walk = Walk::between(path.to_owned(), source, old.first, SEGMENT_HEAD_BYTES, old.end);
    let (mut frames, mut count) = (Vec::new(), 0);
    while let Some(spot) = walk.next_frame()? {
        let record = walk.entry(spot)?.record;
        let other = each(spot.seq, record);
        count += u64::from(other.is_some());
        new.note(spot.seq, new.end + frames.len() as u64);
        // All of a whole segment is durable.
        let before = Seq(spot.seq.0 - 1);
        frame::encode(&mut frames, spot.seq, spot.left, before, other.as_deref().unwrap_or(record));
        if frames.len() >= CHUNK {
            write(&frames, new.end)?;
            new.end += frames.len() as u64;
            frames.clear();
        }
    }
    write(&frames, new.end)?;
    new.end += frames.len() as u64;
    disk.sync_all(draft, &file).map_err(failed("sync", draft))?;
    Ok((new, count))
}
