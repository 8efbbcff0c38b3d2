//! The audit log's tree: every entry proved, nothing taken away unnoticed, and erasing and dropping break no proof.
use std::path::{Path, PathBuf};

use mcpctl_core::ids::Digest;
use mcpctl_core::log::journal::{self, Journal, JournalOptions, Sync};
use mcpctl_core::time::Timestamp;
use mcpctl_tlog::{consistency, record_hash};
use tempfile::TempDir;

use super::*;
use crate::plane::AuditEntry;
use crate::server::audit::{AuditLog, AuditRecord};

const SMALL: JournalOptions = JournalOptions { segment_bytes: 64 * 1024, ahead_bytes: 4096, sync: Sync::Later };

/// A data folder with an audit log.
pub(super) struct AuditHouse {
    data: TempDir,
    audit: Option<Arc<AuditLog>>,
}

impl AuditHouse {
    pub(super) fn with(entries: u64) -> Self {
        let house = Self { data: tempfile::tempdir().unwrap(), audit: None }.reopened();
        house.append(entries);
        house
    }

    pub(super) fn path(&self) -> PathBuf {
        self.data.path().to_owned()
    }

    pub(super) fn close(&mut self) {
        self.audit = None;
    }

    pub(super) fn reopened(mut self) -> Self {
        self.close();
        self.audit = Some(Arc::new(AuditLog::open_with(&self.folder(), [7; 32], SMALL).unwrap()));
        self
    }

    fn folder(&self) -> PathBuf {
        self.path().join("audit")
    }

    fn audit(&self) -> &Arc<AuditLog> {
        self.audit.as_ref().unwrap()
    }

    pub(super) fn append(&self, entries: u64) {
        for n in 0..entries {
            let entry = AuditEntry {
                at: Timestamp::from_millis(1_000 + n),
                kind: "call".to_owned(),
                tool: Some(format!("tool-{n}")),
                outcome: "ok".to_owned(),
                arguments: Some(Digest::blake3(b"{}")),
                ..AuditEntry::default()
            };
            self.audit().append(entry).unwrap();
        }
        self.audit().sync();
    }

    /// An entry as it is stored.
    pub(super) fn record(&self, position: u64) -> Vec<u8> {
        self.audit().reader().read(Seq(position)).unwrap().unwrap()
    }

    fn evidence(&self) -> Result<Evidence, EvidenceError> {
        let config = key::open(&self.path(), LogName::Config, None)?;
        Evidence::open_audit(&self.path(), config.key(), self.audit().clone(), None)
    }

    /// The evidence, level with the log, and on disk.
    pub(super) fn level(&self) -> Evidence {
        let evidence = self.evidence().unwrap();
        evidence.catch_up(self.audit().figures().durable.0).unwrap();
        evidence.keep().unwrap();
        evidence
    }

    /// Puts other records in place of those that are there, as whoever holds the disk could.
    pub(super) fn rewrite(&mut self, each: impl Fn(u64, &[u8]) -> Vec<u8>) {
        self.close();
        let mut records = Vec::new();
        journal::verify(&self.folder(), &mut |entry| {
            records.push(each(entry.seq.0, entry.record));
            Ok(())
        })
        .unwrap();
        std::fs::remove_dir_all(self.folder()).unwrap();
        let mut journal = Journal::open(&self.folder(), SMALL, &mut |_| Ok(())).unwrap();
        for (seq, record) in (1..).map(Seq).zip(&records) {
            journal.append(seq, [&record[..]].into_iter()).unwrap();
        }
        journal.syncer().sync().unwrap();
        drop(journal);
        self.audit = Some(Arc::new(AuditLog::open_with(&self.folder(), [7; 32], SMALL).unwrap()));
    }

