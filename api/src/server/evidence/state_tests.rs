//! State roots: derived event by event, the same after every start, and proofs of grants that stand on them.
use mcpctl_core::access::RoleBinding;
use mcpctl_core::kinds::{Kind, SubjectRef};
use mcpctl_core::world::World as _;
use mcpctl_tlog::grant_proof::GrantShown;
use mcpctl_tlog::proof_file::{self, About, Beside};
use mcpctl_tlog::state_root::StateRoot;
use serde_json::json;

use super::state_roots::grant_facts;
use super::tests::House;
use super::*;

pub(super) const ALICE: &str = "User:alice@example.com";
pub(super) const VIEW: &str = "role:view,resource:servers";

/// A house in which a group is granted something, alice joins it and leaves it, and is granted it herself in the end.
pub(super) fn granted() -> House {
    let mut house = House::with(300);
    for (kind, fields) in [
        (Kind::User, json!({"name": "alice@example.com"})),
        (Kind::Group, json!({"name": "ops"})),
        (
            Kind::Rbac,
            json!({"name": "r", "subjects": [{"kind": "Group", "name": "ops"}], "roleBindings": [{"role": "view", "resource": "servers"}]}),
        ),
        (Kind::Group, json!({"name": "ops", "members": ["alice@example.com"]})),
        (Kind::Group, json!({"name": "ops", "members": []})),
        (
            Kind::Rbac,
            json!({"name": "r", "subjects": [{"kind": "User", "name": "alice@example.com"}], "roleBindings": [{"role": "view", "resource": "servers"}]}),
        ),
    ] {
        house.apply(kind, fields);
    }
    house
}

/// A proof as `audit prove grant` puts it together.
pub(super) fn grant_proof(house: &House, evidence: &Evidence, seq: u64) -> Vec<u8> {
    let (subject, grant): (SubjectRef, RoleBinding) = (ALICE.parse().unwrap(), VIEW.parse().unwrap());
    let facts = grant_facts(house.state(), Seq(seq), &subject, &grant);
    let (record, proof) = evidence.prove(Seq(seq)).unwrap().unwrap();
    let next = evidence.prove(Seq(seq + 1)).unwrap();
    let next = next.as_ref().map(|(record, proof)| (&record[..], proof));
    proof_file::write(&record, "", &proof, evidence.key(), Beside::Grant { facts: &facts, next })
}

#[test]
fn a_grant_is_proved_in_force_and_not_in_force_at_every_event_and_a_forged_proof_is_refused() {
    let house = granted();
    let evidence = house.level_state();
    let in_force = |seq| {
        let shown = proof_file::verify(&grant_proof(&house, &evidence, seq), Some(evidence.key())).unwrap();
        let About::Grant { shown: GrantShown { by, grant, .. }, state, next } = shown.about else { panic!() };
        assert_eq!((state.seq, next.map(|next| next.seq)), (seq, (seq < 306).then_some(seq + 1)));
        grant.map(|grant| {
            assert_eq!(grant, VIEW);
            by.is_some()
        })
    };
    assert_eq!(in_force(300), None, "nobody had that name");
    assert_eq!(
        [301, 302, 303, 304, 305, 306].map(|seq| in_force(seq).unwrap()),
        [false, false, false, true, false, true]
    );
    // What was so at one event is no proof about another.
    let files = |seq| mcpctl_tlog::archive::read(&grant_proof(&house, &evidence, seq)).unwrap();
    let (before, after) = (files(303), files(304));
    for swapped in [proof_file::EVENT, proof_file::PROOF, proof_file::FACTS, proof_file::NEXT] {
        let mixed: Vec<(&str, &[u8])> = before
            .iter()
            .map(|(name, bytes)| {
                let other = after.iter().find(|(other, _)| other == name && name == swapped);
                (name.as_str(), other.map_or(&bytes[..], |(_, other)| &other[..]))
            })
            .collect();
        let mixed = mcpctl_tlog::archive::write(&mixed);
        assert!(proof_file::verify(&mixed, Some(evidence.key())).is_err(), "{swapped}");
    }
}

