//! The end of the last segment: space written ahead, a torn write, or damage.
use std::io;

use super::LogError;
use super::frame::{FRAME_HEAD_BYTES, FrameHead};
use super::segment::failed;
use super::walk::{Bad, Walk, Window};

/// What a bad frame means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing but zeros from the last whole batch on.
    Empty,
    /// A write that never was acknowledged as durable: its batch is dropped.
    Torn,
    /// What had been durable is bad.
    Damage {
        /// Where a good frame says so.
        proof: u64,
    },
}

/// Judges a bad frame by what follows it.
pub(super) fn judge(walk: &mut Walk, bad: &Bad) -> Result<Verdict, LogError> {
    judge_io(&mut walk.window, bad).map_err(failed("read", &walk.path))
}

fn judge_io(window: &mut Window, bad: &Bad) -> io::Result<Verdict> {
    let written = end_of_writing(window, bad.batch)?;
    if written == bad.batch {
        return Ok(Verdict::Empty);
    }
    for offset in bad.offset + 1..written {
        window.keep_from = offset;
        let Some(head) = window.get(offset, FRAME_HEAD_BYTES)?.and_then(FrameHead::read) else { continue };
        let skipped = head.seq.0.checked_sub(bad.seq.0);
        let possible = skipped.is_some_and(|n| n <= (offset - bad.offset) / FRAME_HEAD_BYTES as u64 + 1);
        // Asked before the checksum: only a frame that says so matters, and few bytes look like one that does.
        if !possible || head.durable() < bad.seq {
            continue;
        }
        if window.get(offset, head.frame_bytes())?.is_some_and(|frame| head.matches(frame)) {
            return Ok(Verdict::Damage { proof: offset });
        }
    }
    Ok(Verdict::Torn)
}

/// Where the last byte that is not zero ends, or `from`.
fn end_of_writing(window: &mut Window, from: u64) -> io::Result<u64> {
    const CHUNK: u64 = 64 * 1024;
    let (mut at, mut end) = (from, from);
    while at < window.limit {
        window.keep_from = at;
        let len = usize::try_from(CHUNK.min(window.limit - at)).map_err(io::Error::other)?;
        if let Some(last) = window.get(at, len)?.and_then(|bytes| bytes.iter().rposition(|b| *b != 0)) {
            end = at + last as u64 + 1;
        }
        at += len as u64;
    }
    Ok(end)
}
