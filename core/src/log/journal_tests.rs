//! What a journal promises, tried with torn writes, cut files and flipped bits.
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::LogError;
use super::journal::{Journal, JournalOptions, Sync, verify};
use super::segment::{self, SEGMENT_HEAD_BYTES};
use crate::ids::Seq;

const SMALL: JournalOptions = JournalOptions { segment_bytes: 2048, ahead_bytes: 512, sync: Sync::EachBatch };
const SMALL_LATER: JournalOptions = JournalOptions { sync: Sync::Later, ..SMALL };

type Batches = Vec<Vec<Vec<u8>>>;

fn open(dir: &Path, options: JournalOptions) -> Result<(Journal, Vec<Vec<u8>>), LogError> {
    let mut seen = Vec::new();
    let journal = Journal::open(dir, options, &mut |entry| {
        assert_eq!(entry.seq.0, seen.len() as u64 + 1);
        seen.push(entry.record.to_vec());
        Ok(())
    })?;
    assert_eq!(journal.head().0, seen.len() as u64);
    Ok((journal, seen))
}

fn append(journal: &mut Journal, batch: &[Vec<u8>]) -> Result<(), LogError> {
    journal.append(journal.head().next(), batch.iter().map(Vec::as_slice))
}

/// Writes the batches and answers where the last segment ends after each of them: (seq, end).
fn write_all(dir: &Path, options: JournalOptions, batches: &Batches) -> Vec<(u64, u64)> {
    let (mut journal, _) = open(dir, options).unwrap();
    let mut ends = Vec::new();
    for batch in batches {
        append(&mut journal, batch).unwrap();
        ends.push((journal.head().0, journal.end_for_tests()));
    }
    ends
}

fn last_segment(dir: &Path) -> (Seq, PathBuf) {
    let first = *segment::list(dir).unwrap().last().unwrap();
    (first, segment::path_of(dir, first))
}

fn all_segments(dir: &Path) -> Vec<PathBuf> {
    segment::list(dir).unwrap().into_iter().map(|first| segment::path_of(dir, first)).collect()
}

fn flip(path: &Path, bit: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

fn read_all(journal: &Journal) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let collect = &mut |_: Seq, record: &[u8]| {
        seen.push(record.to_vec());
        true
    };
    journal.reader().scan(Seq(1), collect).unwrap();
    seen
}

