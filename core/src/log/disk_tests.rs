//! What the durable log promises when the disk fails at any call, and when the power is cut at any moment.
use std::path::Path;

use super::disk_model::{Dice, DiskModel, Keeps};
use super::durable::{DurableLog, OpenOptions};
use super::laws::{SMALL, check, follow};
use super::{EventLog, LogError};
use crate::ids::Seq;
use crate::record::StoredRecord;

type List = Vec<(u128, StoredRecord)>;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn on(disk: &'static DiskModel, dir: &Path) -> Result<DurableLog, LogError> {
    DurableLog::open(dir, OpenOptions { disk, ..SMALL }, &mut |_| Ok(()))
}

fn events(dice: &mut Dice) -> Vec<(u128, Vec<u8>)> {
    let event = |dice: &mut Dice| {
        let (object, byte) = (u128::from(dice.below(3)), dice.below(255));
        (object, vec![byte as u8; dice.below(700) as usize])
    };
    (0..=dice.below(3)).map(|_| event(dice)).collect()
}

fn append(log: &mut DurableLog, events: &[(u128, Vec<u8>)]) -> Result<List, LogError> {
    let batch = follow(log.head(), events);
    log.append(&batch)?;
    Ok(events.iter().map(|(object, _)| *object).zip(batch).collect())
}

/// What is left after a power cut is opened: it holds all that was acknowledged, at most one batch more, and goes on.
fn survives(disk: &DiskModel, dir: &Path, acknowledged: &List, keeps: Keeps, dice: &mut Dice) {
    let left = tempfile::tempdir().unwrap();
    disk.cut(dir, left.path(), keeps, dice);
    // The index may have survived, and then it is a witness: it knows what had been acknowledged.
    if dice.below(4) == 0 {
        copy_files(&dir.join("index"), &left.path().join("index"));
    }
    let mut found = Vec::new();
    let opened = DurableLog::open(left.path(), SMALL, &mut |checked| {
        found.push(checked.bytes.to_vec());
        Ok(())
    });
    let mut log = opened.unwrap_or_else(|error| panic!("{keeps:?}: {error}"));
    assert!(found.len() >= acknowledged.len(), "{keeps:?}: {} of {} are left", found.len(), acknowledged.len());
    for ((_, record), found) in acknowledged.iter().zip(&found) {
        assert_eq!(record.bytes, *found, "{keeps:?}");
    }
    append(&mut log, &[(1, b"after the cut".to_vec())]).unwrap();
    assert_eq!(log.head().0, Seq(found.len() as u64 + 1));
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let mut cuts = 0;
    for seed in 0..13 {
        let (disk, dir, mut dice) = (DiskModel::leaked(), tempfile::tempdir().unwrap(), Dice(seed));
        let mut log = on(disk, dir.path()).unwrap();
        let mut acknowledged = List::new();
        for _ in 0..4 {
            acknowledged.extend(append(&mut log, &events(&mut dice)).unwrap());
            for keeps in [Keeps::Nothing, Keeps::Some, Keeps::SomeReordered, Keeps::All] {
                survives(disk, dir.path(), &acknowledged, keeps, &mut dice);
                cuts += 1;
            }
        }
        check(&log, &acknowledged);
    }
    assert!(cuts >= 200, "{cuts} cuts");
}

/// Appends until there are so many batches, with a failure on the way; answers what was acknowledged.
fn write_through(disk: &'static DiskModel, dir: &Path, batches: usize, seed: u64) -> (DurableLog, List) {
    let (mut dice, mut acknowledged) = (Dice(seed), List::new());
    let mut log = loop {
        match on(disk, dir) {
            Ok(log) => break log,
            Err(error) => assert!(matches!(error, LogError::Io { .. }), "{error}"),
        }
    };
    for _ in 0..batches {
        let events = events(&mut dice);
        let mut attempts = 0;
        loop {
            match append(&mut log, &events) {
                Ok(appended) => break acknowledged.extend(appended),
                Err(error) => {
                    assert!(matches!(error, LogError::Io { .. } | LogError::Broken { .. }), "{error}");
                    check(&log, &acknowledged);
                    survives(disk, dir, &acknowledged, Keeps::SomeReordered, &mut dice);
                }
            }
            attempts += 1;
            assert!(attempts < 20, "it never takes writes again");
            let _ = log.recover();
        }
    }
    (log, acknowledged)
}

/// Every call once, and every call with those after it: the log loses nothing, says why, and goes on.
#[test]
fn a_disk_that_fails_at_any_call_loses_nothing_and_the_log_goes_on() {
    let (disk, dir) = (DiskModel::leaked(), tempfile::tempdir().unwrap());
    drop(write_through(disk, dir.path(), 6, 1));
    let calls = disk.calls();
    assert!(calls > 20, "several segments, writes and syncs: {calls} calls");
    for call in 0..calls {
        for (os_error, count) in [(EIO, 1), (ENOSPC, 1), (if call % 2 == 0 { EIO } else { ENOSPC }, 5)] {
            let (disk, dir) = (DiskModel::leaked(), tempfile::tempdir().unwrap());
            disk.fail(call, count, os_error);
            let (log, acknowledged) = write_through(disk, dir.path(), 6, 1);
            check(&log, &acknowledged);
            survives(disk, dir.path(), &acknowledged, Keeps::Nothing, &mut Dice(call));
            drop(log);
            check(&on(disk, dir.path()).unwrap(), &acknowledged);
        }
    }
}

#[test]
fn a_full_disk_is_told_as_one_and_writing_comes_back_with_the_space() {
    let (disk, dir) = (DiskModel::leaked(), tempfile::tempdir().unwrap());
    let mut log = on(disk, dir.path()).unwrap();
    let mut acknowledged = append(&mut log, &[(1, vec![1; 100])]).unwrap();
    disk.fail(disk.calls(), u64::MAX, ENOSPC);
    for _ in 0..3 {
        // Small batches fit into the space that was written ahead; a large one does not.
        let error = append(&mut log, &[(1, vec![2; 5000])]).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(source.contains("No space left") || matches!(error, LogError::Broken { .. }), "{error}: {source}");
        assert!(log.recover().is_err(), "there is no space yet");
        check(&log, &acknowledged);
    }
    disk.works_again();
    log.recover().unwrap();
    acknowledged.extend(append(&mut log, &[(2, vec![3; 5000])]).unwrap());
    check(&log, &acknowledged);
    drop(log);
    check(&on(disk, dir.path()).unwrap(), &acknowledged);
}

/// The trap that recovery is there for: after a failed sync, a second sync that succeeds proves nothing.
#[test]
fn what_a_failed_sync_left_in_memory_is_not_taken_for_durable() {
    let (disk, dir) = (DiskModel::leaked(), tempfile::tempdir().unwrap());
    let mut log = on(disk, dir.path()).unwrap();
    let mut acknowledged = append(&mut log, &[(1, vec![1; 100])]).unwrap();
    // A batch that fits is one write and one sync: the sync fails.
    disk.fail(disk.calls() + 1, 1, EIO);
    append(&mut log, &[(1, vec![2; 50])]).unwrap_err();
    assert!(matches!(append(&mut log, &[(1, vec![2; 50])]), Err(LogError::Broken { .. })));
    log.recover().unwrap();
    for n in 3..6 {
        acknowledged.extend(append(&mut log, &[(1, vec![n; 50])]).unwrap());
        survives(disk, dir.path(), &acknowledged, Keeps::Nothing, &mut Dice(0));
    }
    check(&log, &acknowledged);
}
