//! What every engine of the log promises, against a list that anybody can check by eye.
use proptest::prelude::*;

use super::disk::RealDisk;
use super::durable::{DurableLog, OpenOptions};
use super::journal::{JournalOptions, Sync};
use super::memory::MemoryLog;
use super::{EventLog, LogError, LogReader, read_record};
use crate::actor::Actor;
use crate::ids::{Digest, Seq, Uid};
use crate::kinds::Kind;
use crate::name::{Name, NameRule};
use crate::record::{Authz, AuthzMode, Header, RECORD_VERSION, Record, StoredRecord};
use crate::time::Timestamp;

/// Segments so small that a few records fill one.
pub(super) const SMALL: OpenOptions = OpenOptions {
    journal: JournalOptions { segment_bytes: 4096, ahead_bytes: 1024, sync: Sync::EachBatch },
    decode_after: Seq(0),
    disk: &RealDisk,
};

/// Objects and payloads, in batches.
pub(super) type Batches = Vec<Vec<(u128, Vec<u8>)>>;

pub(super) fn batches() -> impl Strategy<Value = Batches> {
    let event = (0u128..4, prop::collection::vec(any::<u8>(), 0..200));
    prop::collection::vec(prop::collection::vec(event, 1..5), 1..8)
}

pub(super) fn record(v: u16, seq: Seq, prev: Digest, object: u128, payload: &[u8]) -> StoredRecord {
    let header = Header {
        v,
        seq,
        id: uuid::Uuid::nil(),
        at: Timestamp::from_millis(seq.0),
        kind: Kind::User,
        event: "applied".to_owned(),
        version: 1,
        object: Uid::fixed(object),
        name: Name::parse(NameRule::Label, "somebody").unwrap(),
        project: None,
        actor: Actor::system("test"),
        on_behalf_of: None,
        reason: None,
        request: None,
        audit: None,
        authz: Authz { at: Seq(seq.0 - 1), mode: AuthzMode::System, via: Vec::new() },
        prev,
    };
    Record { header, payload: payload.to_vec() }.store().unwrap()
}

/// Chained records that follow a head.
pub(super) fn follow(head: (Seq, Digest), events: &[(u128, Vec<u8>)]) -> Vec<StoredRecord> {
    let (mut seq, mut prev) = head;
    let mut batch = Vec::new();
    for (object, payload) in events {
        seq = seq.next();
        let stored = record(RECORD_VERSION, seq, prev, *object, payload);
        prev = stored.hash;
        batch.push(stored);
    }
    batch
}

/// Appends all batches, checking the log against the list of records after each.
pub(super) fn write_checked(log: &mut dyn EventLog, batches: &Batches) -> Vec<(u128, StoredRecord)> {
    let mut list: Vec<(u128, StoredRecord)> = Vec::new();
    for events in batches {
        let batch = follow(log.head(), events);
        log.append(&batch).unwrap();
        list.extend(events.iter().map(|(object, _)| *object).zip(batch));
        check(log, &list);
    }
    list
}

/// The log holds exactly this list.
pub(super) fn check(log: &dyn EventLog, list: &[(u128, StoredRecord)]) {
    let last = list.last().map_or((Seq(0), Digest::default()), |(_, record)| (record.seq, record.hash));
    assert_eq!(log.head(), last);
    check_reader(&*log.reader(), list);
}

pub(super) fn check_reader(reader: &dyn LogReader, list: &[(u128, StoredRecord)]) {
    assert_eq!(reader.head(), Seq(list.len() as u64));
    for (_, record) in list {
        assert_eq!(reader.read(record.seq).unwrap().as_ref(), Some(&record.bytes));
        assert_eq!(read_record(reader, record.seq).unwrap().unwrap().header.seq, record.seq);
    }
    for none in [Seq(0), reader.head().next(), Seq(u64::MAX)] {
        assert_eq!(reader.read(none).unwrap(), None);
    }
    for from in 0..list.len() + 2 {
        let mut seen = Vec::new();
        let collect = &mut |seq: Seq, bytes: &[u8]| {
            seen.push((seq, bytes.to_vec()));
            true
        };
        reader.scan(Seq(from as u64), collect).unwrap();
        let expected = list.iter().skip(from.saturating_sub(1)).map(|(_, record)| (record.seq, record.bytes.clone()));
        assert!(seen.into_iter().eq(expected), "scan from {from}");
    }
    let mut calls = 0;
    let once = &mut |_: Seq, _: &[u8]| {
        calls += 1;
        false
    };
    reader.scan(Seq(1), once).unwrap();
    assert_eq!(calls, list.len().min(1));
    for object in 0..5 {
        let expected: Vec<_> = list.iter().filter(|(of, _)| *of == object).map(|(_, record)| record.seq).collect();
        assert_eq!(reader.of_object(Uid::fixed(object)).unwrap(), expected);
    }
}

fn both(test: &dyn Fn(&mut dyn EventLog)) {
    test(&mut MemoryLog::default());
    let dir = tempfile::tempdir().unwrap();
    test(&mut DurableLog::open(dir.path(), SMALL, &mut |_| Ok(())).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_engine_holds_exactly_what_was_appended(batches in batches()) {
        both(&|log| {
            let list = write_checked(log, &batches);
            log.append(&[]).unwrap();
            check(log, &list);
        });
    }
}

#[test]
fn an_empty_log_answers_and_has_nothing() {
    both(&|log| check(log, &[]));
}

#[test]
fn every_engine_refuses_what_does_not_follow_and_goes_on() {
    both(&|log| {
        let events: &[(u128, Vec<u8>)] = &[(1, b"a".to_vec()), (2, b"b".to_vec())];
        let mut list = write_checked(log, &vec![events.to_vec()]);
        let (seq, hash) = log.head();
        for wrong in [Seq(1), seq, Seq(seq.0 + 2)] {
            let error = log.append(&[record(1, wrong, hash, 1, b"x")]).unwrap_err();
            assert!(matches!(error, LogError::OutOfOrder { expected: Seq(3), found } if found == wrong), "{error}");
        }
        let gap = [record(1, seq.next(), hash, 1, b"x"), record(1, Seq(seq.0 + 3), hash, 1, b"x")];
        assert!(matches!(log.append(&gap), Err(LogError::OutOfOrder { .. })));
        let forged = record(1, seq.next(), Digest::blake3(b"other"), 1, b"x");
        assert!(matches!(log.append(&[forged]), Err(LogError::Unchained { seq: Seq(3) })));
        let misnamed = StoredRecord { seq: seq.next(), ..record(1, Seq(9), hash, 1, b"x") };
        assert!(matches!(log.append(&[misnamed]), Err(LogError::Unchained { seq: Seq(3) })));
        let mishashed = StoredRecord { hash: Digest::default(), ..record(1, seq.next(), hash, 1, b"x") };
        assert!(matches!(log.append(&[mishashed]), Err(LogError::Unchained { seq: Seq(3) })));
        let garbage = StoredRecord { seq: seq.next(), bytes: b"garbage".to_vec(), hash: Digest::blake3(b"garbage") };
        assert!(matches!(log.append(&[garbage]), Err(LogError::Record { seq: Seq(3), .. })));
        check(log, &list);
        let good = follow(log.head(), &[(2, b"c".to_vec())]);
        log.append(&good).unwrap();
        list.extend(good.into_iter().map(|record| (2, record)));
        check(log, &list);
    });
}