fn batches() -> impl Strategy<Value = Batches> {
    let record = prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300);
    prop::collection::vec(prop::collection::vec(record, 1..6), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_appended_is_read_back_by_position_by_scan_and_after_a_reopen(batches in batches()) {
        let dir = tempfile::tempdir().unwrap();
        let flat: Vec<_> = batches.iter().flatten().cloned().collect();
        let (mut journal, _) = open(dir.path(), SMALL).unwrap();
        for batch in &batches {
            append(&mut journal, batch).unwrap();
        }
        prop_assert_eq!(&read_all(&journal), &flat);
        let reader = journal.reader();
        for (index, record) in flat.iter().enumerate() {
            let found = reader.read(Seq(index as u64 + 1)).unwrap();
            prop_assert_eq!(found.as_ref(), Some(record));
        }
        prop_assert_eq!(reader.read(Seq(flat.len() as u64 + 1)).unwrap(), None);
        drop(journal);
        prop_assert_eq!(verify(dir.path(), &mut |_| Ok(())).unwrap(), Seq(flat.len() as u64));
        let (journal, seen) = open(dir.path(), SMALL).unwrap();
        prop_assert_eq!(&seen, &flat);
        prop_assert_eq!(&read_all(&journal), &flat);
    }

    #[test]
    fn a_cut_at_any_byte_leaves_exactly_the_whole_batches_before_it(batches in batches(), at in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let ends = write_all(dir.path(), SMALL, &batches);
        let (first, path) = last_segment(dir.path());
        let length = std::fs::metadata(&path).unwrap().len();
        let cut = at.index(usize::try_from(length).unwrap()) as u64;
        segment::open(&path).unwrap().set_len(cut).unwrap();
        if cut < SEGMENT_HEAD_BYTES {
            // No crash leaves this: a segment gets its name when its header is durable.
            let error = open(dir.path(), SMALL).unwrap_err();
            prop_assert!(matches!(error, LogError::Corrupt { offset: 0, .. }), "{}", error);
            return Ok(());
        }
        let kept = ends.iter().filter(|(seq, end)| *seq < first.0 || *end <= cut).map(|(seq, _)| *seq).max();
        let flat: Vec<_> = batches.iter().flatten().cloned().collect();
        let expected = &flat[..usize::try_from(kept.unwrap_or(0)).unwrap()];
        let (mut journal, seen) = open(dir.path(), SMALL).unwrap();
        prop_assert_eq!(&seen[..], expected);
        append(&mut journal, &[b"after".to_vec()]).unwrap();
        drop(journal);
        let (_, seen) = open(dir.path(), SMALL).unwrap();
        prop_assert_eq!(seen.len(), expected.len() + 1);
        prop_assert_eq!(&seen[..expected.len()], expected);
    }

    #[test]
    fn a_torn_batch_is_dropped_whole_whichever_of_its_pages_reached_the_disk(
        batches in batches(), torn in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
        lost in prop::collection::vec(any::<bool>(), 64),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let options = JournalOptions { segment_bytes: 1 << 20, ..SMALL };
        let ends = write_all(dir.path(), options, &batches);
        let from = ends.last().unwrap().1;
        let to = { write_all(dir.path(), options, &vec![torn.clone()])[0].1 };
        let (_, path) = last_segment(dir.path());
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        for (index, byte) in bytes.iter_mut().enumerate().take(to as usize).skip(from as usize) {
            // Pages of 128 bytes instead of 4096, so that small batches have many.
            if lost[index / 128 % lost.len()] {
                *byte = 0;
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut expected: Vec<_> = batches.iter().flatten().cloned().collect();
        if bytes == whole {
            expected.extend(torn);
        }
        let (mut journal, seen) = open(dir.path(), options).unwrap();
        prop_assert_eq!(&seen, &expected);
        append(&mut journal, &[b"after".to_vec()]).unwrap();
        expected.push(b"after".to_vec());
        drop(journal);
        prop_assert_eq!(open(dir.path(), options).unwrap().1, expected);
    }

    #[test]
    fn a_flipped_bit_is_refused_or_costs_the_last_batch_and_never_yields_a_wrong_record(
        batches in batches(), segment in any::<prop::sample::Index>(), bit in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let ends = write_all(dir.path(), SMALL, &batches);
        let flat: Vec<_> = batches.iter().flatten().cloned().collect();
        let path = segment.get(&all_segments(dir.path())).clone();
        let bits = usize::try_from(std::fs::metadata(&path).unwrap().len() * 8).unwrap();
        flip(&path, bit.index(bits) as u64);
        let before_last = ends.iter().rev().nth(1).map_or(0, |(seq, _)| usize::try_from(*seq).unwrap());
        match open(dir.path(), SMALL) {
            Ok((_, seen)) => {
                prop_assert!(seen == flat || seen == flat[..before_last], "{} of {}", seen.len(), flat.len());
            }
            Err(LogError::Corrupt { path: named, .. }) => prop_assert_eq!(named, path),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn a_bit_that_flips_under_an_open_journal_is_noticed_when_it_is_read(
        batches in batches(), segment in any::<prop::sample::Index>(), bit in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let flat: Vec<_> = batches.iter().flatten().cloned().collect();
        write_all(dir.path(), SMALL, &batches);
        let (journal, _) = open(dir.path(), SMALL).unwrap();
        let path = segment.get(&all_segments(dir.path())).clone();
        let bits = usize::try_from(std::fs::metadata(&path).unwrap().len() * 8).unwrap();
        flip(&path, bit.index(bits) as u64);
        for (index, record) in flat.iter().enumerate() {
            match journal.reader().read(Seq(index as u64 + 1)) {
                Ok(found) => prop_assert_eq!(found.as_ref(), Some(record)),
                Err(error) => prop_assert!(matches!(error, LogError::Corrupt { .. }), "{}", error),
            }
        }
    }

    #[test]
    fn a_power_cut_takes_from_an_unsynced_journal_only_what_was_not_synced(
        batches in batches(), synced in any::<prop::sample::Index>(), lost in prop::collection::vec(any::<bool>(), 64),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let options = JournalOptions { segment_bytes: 1 << 20, ..SMALL_LATER };
        let (mut journal, _) = open(dir.path(), options).unwrap();
        let (mut durable, mut safe) = (0, SEGMENT_HEAD_BYTES);
        let last_synced = synced.index(batches.len());
        for (index, batch) in batches.iter().enumerate() {
            append(&mut journal, batch).unwrap();
            if index == last_synced {
                durable = journal.syncer().sync().unwrap().0;
                safe = journal.end_for_tests();
            }
        }
        drop(journal);
        let (_, path) = last_segment(dir.path());
        let mut bytes = std::fs::read(&path).unwrap();
        for (index, byte) in bytes.iter_mut().enumerate().skip(usize::try_from(safe).unwrap()) {
            if lost[index / 128 % lost.len()] {
                *byte = 0;
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let flat: Vec<_> = batches.iter().flatten().cloned().collect();
        let (_, seen) = open(dir.path(), options).unwrap();
        prop_assert!(seen.len() as u64 >= durable, "{} of {}", seen.len(), durable);
        prop_assert_eq!(&seen[..], &flat[..seen.len()]);
    }
}

fn records(count: usize) -> Batches {
    (0..count).map(|n| vec![format!("record {n}").into_bytes()]).collect()
}

#[test]
fn a_bad_record_with_a_later_durable_one_is_damage_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let ends = write_all(dir.path(), SMALL, &records(5));
    let (_, path) = last_segment(dir.path());
    flip(&path, (ends[1].1 + 30) * 8);
    let before = std::fs::read(&path).unwrap();
    let error = open(dir.path(), SMALL).unwrap_err();
    let LogError::Corrupt { path: named, offset, what } = &error else { panic!("{error}") };
    assert_eq!((named, *offset), (&path, ends[1].1));
    assert!(what.contains("the record at seq 3"), "{what}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_a_torn_batch_left_behind_never_joins_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path(), SMALL, &vec![vec![b"torn".to_vec(); 3]]);
    let (_, path) = last_segment(dir.path());
    // The first frame did not reach the disk, the second and third did, and the new batch ends where they begin.
    flip(&path, (SEGMENT_HEAD_BYTES + 25) * 8);
    let (mut journal, seen) = open(dir.path(), SMALL).unwrap();
    assert!(seen.is_empty());
    append(&mut journal, &[b"good".to_vec()]).unwrap();
    drop(journal);
    assert_eq!(open(dir.path(), SMALL).unwrap().1, [b"good".to_vec()]);
}

#[test]
fn damage_in_what_was_synced_is_found_in_an_unsynced_journal_too() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), SMALL_LATER).unwrap();
    append(&mut journal, &[b"one".to_vec()]).unwrap();
    assert_eq!(journal.reader().durable(), Seq(0));
    assert_eq!(journal.syncer().sync().unwrap(), Seq(1));
    assert_eq!(journal.reader().durable(), Seq(1));
    append(&mut journal, &[b"two".to_vec()]).unwrap();
    drop(journal);
    let (_, path) = last_segment(dir.path());
    flip(&path, (SEGMENT_HEAD_BYTES + 25) * 8);
    assert!(matches!(open(dir.path(), SMALL_LATER), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_missing_segment_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path(), SMALL, &records(200));
    let segments = all_segments(dir.path());
    assert!(segments.len() > 3);
    std::fs::remove_file(&segments[1]).unwrap();
    let error = open(dir.path(), SMALL).unwrap_err();
    assert!(matches!(&error, LogError::Corrupt { path, .. } if *path == segments[2]), "{error}");
}

#[test]
fn a_second_open_is_refused_until_the_first_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), SMALL).unwrap();
    let error = open(dir.path(), SMALL).unwrap_err();
    assert!(matches!(&error, LogError::InUse { path } if path == dir.path()), "{error}");
    drop(journal);
    open(dir.path(), SMALL).unwrap();
}

#[test]
fn a_batch_that_does_not_follow_the_head_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), SMALL).unwrap();
    for wrong in [0, 2] {
        let error = journal.append(Seq(wrong), [&b"x"[..]].into_iter()).unwrap_err();
        assert!(matches!(error, LogError::OutOfOrder { expected: Seq(1), .. }), "{error}");
    }
    append(&mut journal, &[b"x".to_vec()]).unwrap();
}

