//! What the evidence promises: proofs that others' code accepts, nothing altered unnoticed, everything derived made again.
use std::path::PathBuf;

use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::Kind;
use mcpctl_core::log::EventLog;
use mcpctl_core::log::durable::{DurableLog, OpenOptions};
use mcpctl_core::record::Record;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use mcpctl_tlog::{bundle, consistency, proof_file, record_hash};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::server::snapshot::{Snapshots, this_program};
use crate::server::start::past::Past;

/// A data folder with a log, and the past that it holds.
pub(crate) struct House {
    data: TempDir,
    past: Past,
    log: Option<DurableLog>,
}

impl House {
    pub(crate) fn with(events: u64) -> Self {
        let data = tempfile::tempdir().unwrap();
        let log = DurableLog::open(&data.path().join("log"), OpenOptions::default(), &mut |_| Ok(())).unwrap();
        let mut house = Self { data, past: Past::default(), log: Some(log) };
        house.append(events);
        house
    }

    /// Other events than those of [`House::with`].
    pub(crate) fn forged(events: u64) -> Self {
        let mut house = Self::with(0);
        let first = house.past.apply(Kind::Server, json!({"name": "forged", "command": ["npx"]}));
        house.log.as_mut().unwrap().append(&first).unwrap();
        house.append(events - 1);
        house
    }

    pub(super) fn reopen(&mut self) {
        self.log = Some(DurableLog::open(&self.path().join("log"), OpenOptions::default(), &mut |_| Ok(())).unwrap());
    }

    pub(crate) fn append(&mut self, events: u64) {
        let mut batch = Vec::new();
        for _ in 0..events {
            let event = self.past.state.seq().0;
            let fields =
                json!({"name": format!("server-{}", event % 7), "description": format!("{event}"), "command": ["npx"]});
            batch.extend(self.past.apply(Kind::Server, fields));
        }
        self.log.as_mut().unwrap().append(&batch).unwrap();
    }

    pub(super) fn apply(&mut self, kind: Kind, fields: serde_json::Value) {
        let batch = self.past.apply(kind, fields);
        self.log.as_mut().unwrap().append(&batch).unwrap();
    }

    pub(super) const fn state(&self) -> &State {
        &self.past.state
    }

    pub(super) fn reader(&self) -> Arc<dyn LogReader> {
        self.log.as_ref().unwrap().reader()
    }

    pub(super) fn state_evidence(&self) -> Evidence {
        let config = key::open(&self.path(), LogName::Config, None).unwrap();
        let published = Published::new(self.past.state.clone());
        Evidence::open_state(&self.path(), config.key(), self.reader(), published).unwrap()
    }

    /// The state log, level with the log of events, and on disk.
    pub(super) fn level_state(&self) -> Evidence {
        let evidence = self.state_evidence();
        evidence.catch_up(self.past.state.seq().0).unwrap();
        evidence.keep().unwrap();
        evidence
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.data.path().to_owned()
    }

    fn evidence(&self) -> Result<Evidence, EvidenceError> {
        Evidence::open(&self.path(), None, self.log.as_ref().unwrap().reader())
    }

    /// The evidence, level with the log, and on disk.
    pub(crate) fn level(&self) -> Evidence {
        let evidence = self.evidence().unwrap();
        evidence.catch_up(self.past.state.seq().0).unwrap();
        evidence.keep().unwrap();
        evidence
    }

    fn reopened(&self) -> Evidence {
        let log = DurableLog::open(&self.path().join("log"), OpenOptions::default(), &mut |_| Ok(())).unwrap();
        let evidence = Evidence::open(&self.path(), None, log.reader()).unwrap();
        evidence.catch_up(self.past.state.seq().0).unwrap();
        evidence
    }

    pub(crate) fn close(&mut self) {
        self.log = None;
    }

    fn tile(&self, path: &str) -> PathBuf {
        self.path().join("tlog/config").join(path)
    }
}

