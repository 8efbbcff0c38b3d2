//! Opening the log at a start: every byte is checked, and every record folded but for those that a snapshot stands for.
use std::path::Path;

use mcpctl_core::ids::Seq;
use mcpctl_core::log::durable::{DurableLog, OpenOptions};
use mcpctl_core::log::{Checked, LogError, Seal};
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use super::snapshot::Snapshots;

/// Opens the log and brings the state level with it, in one reading.
///
/// # Errors
/// When the log does not open, or its events do not fold.
pub fn open_log(dir: &Path, snapshots: &Snapshots) -> Result<(DurableLog, State), LogError> {
    if let Some(state) = snapshots.newest() {
        if let Some(opened) = open_from(dir, state, &snapshots.seals())? {
            return Ok(opened);
        }
        tracing::warn!("the snapshot of the state does not belong to this log: the log is folded from its beginning");
        snapshots.discard();
    }
    open_from(dir, State::default(), &[])?
        .ok_or_else(|| LogError::Index { what: "the log changed while it was read".into() })
}

/// Folds what comes after a state; `None` when the log does not go on from that state. Seals stand for records that the
/// state is known to hold; the record at its seq is looked at in any case.
fn open_from(dir: &Path, state: State, seals: &[Seal]) -> Result<Option<(DurableLog, State)>, LogError> {
    let mut resumed = Resumed { from: state.seq(), fits: state.seq() == Seq(0), state };
    let options = OpenOptions { decode_after: resumed.from, ..OpenOptions::default() };
    let opened = DurableLog::open_sealed(dir, options, seals, &mut |checked| resumed.take(checked));
    match opened {
        Ok(log) if resumed.fits => Ok(Some((log, resumed.state))),
        Err(error) if resumed.fits => Err(error),
        Ok(_) | Err(LogError::Index { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A state that the rest of the log is folded into.
struct Resumed {
    from: Seq,
    /// The log was seen to hold the last event of that state.
    fits: bool,
    state: State,
}

impl Resumed {
    fn take(&mut self, checked: Checked<'_>) -> Result<(), LogError> {
        let (seq, hash) = (checked.seq, checked.hash);
        if seq < self.from {
            return Ok(());
        }
        if seq == self.from {
            self.fits = hash == self.state.head();
            return if self.fits {
                Ok(())
            } else {
                Err(LogError::Index { what: "the snapshot is of another log".into() })
            };
        }
        let folded = self.state.fold(&checked.record()?, hash).map(drop);
        folded.map_err(|error| {
            // What does not fold on a snapshot may fold on what the snapshot should have been.
            self.fits = self.from == Seq(0);
            LogError::Index { what: format!("the event at seq {seq} does not fold: {error}") }
        })
    }
}

#[cfg(test)]
#[path = "../../benches/log/past.rs"]
pub(crate) mod past;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use mcpctl_core::kinds::Kind;
    use mcpctl_core::log::EventLog as _;
    use mcpctl_core::log::journal::JournalOptions;
    use serde_json::json;
    use tempfile::TempDir;

    use super::past::Past;
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const EVENTS: u64 = 40;

    struct Folder {
        dir: TempDir,
        full: State,
    }

    impl Folder {
        /// A log of 40 events with a snapshot at one of them.
        fn with_snapshot_at(at: u64) -> Self {
            Self::kept(JournalOptions::default(), at)
        }

        /// The same in segments of a few events each.
        fn in_segments_with_snapshot_at(at: u64) -> Self {
            Self::kept(JournalOptions { segment_bytes: 4096, ahead_bytes: 1024, ..JournalOptions::default() }, at)
        }

        fn kept(journal: JournalOptions, at: u64) -> Self {
            let mut past = Past::default();
            let folder = Self { dir: tempfile::tempdir().unwrap(), full: State::default() };
            let options = OpenOptions { journal, ..OpenOptions::default() };
            let mut log = DurableLog::open(&folder.log(), options, &mut |_| Ok(())).unwrap();
            for event in 0..EVENTS {
                let name = format!("server-{}", event % 7);
                let fields = json!({"name": name, "description": format!("change {event}"), "command": ["npx", "-y"]});
                log.append(&past.apply(Kind::Server, fields)).unwrap();
                if event + 1 == at {
                    folder.snapshots().write(&past.state).unwrap();
                }
            }
            Self { full: past.state, ..folder }
        }

        fn log(&self) -> PathBuf {
            self.dir.path().join("log")
        }

        fn snapshots(&self) -> Snapshots {
            self.snapshots_of(KEY, "test 1")
        }

        fn snapshots_of(&self, key: [u8; 32], program: &str) -> Snapshots {
            Snapshots::new(self.dir.path().join("snapshot"), key, program.to_owned())
        }

        fn snapshot_files(&self) -> Vec<PathBuf> {
            let all = std::fs::read_dir(self.dir.path().join("snapshot")).unwrap().map(|entry| entry.unwrap().path());
            all.filter(|path| path.extension().is_some_and(|end| end == "snapshot")).collect()
        }

        #[track_caller]
        fn opens_equal(&self, snapshots: &Snapshots) {
            let (log, state) = open_log(&self.log(), snapshots).unwrap();
            assert_eq!(log.head(), (state.seq(), state.head()));
            assert_eq!(state.canonical(), self.full.canonical());
            assert_eq!(state.to_image(), self.full.to_image());
        }
    }

    #[test]
    fn a_start_from_a_snapshot_and_the_tail_is_a_start_from_the_log() {
        for at in [1, 20, EVENTS] {
            let folder = Folder::with_snapshot_at(at);
            assert_eq!(folder.snapshots().newest().unwrap().seq(), Seq(at));
            folder.opens_equal(&folder.snapshots());
            assert_eq!(folder.snapshot_files().len(), 1, "a good snapshot is kept");
        }
    }

    #[test]
    fn whatever_byte_of_a_snapshot_changed_it_is_not_used() {
        let folder = Folder::with_snapshot_at(20);
        let path = folder.snapshot_files().pop().unwrap();
        let good = std::fs::read(&path).unwrap();
        for index in 0..good.len() {
            let mut bytes = good.clone();
            bytes[index] ^= 1 << (index % 8);
            std::fs::write(&path, &bytes).unwrap();
            assert!(folder.snapshots().newest().is_none(), "byte {index}");
            assert!(folder.snapshot_files().is_empty(), "it is deleted");
        }
        for length in [0, 10, 40, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            folder.opens_equal(&folder.snapshots());
        }
    }

    #[test]
    fn a_snapshot_that_is_missing_or_another_program_s_key_s_or_log_s_is_a_full_replay() {
        let folder = Folder::with_snapshot_at(20);
        folder.opens_equal(&folder.snapshots_of(KEY, "test 2"));
        assert!(folder.snapshot_files().is_empty());
        folder.opens_equal(&folder.snapshots());
        folder.snapshots().write(&folder.full).unwrap();
        folder.opens_equal(&folder.snapshots_of([8; 32], "test 1"));
        assert!(folder.snapshot_files().is_empty());
        let mut other = Past::default();
        for name in ["elsewhere", "elsewhere-2"] {
            other.apply(Kind::Server, json!({"name": name, "command": ["npx"]}));
        }
        folder.snapshots().write(&other.state).unwrap();
        folder.opens_equal(&folder.snapshots());
        assert!(folder.snapshot_files().is_empty(), "a state of another log is deleted");
    }

    #[test]
    fn a_snapshot_that_is_ahead_of_the_log_is_not_believed() {
        let folder = Folder::with_snapshot_at(EVENTS);
        std::fs::remove_dir_all(folder.log()).unwrap();
        let mut log = DurableLog::open(&folder.log(), OpenOptions::default(), &mut |_| Ok(())).unwrap();
        let mut past = Past::default();
        log.append(&past.apply(Kind::Server, json!({"name": "server-0", "command": ["npx"]}))).unwrap();
        drop(log);
        let (_, state) = open_log(&folder.log(), &folder.snapshots()).unwrap();
        assert_eq!(state.to_image(), past.state.to_image());
    }

    #[test]
    fn a_start_with_sealed_segments_is_the_same_and_finds_any_changed_byte() {
        let folder = Folder::in_segments_with_snapshot_at(35);
        let sealed = folder.snapshots().seal(&folder.log(), &|| true).unwrap();
        assert!(sealed > 2 && folder.snapshots().seals().len() == sealed, "{sealed} seals");
        folder.opens_equal(&folder.snapshots());
        assert_eq!(folder.snapshots().seals().len(), sealed, "they are kept");
        let first = folder.log().join(format!("{:020}.segment", 1));
        let good = std::fs::read(&first).unwrap();
        for at in (0..good.len()).step_by(101) {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&first, bytes).unwrap();
            let Err(error) = open_log(&folder.log(), &folder.snapshots()) else { panic!("byte {at} was accepted") };
            assert!(matches!(&error, LogError::Corrupt { path, .. } if *path == first), "byte {at}: {error}");
        }
        std::fs::write(&first, good).unwrap();
        folder.opens_equal(&folder.snapshots());
    }

    #[test]
    fn seals_that_were_not_written_here_are_not_believed() {
        let folder = Folder::in_segments_with_snapshot_at(35);
        folder.snapshots().seal(&folder.log(), &|| true).unwrap();
        let path = folder.dir.path().join("snapshot/segments.seals");
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(31) {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert!(folder.snapshots().seals().is_empty(), "byte {at}");
        }
        folder.opens_equal(&folder.snapshots());
        std::fs::write(&path, good).unwrap();
        assert!(folder.snapshots_of([8; 32], "test 1").seals().is_empty(), "another key's");
        assert!(!folder.snapshots_of(KEY, "test 2").seals().is_empty(), "another build reads them");
        folder.snapshots().discard();
        assert!(folder.snapshots().seals().is_empty());
    }

    #[test]
    fn a_record_that_a_snapshot_stands_for_is_still_checked() {
        let folder = Folder::with_snapshot_at(EVENTS);
        let segment = std::fs::read_dir(folder.log()).unwrap().map(|entry| entry.unwrap().path());
        let segment = segment.filter(|path| path.extension().is_some_and(|end| end == "segment")).last().unwrap();
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[1000] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        let Err(error) = open_log(&folder.log(), &folder.snapshots()) else { panic!("a changed record was accepted") };
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
    }
}
