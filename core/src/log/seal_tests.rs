//! What seals promise: a log opened with them is the log, and no changed byte goes unnoticed.
use super::super::EventLog as _;
use super::super::durable::{DurableLog, OpenOptions};
use super::super::laws::{Batches, SMALL, check, write_checked};
use super::*;
use crate::record::StoredRecord;

type List = Vec<(u128, StoredRecord)>;

/// A log of some segments, closed in good order, and its seals.
fn sealed() -> (tempfile::TempDir, List, Vec<Seal>) {
    let dir = tempfile::tempdir().unwrap();
    let batches: Batches = (0..60).map(|n| vec![(u128::from(n % 3), vec![n; 20]), (1, vec![n; 5])]).collect();
    let list = write_checked(&mut DurableLog::open(dir.path(), SMALL, &mut |_| Ok(())).unwrap(), &batches);
    let seals = seal(dir.path(), Vec::new(), &|| true).unwrap();
    assert!(seals.len() > 3, "{} seals", seals.len());
    (dir, list, seals)
}

/// Opens with seals for everything before the end; how many records were looked at.
fn open(dir: &Path, seals: &[Seal]) -> Result<(DurableLog, usize), LogError> {
    let (mut looked_at, options) = (0, OpenOptions { decode_after: Seq(u64::MAX), ..SMALL });
    let log = DurableLog::open_sealed(dir, options, seals, &mut |_| {
        looked_at += 1;
        Ok(())
    })?;
    Ok((log, looked_at))
}

fn path_of_segment(dir: &Path, index: usize) -> std::path::PathBuf {
    path_of(dir, segment::list(dir).unwrap()[index])
}

#[test]
fn a_log_opened_with_seals_is_the_log_and_only_its_end_is_looked_at() {
    let (dir, list, seals) = sealed();
    let (log, looked_at) = open(dir.path(), &seals).unwrap();
    assert_eq!(looked_at as u64, list.len() as u64 - seals.last().unwrap().last.0);
    check(&log, &list);
    drop(log);
    // Fewer seals, and seals that end after what is known from elsewhere: more is looked at.
    let (log, looked_at) = open(dir.path(), &seals[..2]).unwrap();
    assert_eq!(looked_at as u64, list.len() as u64 - seals[1].last.0);
    check(&log, &list);
    drop(log);
    let (mut seen, options) = (Vec::new(), OpenOptions { decode_after: seals[2].last, ..SMALL });
    let each = &mut |checked: super::super::Checked<'_>| {
        seen.push(checked.seq);
        Ok(())
    };
    drop(DurableLog::open_sealed(dir.path(), options, &seals, each).unwrap());
    assert_eq!(seen.first(), Some(&seals[1].last.next()), "the last record that is known is looked at");
}

#[test]
fn a_log_goes_on_after_an_open_with_seals_and_its_new_segments_get_theirs() {
    let (dir, mut list, seals) = sealed();
    let (mut log, _) = open(dir.path(), &seals).unwrap();
    for n in 0..40u8 {
        let batch = super::super::laws::follow(log.head(), &[(2, vec![n; 90])]);
        log.append(&batch).unwrap();
        list.extend(batch.into_iter().map(|record| (2, record)));
    }
    check(&log, &list);
    drop(log);
    let more = seal(dir.path(), seals.clone(), &|| true).unwrap();
    assert!(more.len() > seals.len() && more.starts_with(&seals));
    assert_eq!(more, seal(dir.path(), Vec::new(), &|| true).unwrap(), "the same as all anew");
    assert_eq!(seal(dir.path(), seals.clone(), &|| false).unwrap(), seals, "nothing more when it is to stop");
    let (log, _) = open(dir.path(), &more).unwrap();
    check(&log, &list);
}

#[test]
fn whatever_byte_of_a_sealed_segment_changed_it_is_found_and_named() {
    let (dir, _, seals) = sealed();
    for index in 0..seals.len() {
        let path = path_of_segment(dir.path(), index);
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(397) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            let Err(error) = open(dir.path(), &seals) else { panic!("byte {at} of segment {index} went unnoticed") };
            let LogError::Corrupt { path: named, .. } = &error else { panic!("byte {at} of segment {index}: {error}") };
            assert_eq!(*named, path, "byte {at} of segment {index}: {error}");
            assert!(matches!(seal(dir.path(), Vec::new(), &|| true), Err(LogError::Corrupt { .. })), "it gets no seal");
        }
        std::fs::write(&path, &good).unwrap();
    }
    open(dir.path(), &seals).unwrap();
}

#[test]
fn a_sealed_segment_that_is_short_long_or_gone_is_found() {
    let (dir, list, seals) = sealed();
    let path = path_of_segment(dir.path(), 1);
    let good = std::fs::read(&path).unwrap();
    for length in [0, 40, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(matches!(open(dir.path(), &seals), Err(LogError::Corrupt { .. })), "cut to {length}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(dir.path(), &seals), Err(LogError::Corrupt { .. })), "gone");
    std::fs::write(&path, [&good[..], b"more"].concat()).unwrap();
    assert!(open(dir.path(), &seals).is_err(), "longer");
    std::fs::write(&path, &good).unwrap();
    check(&open(dir.path(), &seals).unwrap().0, &list);
}

#[test]
fn seals_of_another_log_stand_for_nothing() {
    let (dir, list, mut seals) = sealed();
    seals[1].file = Digest::default();
    let (log, looked_at) = open(dir.path(), &seals).unwrap();
    assert_eq!(looked_at as u64, list.len() as u64 - seals[0].last.0, "from the first that does not hold on");
    check(&log, &list);
    drop(log);
    // A chain that is another one does not join what follows.
    let (_, _, mut forged) = sealed();
    forged.last_mut().unwrap().hash = Digest::blake3(b"another");
    assert!(matches!(open(dir.path(), &forged), Err(LogError::Corrupt { .. })));
}

#[test]
fn an_index_that_was_not_closed_in_good_order_is_shown_every_record() {
    let (dir, list, seals) = sealed();
    std::fs::remove_file(dir.path().join("index.closed")).unwrap();
    let (log, looked_at) = open(dir.path(), &seals).unwrap();
    assert_eq!(looked_at, list.len());
    check(&log, &list);
    drop(log);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (log, looked_at) = open(dir.path(), &seals).unwrap();
    assert_eq!(looked_at, list.len());
    check(&log, &list);
}
