//! What the durable log promises when its index is deleted, garbage, old, foreign, or knows more than the journal.
use std::path::Path;

use proptest::prelude::*;

use super::super::laws::{Batches, SMALL, batches, check, check_reader, follow, record, write_checked};
use super::*;

type List = Vec<(u128, StoredRecord)>;

fn open(dir: &Path) -> Result<DurableLog, LogError> {
    let mut seen = Vec::new();
    let log = DurableLog::open(dir, SMALL, &mut |checked| {
        assert_eq!(checked.seq.0, seen.len() as u64 + 1);
        assert_eq!(checked.hash, Digest::blake3(checked.bytes));
        seen.push(checked.bytes.to_vec());
        assert_eq!(checked.record()?.store().unwrap().bytes, seen[seen.len() - 1]);
        Ok(())
    })?;
    assert_eq!(log.head().0.0, seen.len() as u64);
    assert!(log.reader.index.read().unwrap().is_some(), "the log has an index");
    Ok(log)
}

fn events(count: u8) -> Batches {
    (0..count).map(|n| vec![(u128::from(n % 3), vec![n; 20]), (1, vec![n; 5])]).collect()
}

fn written(dir: &Path, batches: &Batches) -> List {
    write_checked(&mut open(dir).unwrap(), batches)
}

fn copy_index(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to.join("index"));
    std::fs::create_dir_all(to.join("index")).unwrap();
    for entry in std::fs::read_dir(from.join("index")).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join("index").join(entry.file_name())).unwrap();
        }
    }
}

fn remove_segments(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|end| end == "segment") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// Appends to the journal alone, as if the process had been killed before the index heard of it.
fn append_to_journal(dir: &Path, batch: &[StoredRecord]) {
    let mut journal = Journal::open(dir, SMALL.journal, &mut |_| Ok(())).unwrap();
    journal.append(journal.head().next(), batch.iter().map(|record| record.bytes.as_slice())).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_log_opened_again_is_equal_and_goes_on(before in batches(), after in batches()) {
        let dir = tempfile::tempdir().unwrap();
        let mut list = written(dir.path(), &before);
        let mut log = open(dir.path()).unwrap();
        check(&log, &list);
        for events in &after {
            let batch = follow(log.head(), events);
            log.append(&batch).unwrap();
            list.extend(events.iter().map(|(object, _)| *object).zip(batch));
        }
        check(&log, &list);
        drop(log);
        check(&open(dir.path()).unwrap(), &list);
    }

    #[test]
    fn whatever_bits_flip_in_the_index_the_log_is_equal(
        bits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20),
        noted in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let list = written(dir.path(), &events(6));
        if !noted {
            std::fs::remove_file(dir.path().join("index.closed")).unwrap();
        }
        let index = dir.path().join("index");
        let files = std::fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = files.filter(|path| path.is_file()).collect();
        for (file, bit) in bits {
            let path = file.get(&files);
            let mut bytes = std::fs::read(path).unwrap();
            let used = bytes.iter().rposition(|b| *b != 0).map_or(1, |last| last + 1).min(bytes.len());
            if used > 0 && !bytes.is_empty() {
                let bit = bit.index(used * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(path, bytes).unwrap();
            }
        }
        check(&open(dir.path()).unwrap(), &list);
    }
}

#[test]
fn an_index_that_was_deleted_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let list = written(dir.path(), &events(30));
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    check(&open(dir.path()).unwrap(), &list);
}

#[test]
fn an_index_of_garbage_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let list = written(dir.path(), &events(30));
    for entry in std::fs::read_dir(dir.path().join("index")).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::write(entry.path(), vec![0xA5; 10_000]).unwrap();
        }
    }
    check(&open(dir.path()).unwrap(), &list);
}

#[test]
fn an_index_that_is_behind_gets_what_it_lacks() {
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    written(dir.path(), &events(5));
    copy_index(dir.path(), old.path());
    let mut log = open(dir.path()).unwrap();
    log.append(&follow(log.head(), &[(2, b"later".to_vec())])).unwrap();
    let list: List = (1..=log.head().0.0)
        .map(|seq| {
            let record = super::super::read_record(&*log.reader(), Seq(seq)).unwrap().unwrap();
            let object = (0..4).find(|n| record.header.object == Uid::fixed(*n)).unwrap();
            (object, record.store().unwrap())
        })
        .collect();
    drop(log);
    copy_index(old.path(), dir.path());
    check(&open(dir.path()).unwrap(), &list);
}

#[test]
fn a_journal_that_is_ahead_of_the_index_is_caught_up_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut list = written(dir.path(), &events(5));
    let last = list.last().map(|(_, record)| (record.seq, record.hash)).unwrap();
    let batch = follow(last, &[(3, b"one".to_vec()), (0, b"two".to_vec())]);
    append_to_journal(dir.path(), &batch);
    list.extend([3, 0].into_iter().zip(batch));
    check(&open(dir.path()).unwrap(), &list);
}

#[test]
fn the_index_of_another_log_is_not_believed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let list = written(dir.path(), &events(5));
    for count in [3, 10, 15] {
        written(other.path(), &vec![vec![(2, vec![7; 9])]; count]);
        copy_index(other.path(), dir.path());
        let _ = std::fs::copy(other.path().join("index.closed"), dir.path().join("index.closed"));
        check(&open(dir.path()).unwrap(), &list);
        remove_segments(other.path());
        std::fs::remove_dir_all(other.path().join("index")).unwrap();
    }
}

