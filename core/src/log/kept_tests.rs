use super::journal::{Journal, JournalOptions, Sync, verify};
use super::*;

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 2048, ahead_bytes: 256, sync: Sync::EachBatch };

fn record(n: u64) -> Vec<u8> {
    format!("record {n:04} {}", "x".repeat(usize::try_from(n % 50).unwrap())).into_bytes()
}

/// Batches of one to three records.
fn journal(dir: &std::path::Path, count: u64) -> Journal {
    let mut journal = Journal::open(dir, OPTIONS, &mut |_| Ok(())).unwrap();
    while journal.head().0 < count {
        let first = journal.head().next();
        let batch: Vec<Vec<u8>> = (first.0..first.0 + 1 + first.0 % 3).map(record).collect();
        journal.append(first, batch.iter().map(Vec::as_slice)).unwrap();
    }
    journal
}

fn all(reader: &JournalReader) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    reader
        .scan(Seq(1), &mut |seq, bytes| {
            all.push((seq.0, bytes.to_vec()));
            true
        })
        .unwrap();
    all
}

fn read_anew(dir: &std::path::Path) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    verify(dir, &mut |entry| {
        found.push((entry.seq.0, entry.record.to_vec()));
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn records_are_exchanged_where_they_are_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(dir.path(), 300);
    journal.roll().unwrap();
    let head = journal.head().0;
    let reader = journal.reader();
    let segments = reader.whole_segments();
    assert!(segments.len() > 5 && segments.last().unwrap().1.0 == head, "{segments:?}");
    let mut expected = all(&reader);
    for (seq, bytes) in &mut expected {
        if *seq % 7 == 0 {
            *bytes = format!("gone {seq}").into_bytes();
        }
    }
    for (first, _) in segments {
        reader.exchange(first, &mut |seq, _| (seq.0 % 7 == 0).then(|| format!("gone {}", seq.0).into_bytes())).unwrap();
    }
    assert_eq!(all(&reader), expected);
    journal.append(Seq(head + 1), [&b"next"[..]].into_iter()).unwrap();
    expected.push((head + 1, b"next".to_vec()));
    assert_eq!(all(&reader), expected);
    assert_eq!(read_anew(dir.path()), expected);
    for (seq, bytes) in expected {
        assert_eq!(reader.read(Seq(seq)).unwrap().unwrap(), bytes);
    }
}

#[test]
fn an_exchange_that_changes_nothing_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path(), 100);
    let (first, _) = journal.reader().whole_segments()[0];
    assert_eq!(journal.reader().exchange(first, &mut |_, _| None).unwrap(), 0);
    assert!(
        std::fs::read_dir(dir.path()).unwrap().all(|file| file.unwrap().path().extension() != Some("new".as_ref()))
    );
}

#[test]
fn readers_see_the_old_records_or_the_new_ones_while_they_are_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path(), 600);
    let reader = journal.reader();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| (0..200).all(|_| all(&reader).len() as u64 == journal.head().0));
        for round in 0..20u64 {
            for (first, _) in reader.whole_segments() {
                let other =
                    |seq: Seq, _: &[u8]| (seq.0 % 3 == round % 3).then(|| vec![b'a'; 1 + (seq.0 % 90) as usize]);
                reader.exchange(first, &mut { other }).unwrap();
            }
        }
        assert!(reading.join().unwrap());
    });
}

#[test]
fn old_segments_are_dropped_and_the_rest_is_a_log_still() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(dir.path(), 300);
    let (reader, before) = (journal.reader(), all(&journal.reader()));
    let (first, last) = reader.whole_segments()[2];
    assert_eq!(reader.drop_before(Seq(first.0 + 1)).unwrap(), Some(first), "one that holds what is kept stays");
    assert_eq!(reader.drop_before(last).unwrap(), Some(first));
    let kept: Vec<_> = before.into_iter().filter(|(seq, _)| *seq >= first.0).collect();
    assert_eq!(all(&reader), kept);
    assert_eq!(reader.read(Seq(1)).unwrap(), None);
    // The one that is written to stays, whatever is asked.
    let active = reader.drop_before(Seq(u64::MAX)).unwrap().unwrap();
    journal.append(journal.head().next(), [&b"next"[..]].into_iter()).unwrap();
    let head = journal.head();
    drop(journal);
    let journal = Journal::open(dir.path(), OPTIONS, &mut |_| Ok(())).unwrap();
    assert_eq!((journal.reader().first(), journal.head()), (Some(active), head));
}

#[test]
fn rolling_twice_makes_no_empty_segment_and_an_empty_one_opens() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(dir.path(), 3);
    let head = journal.head();
    journal.roll().unwrap();
    journal.roll().unwrap();
    assert_eq!(journal.reader().whole_segments(), [(Seq(1), head)]);
    drop(journal);
    let mut journal = Journal::open(dir.path(), OPTIONS, &mut |_| Ok(())).unwrap();
    journal.append(head.next(), [&b"next"[..]].into_iter()).unwrap();
    assert_eq!(journal.reader().read(head.next()).unwrap().unwrap(), b"next");
}
