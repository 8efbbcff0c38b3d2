//! What this gateway could not tell the control plane: audit entries on its own disk, in order and bounded, until they are
//! delivered. No bearer is among them: each lies beside the ticket that says whom it is about.
//!
//! It is a journal, as the control plane's logs are: a torn end is told from damage, and a killed process loses nothing.
//! What is delivered is noted beside it, and leaves the disk segment by segment; when all is, the journal begins anew.
use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use mcpctl_core::ids::Seq;
use mcpctl_core::log::LogError;
use mcpctl_core::log::journal::{Journal, JournalOptions, Sync};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::causes::causes;
use crate::plane::AuditEntry;

/// How much may wait there when nothing else is said.
pub(super) const BYTES_MAX: u64 = 64 << 20;
/// What a journal adds to a record, at most.
const FRAME_BYTES: u64 = 40;
/// Small segments: room is had again a segment at a time.
const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 1 << 20, ahead_bytes: 64 << 10, sync: Sync::Later };

/// An entry, and the ticket of the access that it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spooled {
    pub(super) ticket: String,
    pub(super) entry: AuditEntry,
}

/// Why an entry is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSpooled {
    #[error("the gateway's spool is full ({0} bytes) and the control plane takes nothing")]
    Full(u64),
    #[error("the gateway's spool can't be written: {0}")]
    Disk(String),
}

/// The spool.
pub(super) struct Spool {
    dir: PathBuf,
    bytes_max: u64,
    state: Mutex<State>,
    /// Something was put in.
    pub(super) filled: Notify,
}

struct State {
    /// Nothing after a failure of the disk, until it is opened anew.
    journal: Option<Journal>,
    delivered: Seq,
    waiting: Waiting,
}

/// How large the records are that wait, in order, and all of them together.
#[derive(Default)]
struct Waiting {
    each: VecDeque<u64>,
    bytes: u64,
}

impl Waiting {
    fn put(&mut self, size: u64) {
        self.each.push_back(size);
        self.bytes += size;
    }

    /// All but the last so many have left.
    fn keep_last(&mut self, count: u64) {
        while self.each.len() as u64 > count {
            self.bytes -= self.each.pop_front().unwrap_or_default();
        }
    }
}

impl Spool {
    /// Opens the spool in a folder, which is made if need be.
    ///
    /// # Errors
    /// When the folder is another gateway's, damaged, or can't be written.
    pub(super) fn open(dir: &Path, bytes_max: u64) -> Result<Self, LogError> {
        let state = open(dir)?;
        let spool = Self { dir: dir.to_owned(), bytes_max, state: Mutex::new(state), filled: Notify::new() };
        if spool.waits() {
            spool.filled.notify_one();
        }
        Ok(spool)
    }

    /// Whether anything waits to be delivered. Then nothing may overtake it.
    pub(super) fn waits(&self) -> bool {
        let state = self.state.lock();
        state.journal.as_ref().is_none_or(|journal| journal.head() > state.delivered)
    }