#[test]
fn after_a_failed_write_the_journal_takes_no_more_and_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), SMALL).unwrap();
    append(&mut journal, &[b"one".to_vec()]).unwrap();
    let (_, path) = last_segment(dir.path());
    let good = journal.replace_file_for_tests(Arc::new(std::fs::File::open(&path).unwrap()));
    let error = append(&mut journal, &[b"two".to_vec()]).unwrap_err();
    assert!(matches!(&error, LogError::Io { action: "write", path: named, .. } if *named == path), "{error}");
    journal.replace_file_for_tests(good);
    let error = append(&mut journal, &[b"two".to_vec()]).unwrap_err();
    assert!(matches!(error, LogError::Broken { .. }), "{error}");
    assert_eq!(read_all(&journal), [b"one".to_vec()]);
    drop(journal);
    assert_eq!(open(dir.path(), SMALL).unwrap().1, [b"one".to_vec()]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = open(&file.join("log"), SMALL).unwrap_err();
    assert!(error.to_string().starts_with("create ") && error.to_string().ends_with("file/log"), "{error}");
}

#[test]
fn a_record_far_inside_a_segment_is_found_by_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes: 1 << 20, ..SMALL_LATER };
    let all = records(1000);
    write_all(dir.path(), options, &all);
    let (mut journal, _) = open(dir.path(), options).unwrap();
    all.iter().for_each(|batch| append(&mut journal, batch).unwrap());
    for seq in (1..=2000).step_by(17).chain([256, 257, 512, 513, 2000]) {
        let expected = &all[(seq - 1) % 1000][0];
        assert_eq!(journal.reader().read(Seq(seq as u64)).unwrap().as_ref(), Some(expected));
    }
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let big: Batches = vec![vec![vec![1; 100]], vec![vec![2; 1500]; 4], vec![vec![3; 100]]];
    write_all(dir.path(), SMALL, &big);
    assert_eq!(all_segments(dir.path()).len(), 3);
    let (_, seen) = open(dir.path(), SMALL).unwrap();
    assert_eq!(seen, big.concat());
}
