//! Reading a journal on several cores: one thread reads and checks frames, workers hash and decode, the caller takes
//! the records in order. What the caller makes of them is most of the work, and it does nothing else.
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::LogError;
use super::checked::Decoded;
use super::walk::Entry;
use crate::ids::{Digest, Seq};
use crate::record::RecordError;

/// Records and bytes that go through a worker together.
const CHUNK_RECORDS: usize = 512;
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks between reading and taking: what the pipeline may hold in memory is this times [`CHUNK_BYTES`] and a record.
const CHUNKS: usize = 8;
/// Hashing and decoding keep at most so many threads busy; the fold behind them keeps one.
const WORKERS_MAX: usize = 3;

/// A record on its way, and where it lies.
pub(super) struct Found<'a> {
    pub(super) seq: Seq,
    pub(super) bytes: &'a [u8],
    pub(super) path: &'a Path,
    pub(super) offset: u64,
    pub(super) hash: Digest,
    pub(super) decoded: Result<Decoded, RecordError>,
}

#[derive(Default)]
struct Chunk {
    path: PathBuf,
    spots: Vec<(Seq, u64, Range<usize>)>,
    bytes: Vec<u8>,
}

type Worked = Vec<(Digest, Result<Decoded, RecordError>)>;
type Work = (Chunk, SyncSender<(Chunk, Worked)>);
/// What a reader calls for each frame.
pub(super) type EachEntry<'a> = dyn FnMut(Entry<'_>) -> Result<(), LogError> + 'a;

/// Runs `read` on a thread of its own and hands what it finds to `take`, in order, hashed, and decoded from
/// `decode_after` on.
pub(super) fn run<T: Send>(
    read: impl FnOnce(&mut EachEntry<'_>) -> Result<T, LogError> + Send,
    decode_after: Seq,
    take: &mut dyn FnMut(Found<'_>) -> Result<(), LogError>,
) -> Result<T, LogError> {
    let (to_workers, work) = sync_channel::<Work>(CHUNKS);
    let (in_order, chunks) = sync_channel(CHUNKS);
    let work = Mutex::new(work);
    let work = &work;
    thread::scope(|scope| {
        for _ in 0..workers() {
            scope.spawn(move || keep_working(work, decode_after));
        }
        let reader = scope.spawn(move || {
            let mut feed = Feed { chunk: Chunk::default(), to_workers, in_order };
            let read = read(&mut |entry| feed.push(&entry))?;
            feed.send()?;
            Ok(read)
        });
        // The channel ends with this call, so that a reader that is not listened to any more stops.
        let taken = take_all(chunks, take);
        let read = reader.join().unwrap_or_else(|_| Err(stopped()));
        taken.and(read)
    })
}

fn workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).saturating_sub(1).clamp(1, WORKERS_MAX)
}

fn keep_working(work: &Mutex<Receiver<Work>>, decode_after: Seq) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((chunk, reply)) = next else { return };
        let worked = chunk.spots.iter().map(|(seq, _, range)| {
            let bytes = &chunk.bytes[range.clone()];
            let decoded = if *seq > decode_after { Decoded::whole(bytes) } else { Decoded::link_of(bytes) };
            (Digest::blake3(bytes), decoded)
        });
        let worked = worked.collect();
        // Nobody waits for it when taking an earlier chunk failed.
        let _ = reply.send((chunk, worked));
    }
}

fn take_all(
    chunks: Receiver<Receiver<(Chunk, Worked)>>,
    take: &mut dyn FnMut(Found<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    for chunk in chunks {
        let Ok((chunk, worked)) = chunk.recv() else { return Err(stopped()) };
        for ((seq, offset, range), (hash, decoded)) in chunk.spots.into_iter().zip(worked) {
            take(Found { seq, bytes: &chunk.bytes[range], path: &chunk.path, offset, hash, decoded })?;
        }
    }
    Ok(())
}

fn stopped() -> LogError {
    LogError::Index { what: "reading the log was stopped".to_owned() }
}

/// Where the reader puts what it finds.
struct Feed {
    chunk: Chunk,
    to_workers: SyncSender<Work>,
    in_order: SyncSender<Receiver<(Chunk, Worked)>>,
}

impl Feed {
    fn push(&mut self, entry: &Entry<'_>) -> Result<(), LogError> {
        let full = self.chunk.spots.len() >= CHUNK_RECORDS || self.chunk.bytes.len() >= CHUNK_BYTES;
        if full || self.chunk.path != entry.path {
            self.send()?;
            self.chunk.path = entry.path.to_owned();
        }
        let begins = self.chunk.bytes.len();
        self.chunk.bytes.extend_from_slice(entry.record);
        self.chunk.spots.push((entry.seq, entry.offset, begins..self.chunk.bytes.len()));
        Ok(())
    }

    fn send(&mut self) -> Result<(), LogError> {
        let chunk = std::mem::take(&mut self.chunk);
        if chunk.spots.is_empty() {
            return Ok(());
        }
        let (reply, worked) = sync_channel(1);
        self.in_order.send(worked).map_err(|_| stopped())?;
        self.to_workers.send((chunk, reply)).map_err(|_| stopped())
    }
}