#[test]
fn every_event_is_proved_and_another_is_not() {
    let house = House::with(600);
    let evidence = house.level();
    for seq in [1, 2, 255, 256, 257, 512, 600] {
        let (event, proof) = evidence.prove(Seq(seq)).unwrap().unwrap();
        let archive = proof_file::write(&event, "{}", &proof, evidence.key(), proof_file::Beside::Nothing);
        let shown = proof_file::verify(&archive, Some(evidence.key())).unwrap();
        assert_eq!((shown.seq, shown.checkpoint.size), (seq, 600));
        let (other, _) = evidence.prove(Seq(seq % 600 + 1)).unwrap().unwrap();
        assert!(proof.verify(&other, evidence.key()).is_err());
    }
    assert!(evidence.prove(Seq(0)).unwrap().is_none() && evidence.prove(Seq(601)).unwrap().is_none());
}

#[test]
fn entries_and_tiles_are_those_of_the_journal_at_every_size() {
    let mut house = House::with(300);
    let evidence = house.level();
    for more in [0, 1, 211, 5] {
        house.append(more.max(1));
        let head = house.past.state.seq();
        evidence.catch_up(head.0).unwrap();
        let (full, part) = (head.0 / 256, head.0 % 256);
        let mut tree = Tree::default();
        for (n, width) in (0..full).map(|n| (n, 256)).chain((part > 0).then_some((full, part))) {
            let entries = evidence.resource(Resource::Entries { n, width }).unwrap().unwrap();
            bundle::entries(&entries).unwrap().iter().for_each(|entry| drop(tree.push(record_hash(entry))));
        }
        let signed = evidence.newest().unwrap();
        assert_eq!((signed.checkpoint.size, signed.checkpoint.root), (head.0, tree.root()));
        assert_eq!(evidence.key().open(&signed.note).unwrap(), signed.checkpoint);
        assert!(evidence.resource(Resource::Entries { n: full, width: part + 1 }).unwrap().is_none());
    }
}

#[test]
fn a_log_goes_on_from_every_checkpoint_that_was_given() {
    let mut house = House::with(10);
    let evidence = house.level();
    let mut given = vec![evidence.newest().unwrap().checkpoint.clone()];
    for _ in 0..6 {
        house.append(97);
        evidence.catch_up(house.past.state.seq().0).unwrap();
        given.push(evidence.newest().unwrap().checkpoint.clone());
    }
    for before in &given {
        let (proof, now) = evidence.prove_prefix(before.size).unwrap().unwrap();
        consistency::check(before, &now.checkpoint, &proof).unwrap();
    }
}

