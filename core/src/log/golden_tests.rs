//! The segment of the recorded log: bytes that every later release must open.
use std::path::Path;

use super::durable::{DurableLog, OpenOptions};
use super::journal::{JournalOptions, Sync};
use super::{EventLog, segment};
use crate::ids::{Digest, Seq};
use crate::record::StoredRecord;

/// The records of `fixtures/log/v1.hex`.
fn records() -> Vec<StoredRecord> {
    let byte = |line: &str, at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
    let text = include_str!("../../../fixtures/log/v1.hex");
    let bytes = text.lines().map(|line| (0..line.len()).step_by(2).map(|at| byte(line, at)).collect::<Vec<u8>>());
    (1..).zip(bytes).map(|(seq, bytes)| StoredRecord { seq: Seq(seq), hash: Digest::blake3(&bytes), bytes }).collect()
}

/// `MCPCTL_RECORD_LOG=1` writes the fixture: batches of one, two, three, … records.
fn recorded(path: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let journal = JournalOptions { segment_bytes: 1 << 26, ahead_bytes: 0, sync: Sync::EachBatch };
    let mut log =
        DurableLog::open(dir.path(), OpenOptions { journal, ..OpenOptions::default() }, &mut |_| Ok(())).unwrap();
    let (records, mut begin, mut length) = (records(), 0, 1);
    while begin < records.len() {
        let end = (begin + length).min(records.len());
        log.append(&records[begin..end]).unwrap();
        (begin, length) = (end, length + 1);
    }
    std::fs::copy(segment::path_of(dir.path(), Seq(1)), path).unwrap();
}

#[test]
fn the_recorded_segment_of_every_release_still_opens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/log/v1.segment");
    if std::env::var_os("MCPCTL_RECORD_LOG").is_some() {
        recorded(&path);
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(&path, segment::path_of(dir.path(), Seq(1))).expect("the recorded segment");
    let mut found = Vec::new();
    let log = DurableLog::open(dir.path(), OpenOptions::default(), &mut |checked| {
        found.push(checked.bytes.to_vec());
        Ok(())
    });
    let head = log.unwrap().head();
    let records = records();
    assert_eq!(found, records.iter().map(|record| record.bytes.clone()).collect::<Vec<_>>());
    assert_eq!(head, records.last().map(|record| (record.seq, record.hash)).unwrap());
}
