//! What an open may believe of whole segments, and when it reads them after all.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcpctl_core::ids::Seq;
use mcpctl_core::log::LogError;
use mcpctl_core::log::journal::{JournalOptions, Sync};
use mcpctl_core::time::Timestamp;
use mcpctl_tlog::LogSigner;

use super::power_tests::erasure;
use super::*;
use crate::plane::AuditEntry;
use crate::server::evidence::Evidence;

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 8 * 1024, ahead_bytes: 1024, sync: Sync::Later };
const KEY: [u8; 32] = [6; 32];

fn open(dir: &Path) -> Result<AuditLog, LogError> {
    // Few positions a shard of the index: an open reads the last one.
    AuditLog::open_sharded(dir, KEY, OPTIONS, 16)
}

fn entry(n: u64) -> AuditEntry {
    let reason = n.is_multiple_of(10).then(|| "for ann@example.com".to_owned());
    AuditEntry {
        kind: "call".to_owned(),
        tool: Some(format!("tool-{n}")),
        reason,
        allowed: true,
        ..AuditEntry::default()
    }
}

/// A log of several segments, sealed, and its folder.
fn sealed() -> (tempfile::TempDir, PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("audit");
    let log = open(&dir).unwrap();
    for n in 0..200 {
        log.append(entry(n)).unwrap();
    }
    log.sync();
    log.seal_for_tests();
    assert!(log.reader().whole_segments().len() > 3);
    (data, dir)
}

fn first_segment(dir: &Path) -> PathBuf {
    dir.join(format!("{:020}.segment", 1))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn entries(log: &AuditLog) -> Vec<String> {
    let mut all = Vec::new();
    log.each(&mut |position, entry| {
        all.push(format!("{position} {:?}", entry.and_then(|entry| entry.tool)));
        true
    })
    .unwrap();
    all
}

#[test]
fn an_open_reads_no_sealed_segment_what_is_damaged_there_is_an_alarm_and_is_never_served() {
    let (data, dir) = sealed();
    let before = entries(&open(&dir).unwrap());
    assert_eq!(before.len(), 200);
    flip(&first_segment(&dir), 4_000);
    let log = Arc::new(open(&dir).expect("it is not read"));
    let mut served = 0;
    let damaged = log.reader().scan(Seq(1), &mut |_, _| {
        served += 1;
        true
    });
    let Err(LogError::Corrupt { path, .. }) = damaged else { panic!("it is served: {served}") };
    assert_eq!(path, first_segment(&dir));
    assert!(log.append(entry(200)).is_ok(), "new entries are taken");
    log.sync();
    let config = LogSigner::read(&LogSigner::generate("example.com/config", &[1; 32]).unwrap()).unwrap();
    let evidence = Evidence::open_audit(data.path(), config.key(), log, None).unwrap();
    assert!(evidence.catch_up(201).is_err());
    assert!(
        evidence.alarm().is_some_and(|alarm| alarm.contains("00001.segment is damaged")) && evidence.newest().is_none()
    );
}

#[test]
fn seals_that_do_not_fit_or_were_not_written_here_stand_for_nothing() {
    let (_data, dir) = sealed();
    flip(&first_segment(&dir), 4_000);
    drop(open(&dir).expect("sealed"));
    let seals = dir.join("segments.seals");
    let good = std::fs::read(&seals).unwrap();
    for at in [0, good.len() / 2, good.len() - 1] {
        flip(&seals, at);
        assert!(matches!(open(&dir), Err(LogError::Corrupt { .. })), "byte {at} of the seals");
        std::fs::write(&seals, &good).unwrap();
    }
    assert!(AuditLog::open_sharded(&dir, [9; 32], OPTIONS, 16).is_err(), "another key's");
    flip(&first_segment(&dir), 4_000);
    // Cut off, and longer: the length is another.
    let whole = std::fs::read(first_segment(&dir)).unwrap();
    for other in [&whole[..whole.len() - 1], &[&whole[..], b"more"].concat()[..]] {
        std::fs::write(first_segment(&dir), other).unwrap();
        assert!(open(&dir).is_err());
    }
    std::fs::remove_file(first_segment(&dir)).unwrap();
    std::fs::write(first_segment(&dir), &whole).unwrap();
    assert_eq!(entries(&open(&dir).unwrap()).len(), 200);
}

#[test]
fn what_was_erased_or_dropped_is_sealed_anew() {
    let (_data, dir) = sealed();
    let log = open(&dir).unwrap();
    assert_eq!(log.erase(&erasure()).unwrap().entries, 20);
    let erased = entries(&log);
    drop(log);
    let log = open(&dir).unwrap();
    assert_eq!(entries(&log), erased);
    log.seal_for_tests();
    let kept = log.reader().whole_segments()[2].0;
    log.drop_before(kept, Timestamp::from_millis(1), Timestamp::from_millis(2)).unwrap();
    let left = entries(&log);
    assert!(left.len() < erased.len());
    drop(log);
    // The first segments are gone: seals of those that are left still fit.
    flip(&dir.join(format!("{:020}.segment", kept.0)), 3_000);
    drop(open(&dir).expect("sealed"));
    flip(&dir.join(format!("{:020}.segment", kept.0)), 3_000);
    assert_eq!(entries(&open(&dir).unwrap()), left);
}