    /// Puts an entry in. When this returns, it survives the death of this process.
    ///
    /// # Errors
    /// When there is no room, or the disk fails.
    pub(super) fn put(&self, spooled: &Spooled) -> Result<(), NotSpooled> {
        let bytes = serde_json::to_vec(spooled).map_err(|error| NotSpooled::Disk(error.to_string()))?;
        let size = bytes.len() as u64 + FRAME_BYTES;
        let mut state = self.state.lock();
        if state.journal.is_none() {
            *state = open(&self.dir).map_err(|error| NotSpooled::Disk(causes(&error)))?;
        }
        if state.waiting.bytes + size > self.bytes_max {
            return Err(NotSpooled::Full(self.bytes_max));
        }
        let Some(journal) = &mut state.journal else { return Err(NotSpooled::Disk("it is closed".to_owned())) };
        let next = journal.head().next();
        if let Err(error) = journal.append(next, [&bytes[..]].into_iter()) {
            // What the disk holds now is known after a new open only.
            state.journal = None;
            return Err(NotSpooled::Disk(causes(&error)));
        }
        state.waiting.put(size);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The oldest entries that wait, at most so many, and the place of the last.
    pub(super) fn next(&self, most: usize) -> Result<(Vec<Spooled>, Seq), LogError> {
        let (reader, from) = {
            let mut state = self.state.lock();
            if state.journal.is_none() {
                *state = open(&self.dir)?;
            }
            let Some(journal) = &state.journal else { return Ok((Vec::new(), state.delivered)) };
            (journal.reader(), state.delivered.next())
        };
        let (mut all, mut last): (Vec<Spooled>, Seq) = (Vec::new(), Seq(from.0 - 1));
        reader.scan(from, &mut |place, bytes| {
            // One that a later version wrote is passed over rather than kept in the way for ever.
            let Ok(spooled) = serde_json::from_slice::<Spooled>(bytes) else {
                tracing::error!(%place, "an entry of the spool can't be read, and is left out");
                last = place;
                return all.is_empty();
            };
            if all.len() == most {
                return false;
            }
            all.push(spooled);
            last = place;
            true
        })?;
        Ok((all, last))
    }

    /// Everything up to a place is delivered.
    ///
    /// # Errors
    /// When that can't be written down. It may be delivered again then, and is told apart by its ids.
    pub(super) fn delivered(&self, up_to: Seq) -> std::io::Result<()> {
        let mut state = self.state.lock();
        state.delivered = state.delivered.max(up_to);
        let Some(journal) = &state.journal else { return note(&self.dir, state.delivered) };
        let waits = journal.head().0.saturating_sub(state.delivered.0);
        if waits > 0 {
            let reader = journal.reader();
            state.waiting.keep_last(waits);
            // First the note: what it does not name yet is looked for when the spool is opened.
            note(&self.dir, state.delivered)?;
            let dropped = reader.drop_before(state.delivered.next());
            return dropped.map(drop).map_err(|error| std::io::Error::other(causes(&error)));
        }
        // All is: it begins anew. In whatever order a crash leaves these, an empty journal has nothing that waits.
        state.journal = None;
        let away = self.dir.join("delivered-entries");
        fs::rename(entries(&self.dir), &away)?;
        note(&self.dir, Seq(0))?;
        fs::remove_dir_all(&away)?;
        *state = open(&self.dir).map_err(|error| std::io::Error::other(causes(&error)))?;
        Ok(())
    }

    /// Keeps entries that the control plane will never take where a person can find them, and out of the way of others.
    ///
    /// # Errors
    /// When they can't be kept, or too many are.
    pub(super) fn set_aside(&self, some: &[&Spooled]) -> std::io::Result<()> {
        let mut file = fs::File::options().create(true).append(true).open(self.dir.join("refused.jsonl"))?;
        if file.metadata()?.len() > self.bytes_max {
            return Err(std::io::Error::other("refused.jsonl is as large as the spool may be"));
        }
        for one in some {
            let line = serde_json::to_vec(&one.entry).map_err(std::io::Error::other)?;
            file.write_all(&line)?;
            file.write_all(b"\n")?;
        }
        file.sync_data()
    }

    /// Makes durable what is there: against a power cut.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn sync(&self) -> Result<(), LogError> {
        let syncer = self.state.lock().journal.as_ref().map(Journal::syncer);
        syncer.map_or(Ok(()), |syncer| syncer.sync().map(drop))
    }
}

fn entries(dir: &Path) -> PathBuf {
    dir.join("entries")
}

fn open(dir: &Path) -> Result<State, LogError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| LogError::Io { action, path, source }
    };
    let away = dir.join("delivered-entries");
    if away.exists() {
        fs::remove_dir_all(&away).map_err(io("remove", &away))?;
    }
    let mut waiting = Waiting::default();
    let journal = Journal::open(&entries(dir), OPTIONS, &mut |entry| {
        waiting.put(entry.record.len() as u64 + FRAME_BYTES);
        Ok(())
    })?;
    let file = dir.join("delivered");
    let noted = match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().map(Seq).unwrap_or_default(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Seq(0),
        Err(error) => return Err(io("read", &file)(error)),
    };
    let delivered = noted.min(journal.head());
    note(dir, delivered).map_err(io("write", &file))?;
    waiting.keep_last(journal.head().0 - delivered.0);
    Ok(State { journal: Some(journal), delivered, waiting })
}

