//! What the sealed store promises when the disk fails at any call, and when the power is cut at any moment: a value that was
//! kept opens, one that was shredded does not, and a rotation of the key loses nothing.
use std::collections::{BTreeMap, BTreeSet};

use super::super::key_rotation::{rotate, rotate_on};
use super::*;
use crate::server::power::{CUTS, Dice, DiskModel, EIO, ENOSPC, Keeps};

/// What whoever used the store was told.
#[derive(Default)]
struct Told {
    kept: BTreeMap<Digest, Vec<u8>>,
    shredded: BTreeSet<Digest>,
}

impl Told {
    fn seal(&mut self, store: &SealedStore, value: u8, tries: u32) -> Result<Digest, SealError> {
        let value = vec![value; 40];
        let commitment = again(tries, || store.seal(Purpose::Secret, &value))?;
        self.kept.insert(commitment, value);
        Ok(commitment)
    }
}

/// Does something until the disk lets it, so many times.
fn again<T>(tries: u32, mut what: impl FnMut() -> Result<T, SealError>) -> Result<T, SealError> {
    let mut done = what();
    for _ in 1..tries {
        match &done {
            Ok(_) => break,
            Err(SealError::Io { .. }) => done = what(),
            Err(_) => break,
        }
    }
    done
}

/// Everything that a store does, as far as the disk lets it.
fn live(disk: &'static DiskModel, data: &Path, told: &mut Told, tries: u32) -> Result<(), SealError> {
    let store = again(tries, || SealedStore::open_on(data, disk))?;
    let first = told.seal(&store, 1, tries)?;
    (2..5).try_for_each(|value| told.seal(&store, value, tries).map(drop))?;
    // From here on nobody counts on it.
    told.kept.remove(&first);
    again(tries, || store.shred(&first))?;
    told.shredded.insert(first);
    again(tries, || rotate_on(data, disk).map(drop))?;
    let store = again(tries, || SealedStore::open_on(data, disk))?;
    told.seal(&store, 5, tries).map(drop)
}

/// What is left opens, has all that was kept, nothing of what was shredded, and goes on.
fn holds(data: &Path, told: &Told, about: &str) {
    let all_there = |when: &str| {
        let store = SealedStore::open(data).unwrap_or_else(|error| panic!("{about}, {when}: {error}"));
        store.shred_all_but(&told.kept.keys().copied().collect()).unwrap();
        for (commitment, value) in &told.kept {
            let opened = store.unseal(Purpose::Secret, commitment);
            assert_eq!(&**opened.unwrap_or_else(|error| panic!("{about}, {when}: {error}")), value, "{about}, {when}");
        }
        for commitment in &told.shredded {
            assert!(store.unseal(Purpose::Secret, commitment).is_err(), "{about}, {when}: it came back");
        }
        let left = fs::read_dir(data.join("sealed")).unwrap().count();
        assert_eq!(left, told.kept.len(), "{about}, {when}: nothing else is left");
    };
    all_there("opened");
    rotate(data).unwrap_or_else(|error| panic!("{about}: {error}"));
    all_there("after another rotation");
}

#[test]
fn a_power_cut_at_any_call_loses_no_value_and_brings_none_back() {
    let (disk, data) = (DiskModel::leaked(), tempfile::tempdir().unwrap());
    live(disk, data.path(), &mut Told::default(), 1).unwrap();
    let calls = disk.calls();
    assert!(calls > 50, "{calls} calls");
    let mut cuts = 0;
    for call in 0..=calls {
        let (disk, data, mut told) = (DiskModel::leaked(), tempfile::tempdir().unwrap(), Told::default());
        // From that call on nothing reaches the disk any more.
        disk.fail(call, u64::MAX, EIO);
        let done = live(disk, data.path(), &mut told, 1);
        assert_eq!(done.is_ok(), call == calls);
        for keeps in CUTS {
            let left = tempfile::tempdir().unwrap();
            disk.cut(data.path(), left.path(), keeps, &mut Dice(call));
            holds(left.path(), &told, &format!("cut at call {call}, {keeps:?}"));
            cuts += 1;
        }
    }
    assert!(cuts >= 200, "{cuts} cuts");
}

#[test]
fn a_disk_that_fails_at_any_call_and_works_again_loses_no_value() {
    let (disk, data) = (DiskModel::leaked(), tempfile::tempdir().unwrap());
    live(disk, data.path(), &mut Told::default(), 1).unwrap();
    for call in 0..disk.calls() {
        for (os_error, count) in [(EIO, 1), (ENOSPC, 1), (if call % 2 == 0 { EIO } else { ENOSPC }, 5)] {
            let (disk, data, mut told) = (DiskModel::leaked(), tempfile::tempdir().unwrap(), Told::default());
            disk.fail(call, count, os_error);
            let about = format!("error {os_error} of {count} calls from {call} on");
            live(disk, data.path(), &mut told, 20).unwrap_or_else(|error| panic!("{about}: {error}"));
            disk.works_again();
            assert_eq!((told.kept.len(), told.shredded.len()), (4, 1));
            let left = tempfile::tempdir().unwrap();
            disk.cut(data.path(), left.path(), Keeps::Nothing, &mut Dice(call));
            holds(left.path(), &told, &about);
            holds(data.path(), &told, &about);
        }
    }
}