#[test]
fn a_key_is_for_its_owner_only_and_keeps_its_origin() {
    use std::os::unix::fs::PermissionsExt as _;
    let house = House::with(1);
    let key = house.level().key().clone();
    assert_eq!(house.evidence().unwrap().key(), &key, "the second start has the same key");
    let file = house.path().join("log.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let reader = house.log.as_ref().unwrap().reader();
    let other = Evidence::open(&house.path(), Some("example.com/config"), reader).err().unwrap();
    assert!(matches!(other, EvidenceError::Key(KeyError::OtherOrigin { .. })), "{other}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(house.evidence(), Err(EvidenceError::Key(KeyError::Exposed { mode: 0o640, .. }))));
}

/// Whatever is derived and damaged is named, made again, and never served.
#[test]
fn a_tile_that_is_damaged_or_missing_is_named_made_again_and_never_served() {
    let mut house = House::with(600);
    let evidence = house.level();
    let path = house.tile("tile/0/001");
    let good = std::fs::read(&path).unwrap();
    for index in (0..good.len()).step_by(1_021) {
        let mut bad = good.clone();
        bad[index] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let served = evidence.resource(Resource::Tile { level: 0, n: 1, width: 256 }).unwrap().unwrap();
        assert_eq!(served, good, "byte {index}");
        assert_eq!(std::fs::read(&path).unwrap(), good, "made again");
    }
    std::fs::write(&path, b"short").unwrap();
    assert!(evidence.prove(Seq(300)).unwrap().is_some());
    std::fs::remove_file(&path).unwrap();
    house.close();
    assert_eq!(verify(&house.path(), LogName::Config, false).unwrap().repairable, ["tile/0/001"]);
    assert_eq!(repair(&house.path(), LogName::Config).unwrap().repaired, ["tile/0/001"]);
    assert_eq!(verify(&house.path(), LogName::Config, true).unwrap().repairable, [] as [String; 0]);
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn a_log_that_is_shorter_than_what_was_signed_is_refused() {
    let mut long = House::with(30);
    long.level();
    long.close();
    let mut short = House::with(20);
    short.close();
    std::fs::remove_dir_all(long.path().join("log")).unwrap();
    std::fs::rename(short.path().join("log"), long.path().join("log")).unwrap();
    assert!(matches!(
        verify(&long.path(), LogName::Config, false),
        Err(OfflineError::Evidence(EvidenceError::Shorter { now: 20, signed: 30, .. }))
    ));
    let log = DurableLog::open(&long.path().join("log"), OpenOptions::default(), &mut |_| Ok(())).unwrap();
    assert!(matches!(Evidence::open(&long.path(), None, log.reader()), Err(EvidenceError::Shorter { .. })));
}

/// The chain of hashes can be made again by whoever changes a record; what was signed can't.
#[test]
fn a_log_that_was_chained_again_is_noticed_and_not_signed() {
    let mut house = House::with(30);
    house.level();
    house.close();
    let mut other = House::forged(40);
    other.close();
    std::fs::remove_dir_all(house.path().join("log")).unwrap();
    std::fs::rename(other.path().join("log"), house.path().join("log")).unwrap();
    assert!(matches!(
        verify(&house.path(), LogName::Config, false),
        Err(OfflineError::Evidence(EvidenceError::Altered { signed: 30 }))
    ));
    let out = tempfile::tempdir().unwrap();
    assert!(export(&house.path(), LogName::Config, out.path()).is_err());
    let log = DurableLog::open(&house.path().join("log"), OpenOptions::default(), &mut |_| Ok(())).unwrap();
    let evidence = Evidence::open(&house.path(), None, log.reader()).unwrap();
    assert!(matches!(evidence.catch_up(40), Err(EvidenceError::Altered { signed: 30 })));
    assert!(evidence.alarm().is_some() && evidence.newest().is_none());
    evidence.catch_up(40).unwrap();
    assert!(evidence.newest().is_none(), "nothing is signed after the alarm");
}

#[test]
fn a_snapshot_that_says_otherwise_than_the_events_is_found_by_a_deep_look() {
    let mut house = House::with(40);
    house.level();
    house.close();
    // Whoever has the key file can make one: the deep look folds, and compares.
    let key = crate::server::effects::sealed_store::SealedStore::open(&house.path()).unwrap();
    let snapshots =
        Snapshots::new(house.path().join("snapshot"), key.derive(crate::server::snapshot::KEY), this_program());
    let first = house.reopened().prove(Seq(1)).unwrap().unwrap().0;
    let mut elsewhere = Past::default();
    let forged = elsewhere.apply(Kind::Server, json!({"name": "forged", "command": ["npx"]}));
    let mut state = State::default();
    state.fold(&Record::load(&forged[0].bytes).unwrap(), Digest::blake3(&first)).unwrap();
    snapshots.write(&state).unwrap();
    assert_eq!(verify(&house.path(), LogName::Config, false).unwrap().repairable, [] as [String; 0]);
    assert_eq!(verify(&house.path(), LogName::Config, true).unwrap().repairable, ["snapshot at 1"]);
    assert_eq!(repair(&house.path(), LogName::Config).unwrap().repaired, ["snapshot at 1"]);
    assert_eq!(verify(&house.path(), LogName::Config, true).unwrap().repairable, [] as [String; 0]);
}

/// An export is a log by itself: from its files alone, everything can be checked.
#[test]
fn an_export_is_whole_and_verifies_from_its_files_alone() {
    let mut house = House::with(700);
    house.level();
    house.close();
    let out = tempfile::tempdir().unwrap();
    let exported = export(&house.path(), LogName::Config, out.path()).unwrap();
    let key = LogKey::read(&std::fs::read_to_string(out.path().join("log.vkey")).unwrap()).unwrap();
    let checkpoint = key.open(&std::fs::read(out.path().join("checkpoint")).unwrap()).unwrap();
    assert_eq!((exported.size, checkpoint.size), (700, 700));
    let mut tree = Tree::default();
    for path in ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/188"] {
        let bundle = std::fs::read(out.path().join(path)).unwrap();
        bundle::entries(&bundle).unwrap().iter().for_each(|entry| drop(tree.push(record_hash(entry))));
    }
    assert_eq!(tree.root(), checkpoint.root);
    for path in ["tile/0/000", "tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2"] {
        assert!(out.path().join(path).is_file(), "{path}");
    }
}