fn note(dir: &Path, delivered: Seq) -> std::io::Result<()> {
    let new = dir.join("delivered.new");
    let mut file = fs::File::create(&new)?;
    writeln!(file, "{}", delivered.0)?;
    file.sync_data()?;
    fs::rename(new, dir.join("delivered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spooled(ticket: &str, tool: &str) -> Spooled {
        let entry = AuditEntry { tool: Some(tool.to_owned()), ..AuditEntry::default() };
        Spooled { ticket: ticket.to_owned(), entry }
    }

    fn tools(spool: &Spool) -> Vec<String> {
        spool.next(100).unwrap().0.into_iter().map(|one| one.entry.tool.unwrap()).collect()
    }

    #[test]
    fn entries_come_out_in_order_so_many_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
        assert!(!spool.waits() && spool.next(9).unwrap().0.is_empty());
        for (ticket, tool) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")] {
            spool.put(&spooled(ticket, tool)).unwrap();
        }
        let mut seen = Vec::new();
        while spool.waits() {
            let (some, last) = spool.next(3).unwrap();
            seen.push(some.iter().map(|one| one.entry.tool.clone().unwrap()).collect::<String>());
            spool.delivered(last).unwrap();
        }
        assert_eq!(seen, ["123", "4"]);
        assert_eq!(spool.state.lock().waiting.bytes, 0, "it begins anew when all is delivered");
    }

    #[test]
    fn what_waits_is_there_after_a_restart_and_what_was_delivered_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
        for tool in ["1", "2", "3"] {
            spool.put(&spooled("a", tool)).unwrap();
        }
        let (_, last) = spool.next(2).unwrap();
        spool.delivered(last).unwrap();
        drop(spool);
        let spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
        assert_eq!(tools(&spool), ["3"]);
        let (_, last) = spool.next(9).unwrap();
        spool.delivered(last).unwrap();
        drop(spool);
        let spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
        assert!(!spool.waits());
        spool.put(&spooled("a", "4")).unwrap();
        assert_eq!(tools(&spool), ["4"]);
    }

    #[test]
    fn it_is_bounded_and_takes_more_when_it_was_delivered() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), 2_000).unwrap();
        let mut count = 0;
        let full = loop {
            match spool.put(&spooled("a", "x")) {
                Ok(()) => count += 1,
                Err(full) => break full,
            }
        };
        assert!(matches!(full, NotSpooled::Full(2_000)) && count > 2, "{count}: {full}");
        drop(spool);
        let spool = Spool::open(dir.path(), 2_000).unwrap();
        assert!(spool.put(&spooled("a", "x")).is_err(), "it is as full after a restart");
        let (_, last) = spool.next(1_000).unwrap();
        spool.delivered(last).unwrap();
        spool.put(&spooled("a", "x")).unwrap();
    }

    #[test]
    fn there_is_room_for_what_comes_as_soon_as_what_was_there_is_delivered() {
        let dir = tempfile::tempdir().unwrap();
        let bytes_max = 3 * OPTIONS.segment_bytes;
        let mut spool = Spool::open(dir.path(), bytes_max).unwrap();
        let large = "x".repeat(20_000);
        let (mut put, mut taken) = (0, 0);
        // Something always waits: it never begins anew.
        for round in 0..20 {
            while spool.put(&spooled("a", &format!("{put} {large}"))).is_ok() {
                put += 1;
            }
            let (some, last) = spool.next(usize::try_from(put - taken).unwrap() - 10).unwrap();
            for one in some {
                assert_eq!(one.entry.tool.unwrap().split(' ').next(), Some(taken.to_string().as_str()), "in order");
                taken += 1;
            }
            spool.delivered(last).unwrap();
            let state = spool.state.lock();
            assert_eq!(state.waiting.each.len() as u64, put - taken);
            drop(state);
            let files =
                fs::read_dir(entries(dir.path())).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
            assert!(files.sum::<u64>() < bytes_max, "what is delivered leaves the disk");
            if round % 5 == 0 {
                let bytes = spool.state.lock().waiting.bytes;
                drop(spool);
                spool = Spool::open(dir.path(), bytes_max).unwrap();
                assert_eq!(spool.state.lock().waiting.bytes, bytes, "and is not counted after a restart");
            }
        }
        assert!(put > 20 * 100, "{put}");
    }

    #[test]
    fn a_torn_end_costs_the_entry_that_nobody_was_told_of_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
        for tool in ["1", "2", "torn"] {
            spool.put(&spooled("a", tool)).unwrap();
        }
        drop(spool);
        let segment = fs::read_dir(entries(dir.path())).unwrap().map(|entry| entry.unwrap().path());
        let segment = segment.filter(|path| path.metadata().unwrap().len() > 1_000).max().unwrap();
        let bytes = fs::read(&segment).unwrap();
        let end = bytes.windows(4).rposition(|four| four == b"torn").unwrap();
        let mut torn = bytes.clone();
        torn[end..].fill(0);
        fs::write(&segment, torn).unwrap();
        let spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
        assert_eq!(tools(&spool), ["1", "2"]);
        spool.put(&spooled("a", "3")).unwrap();
        assert_eq!(tools(&spool), ["1", "2", "3"]);
    }
}