#[test]
fn an_index_that_lost_entries_of_objects_is_noticed_when_it_was_not_closed() {
    let dir = tempfile::tempdir().unwrap();
    let list = written(dir.path(), &events(5));
    let index = SledIndex::open(&dir.path().join("index")).unwrap();
    index.lose_an_object_for_tests();
    index.close();
    std::fs::remove_file(dir.path().join("index.closed")).unwrap();
    check(&open(dir.path()).unwrap(), &list);
}

#[test]
fn a_journal_that_lost_acknowledged_records_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &events(2));
    let segment = super::super::segment::path_of(dir.path(), Seq(1));
    let whole = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &whole[..700]).unwrap();
    let error = open(dir.path()).err().expect("acknowledged records are missing");
    assert!(matches!(error, LogError::Lost { index: Seq(4), .. }), "{error}");
    assert_eq!(std::fs::read(&segment).unwrap(), whole[..700]);
    remove_segments(dir.path());
    let error = open(dir.path()).err().expect("the whole journal is missing");
    assert!(matches!(error, LogError::Lost { journal: Seq(0), index: Seq(4), .. }), "{error}");
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    check(&open(dir.path()).unwrap(), &[]);
}

#[test]
fn a_broken_chain_is_damage_that_names_its_seq() {
    let dir = tempfile::tempdir().unwrap();
    let list = written(dir.path(), &events(2));
    append_to_journal(dir.path(), &[record(1, Seq(5), list[1].1.hash, 1, b"forged")]);
    let error = open(dir.path()).err().expect("the chain is broken");
    assert!(matches!(&error, LogError::Corrupt { what, .. } if what.contains("seq 5")), "{error}");
}

#[test]
fn a_record_of_a_later_format_is_refused_as_newer() {
    let dir = tempfile::tempdir().unwrap();
    let list = written(dir.path(), &events(2));
    let later = crate::record::RECORD_VERSION + 1;
    append_to_journal(dir.path(), &[record(later, Seq(5), list[3].1.hash, 1, b"from the future")]);
    let error = open(dir.path()).err().expect("the record is newer");
    let newer = |source: &crate::record::RecordError| matches!(source, crate::record::RecordError::Newer { found } if *found == later);
    assert!(matches!(&error, LogError::Record { seq: Seq(5), source } if newer(source)), "{error}");
}

#[test]
fn a_log_that_does_not_begin_at_the_beginning_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &events(30));
    std::fs::remove_file(super::super::segment::path_of(dir.path(), Seq(1))).unwrap();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let error = open(dir.path()).err().expect("the first segment is missing");
    assert!(matches!(&error, LogError::Corrupt { .. }), "{error}");
}

#[test]
fn a_second_open_is_refused_and_leaves_the_index_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let error = open(dir.path()).err().expect("the log is in use");
    assert!(matches!(&error, LogError::InUse { path } if path == dir.path()), "{error}");
    let list = write_checked(&mut log, &events(2));
    check(&log, &list);
}

#[test]
fn a_refusal_of_the_caller_stops_the_open() {
    let dir = tempfile::tempdir().unwrap();
    let list = written(dir.path(), &events(2));
    let refuse = &mut |Checked { seq, .. }: Checked<'_>| {
        if seq == Seq(2) { Err(LogError::Unchained { seq }) } else { Ok(()) }
    };
    let error = DurableLog::open(dir.path(), SMALL, refuse).err().expect("the caller refused");
    assert!(matches!(error, LogError::Unchained { seq: Seq(2) }), "{error}");
    check(&open(dir.path()).unwrap(), &list);
}

#[test]
fn a_log_whose_index_failed_goes_on_and_answers_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let mut list = write_checked(&mut log, &events(3));
    log.reader.let_go(&IndexError("as if sled had panicked".to_owned()));
    let batch = follow(log.head(), &[(2, b"without".to_vec())]);
    log.append(&batch).unwrap();
    list.extend([2].into_iter().zip(batch));
    check(&log, &list);
    drop(log);
    check(&open(dir.path()).unwrap(), &list);
}

#[test]
fn a_reader_that_outlives_its_log_still_reads_and_locks_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let list = write_checked(&mut log, &events(3));
    let reader = log.reader();
    drop(log);
    let _again = open(dir.path()).unwrap();
    check_reader(&*reader, &list);
}

#[test]
fn readers_on_other_threads_see_whole_prefixes_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let readers = [log.reader(), log.reader()];
    std::thread::scope(|scope| {
        for reader in &readers {
            scope.spawn(move || {
                while reader.head() < Seq(100) {
                    let head = reader.head();
                    let mut next = Seq(1);
                    let count = &mut |seq: Seq, bytes: &[u8]| {
                        assert_eq!((seq, Link::read(bytes).unwrap().seq), (next, next));
                        next = next.next();
                        true
                    };
                    reader.scan(Seq(1), count).unwrap();
                    assert!(next > head);
                    assert!(head == Seq(0) || reader.read(head).unwrap().is_some());
                    std::thread::yield_now();
                }
            });
        }
        for events in &events(50) {
            log.append(&follow(log.head(), events)).unwrap();
        }
    });
}