    /// Drops whole segments up to a position, as retention does. Answers the first position that is kept.
    fn drop_up_to(&mut self, position: u64) -> u64 {
        self.close();
        let mut firsts: Vec<(u64, PathBuf)> = std::fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "segment"))
            .map(|path| (path.file_stem().unwrap().to_str().unwrap().parse().unwrap(), path))
            .collect();
        firsts.sort();
        for pair in firsts.windows(2) {
            if pair[1].0 <= position + 1 {
                std::fs::remove_file(&pair[0].1).unwrap();
            }
        }
        self.audit = Some(Arc::new(AuditLog::open_with(&self.folder(), [7; 32], SMALL).unwrap()));
        self.audit().reader().first().unwrap().0
    }
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()))
        }
    }
    found.sort();
    found
}

fn exported(house: &mut AuditHouse) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    house.close();
    export(&house.path(), LogName::Audit, to.path()).unwrap();
    house.audit = Some(Arc::new(AuditLog::open_with(&house.folder(), [7; 32], SMALL).unwrap()));
    to
}

#[test]
fn every_audit_entry_is_proved_by_its_header_and_another_is_not() {
    let house = AuditHouse::with(300);
    let evidence = house.level();
    assert!(evidence.key().origin().ends_with("/audit"), "{}", evidence.key().origin());
    for position in [1, 256, 257, 300] {
        let (leaf, proof) = evidence.prove(Seq(position)).unwrap().unwrap();
        let text = String::from_utf8(leaf.clone()).unwrap();
        assert!(text.contains(r#""kind":"call""#) && !text.contains("tool-"), "{text}");
        assert_eq!(proof.verify(&leaf, evidence.key()).unwrap().size, 300);
        let (other, _) = evidence.prove(Seq(position % 300 + 1)).unwrap().unwrap();
        assert!(proof.verify(&other, evidence.key()).is_err());
    }
    let verified = verify_closed(house);
    assert_eq!((verified.records, verified.checkpoint, verified.erased, verified.dropped), (300, Some(300), 0, 0));
    assert_eq!(verified.repairable, [] as [String; 0]);
}

fn verify_closed(mut house: AuditHouse) -> Verified {
    house.close();
    verify(&house.path(), LogName::Audit, true).unwrap()
}

#[test]
fn a_checkpoint_stands_for_nothing_that_a_power_cut_could_take_away() {
    let house = AuditHouse::with(20);
    let evidence = house.evidence().unwrap();
    assert_eq!(evidence.source.head(), house.audit().figures().durable.0);
    evidence.catch_up(1_000).unwrap();
    assert_eq!(evidence.newest().unwrap().checkpoint.size, house.audit().figures().durable.0);
}

#[test]
fn erasing_details_changes_no_byte_of_the_tree_and_breaks_no_proof() {
    let mut house = AuditHouse::with(300);
    let evidence = house.level();
    let (leaf, proof) = evidence.prove(Seq(42)).unwrap().unwrap();
    let key = evidence.key().clone();
    drop(evidence);
    let before = exported(&mut house);
    house.rewrite(
        |position, bytes| {
            if position % 3 == 0 { AuditRecord::read(bytes).unwrap().erased() } else { bytes.to_vec() }
        },
    );
    let evidence = house.level();
    assert!(evidence.alarm().is_none());
    proof.verify(&leaf, &key).unwrap();
    let (again, now) = evidence.prove(Seq(42)).unwrap().unwrap();
    assert_eq!(again, leaf, "an erased call is still proved");
    now.verify(&again, &key).unwrap();
    drop(evidence);
    let after = exported(&mut house);
    let strip = |to: &TempDir| -> Vec<_> {
        files(to.path())
            .into_iter()
            .map(|(path, bytes)| (path.strip_prefix(to.path()).unwrap().to_owned(), bytes))
            .collect()
    };
    assert!(strip(&before) == strip(&after), "whoever has the export sees no difference");
    assert_eq!(verify_closed(house).erased, 100);
}

#[test]
fn dropped_entries_live_on_as_hashes_and_the_log_goes_on() {
    let mut house = AuditHouse::with(2_000);
    let evidence = house.level();
    let before = evidence.newest().unwrap().checkpoint.clone();
    let safe = evidence.settle().unwrap();
    assert_eq!(safe, 1_792, "whole tiles only");
    drop(evidence);
    let first = house.drop_up_to(safe);
    assert!(first > 256 && first <= safe + 1, "{first}");
    house.append(500);
    let evidence = house.level();
    assert!(evidence.alarm().is_none());
    let (proof, now) = evidence.prove_prefix(before.size).unwrap().unwrap();
    consistency::check(&before, &now.checkpoint, &proof).unwrap();
    assert_eq!(now.checkpoint.size, 2_500);
    let (leaf, proof) = evidence.prove(Seq(first)).unwrap().unwrap();
    proof.verify(&leaf, evidence.key()).unwrap();
    assert!(matches!(evidence.prove(Seq(first - 1)), Err(EvidenceError::Gone { .. })));
    assert!(matches!(evidence.resource(Resource::Entries { n: 0, width: 256 }), Err(EvidenceError::Gone { .. })));
    assert_eq!(evidence.resource(Resource::Tile { level: 0, n: 0, width: 256 }).unwrap().unwrap().len(), 256 * 32);
    drop(evidence);
    let out = exported(&mut house);
    assert!(out.path().join("tile/0/000").is_file() && !out.path().join("tile/entries/000").exists());
    assert!(out.path().join("tile/entries/008").is_file());
    assert_eq!(verify_closed(house).dropped, first - 1);
}

#[test]
fn a_damaged_tile_of_dropped_entries_is_an_alarm_and_no_checkpoint() {
    let mut house = AuditHouse::with(2_000);
    let evidence = house.level();
    let safe = evidence.settle().unwrap();
    drop(evidence);
    house.drop_up_to(safe);
    let tile = house.path().join("tlog/audit/tile/0/000");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[77] ^= 1;
    std::fs::write(&tile, &bytes).unwrap();
    let evidence = house.evidence().unwrap();
    assert!(matches!(evidence.catch_up(2_000), Err(EvidenceError::Altered { signed: 2_000 })));
    assert!(evidence.alarm().is_some() && evidence.newest().is_none());
    std::fs::remove_file(&tile).unwrap();
    let evidence = house.evidence().unwrap();
    assert!(matches!(evidence.catch_up(2_000), Err(EvidenceError::LostTile { n: 0 })));
    assert!(evidence.alarm().is_some() && evidence.newest().is_none());
}

#[test]
fn audit_entries_that_were_changed_or_taken_away_are_noticed_and_not_signed() {
    let mut house = AuditHouse::with(300);
    drop(house.level());
    // The details of one entry, with a checksum that fits: the leaf is the same, and the commitment says that they are others.
    house.rewrite(|position, bytes| {
        let mut bytes = bytes.to_vec();
        if position == 7 {
            let last = bytes.len() - 3;
            bytes[last] ^= 1;
        }
        bytes
    });
    house.close();
    assert!(matches!(
        verify(&house.path(), LogName::Audit, true),
        Err(OfflineError::Evidence(EvidenceError::Entry { position: 7, .. }))
    ));
    house.rewrite(|position, bytes| {
        let mut bytes = bytes.to_vec();
        if position == 9 {
            // As long as it was, and it says the opposite.
            let at = bytes.windows(15).position(|found| found == b"\"allowed\":false").unwrap();
            bytes[at + 10..at + 15].copy_from_slice(b"true ");
        }
        bytes
    });
    let evidence = house.evidence().unwrap();
    assert!(matches!(evidence.catch_up(300), Err(EvidenceError::Altered { signed: 300 })));
    assert!(evidence.newest().is_none());
    drop(evidence);
    house.close();
    assert!(matches!(
        verify(&house.path(), LogName::Audit, false),
        Err(OfflineError::Evidence(EvidenceError::Altered { signed: 300 }))
    ));
    assert!(export(&house.path(), LogName::Audit, tempfile::tempdir().unwrap().path()).is_err());
    // Fewer entries than were signed for.
    std::fs::remove_dir_all(house.folder()).unwrap();
    let short = house.reopened();
    short.append(10);
    assert!(matches!(short.evidence().err(), Some(EvidenceError::Shorter { now: 10, signed: 300, .. })));
}

#[test]
fn a_repair_makes_the_tiles_of_the_audit_log_again() {
    let mut house = AuditHouse::with(600);
    drop(house.level());
    house.close();
    let tile = house.path().join("tlog/audit/tile/0/001");
    let good = std::fs::read(&tile).unwrap();
    std::fs::write(&tile, b"short").unwrap();
    assert_eq!(verify(&house.path(), LogName::Audit, false).unwrap().repairable, ["tile/0/001"]);
    assert_eq!(repair(&house.path(), LogName::Audit).unwrap().repaired, ["tile/0/001"]);
    assert_eq!(std::fs::read(&tile).unwrap(), good);
    assert_eq!(verify(&house.path(), LogName::Audit, true).unwrap().repairable, [] as [String; 0]);
}

#[test]
fn records_of_the_first_version_are_leaves_as_they_are() {
    let mut house = AuditHouse::with(20);
    house.rewrite(|position, bytes| {
        let entry = crate::server::audit::decode(bytes).unwrap();
        if position <= 10 { rmp_serde::to_vec_named(&entry).unwrap() } else { bytes.to_vec() }
    });
    let evidence = house.level();
    let (leaf, proof) = evidence.prove(Seq(3)).unwrap().unwrap();
    assert_eq!(record_hash(&leaf), record_hash(&rmp_serde::to_vec_named(&house.entry(3)).unwrap()));
    proof.verify(&leaf, evidence.key()).unwrap();
    drop(evidence);
    house.rewrite(
        |position, bytes| {
            if position == 3 { AuditRecord::read(bytes).unwrap().erased() } else { bytes.to_vec() }
        },
    );
    let evidence = house.level();
    assert!(evidence.alarm().is_none(), "the root is the same");
    assert!(matches!(evidence.prove(Seq(3)), Err(EvidenceError::Gone { .. })), "only its hash is left");
    assert!(evidence.prove(Seq(4)).unwrap().is_some());
}

impl AuditHouse {
    fn entry(&self, position: u64) -> AuditEntry {
        let bytes = self.audit().reader().read(Seq(position)).unwrap().unwrap();
        crate::server::audit::decode(&bytes).unwrap()
    }
}

/// Whoever takes away what was signed too would have to change the log of events as well.
#[test]
fn an_audit_log_that_lacks_what_an_event_speaks_of_is_refused_and_another_is_an_alarm() {
    let house = AuditHouse::with(300);
    let anchor = house.level().anchor().unwrap();
    assert_eq!(anchor.size, 300);
    house.append(20);
    let config = key::open(&house.path(), LogName::Config, None).unwrap();
    let open = |house: &AuditHouse, anchored| {
        Evidence::open_audit(&house.path(), config.key(), house.audit().clone(), Some((Seq(7), anchored)))
    };
    let evidence = open(&house, anchor).unwrap();
    evidence.catch_up(320).unwrap();
    std::fs::remove_dir_all(house.path().join("tlog/audit")).unwrap();
    let more = AuditAnchor { size: 321, ..anchor };
    assert!(matches!(open(&house, more), Err(EvidenceError::Anchored { seq: Seq(7), size: 321, .. })));
    // As many entries, and others: no checkpoint says so any more.
    let other = AuditAnchor { root: Digest::blake3(b"another"), ..anchor };
    let evidence = open(&house, other).unwrap();
    assert!(matches!(evidence.catch_up(320), Err(EvidenceError::Anchored { seq: Seq(7), size: 300, .. })));
    assert!(evidence.alarm().is_some() && evidence.newest().is_none(), "nothing is signed");
}