#[test]
fn state_roots_are_the_same_after_every_start_with_tiles_and_without() {
    let mut house = granted();
    let first = house.level_state();
    let (root, entry) = (first.head(), first.prove(Seq(304)).unwrap().unwrap().0);
    assert!(first.key().origin().ends_with("/state"));
    drop(first);
    let again = house.level_state();
    assert_eq!(again.head(), root, "from tiles");
    assert_eq!(again.prove(Seq(304)).unwrap().unwrap().0, entry);
    let read = StateRoot::read(&entry).unwrap();
    let event = house.reader().read(Seq(304)).unwrap().unwrap();
    assert_eq!((read.seq, read.event), (304, mcpctl_tlog::record_hash(&event)));
    drop(again);
    let tile = house.path().join("tlog/state/tile/0/000");
    let good = std::fs::read(&tile).unwrap();
    for bad in [
        Some(b"short".to_vec()),
        Some({
            let mut bad = good.clone();
            bad[99] ^= 1;
            bad
        }),
        None,
    ] {
        match bad {
            Some(bad) => std::fs::write(&tile, bad).unwrap(),
            None => std::fs::remove_file(&tile).unwrap(),
        }
        let again = house.level_state();
        assert!(again.alarm().is_none());
        assert_eq!(again.head(), root, "made again");
        assert_eq!(std::fs::read(&tile).unwrap(), good);
    }
    // It goes on where it stopped.
    house.apply(Kind::User, json!({"name": "bob@example.com"}));
    let on = house.level_state();
    assert_eq!(on.head().0, 307);
    assert!(on.alarm().is_none());
}

#[test]
fn state_roots_that_are_not_those_that_were_signed_are_an_alarm() {
    let house = granted();
    drop(house.level_state());
    let mut other = House::forged(306);
    for file in ["log.key", "state-log.key"] {
        std::fs::copy(house.path().join(file), other.path().join(file)).unwrap();
    }
    std::fs::create_dir_all(other.path().join("tlog/state")).unwrap();
    std::fs::copy(house.path().join("tlog/state/checkpoint"), other.path().join("tlog/state/checkpoint")).unwrap();
    other.append(1);
    let evidence = other.state_evidence();
    assert!(matches!(evidence.catch_up(other.state().seq().0), Err(EvidenceError::Altered { signed: 306 })));
    assert!(evidence.alarm().is_some() && evidence.newest().is_none());
}

#[test]
fn the_state_log_of_a_data_folder_is_verified_repaired_and_exported_without_anybody_serving_it() {
    let mut house = granted();
    let root = house.level_state().head().1;
    house.close();
    let data = house.path();
    let seen = verify(&data, LogName::State, false).unwrap();
    assert_eq!((seen.records, seen.root, seen.checkpoint), (306, root.to_string(), Some(306)));
    let tile = data.join("tlog/state/tile/0/000");
    let mut bad = std::fs::read(&tile).unwrap();
    bad[77] ^= 1;
    std::fs::write(&tile, bad).unwrap();
    assert_eq!(verify(&data, LogName::State, false).unwrap().repairable, ["tile/0/000"]);
    assert_eq!(repair(&data, LogName::State).unwrap().repaired, ["tile/0/000"]);
    assert_eq!(verify(&data, LogName::State, false).unwrap().repairable, [] as [String; 0]);
    let to = tempfile::tempdir().unwrap();
    assert_eq!(export(&data, LogName::State, to.path()).unwrap().size, 306);
    let entries = std::fs::read(to.path().join("tile/entries/000")).unwrap();
    let first = StateRoot::read(bundle::entries(&entries).unwrap()[0]).unwrap();
    assert_eq!(first.seq, 1);
    // Other events, and the signature of these: found without tiles.
    let mut other = House::forged(306);
    other.close();
    std::fs::remove_dir_all(data.join("log")).unwrap();
    std::fs::rename(other.path().join("log"), data.join("log")).unwrap();
    let altered = verify(&data, LogName::State, false).unwrap_err();
    assert!(matches!(altered, OfflineError::Evidence(EvidenceError::Altered { signed: 306 })), "{altered}");
}
