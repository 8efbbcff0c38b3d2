//! State roots: at every seq of a life, the proofs of what was granted and what was not agree with the projection.
use std::collections::{BTreeMap, BTreeSet};

use mcpctl_core::access::RoleBinding;
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::world::World;
use mcpctl_projections::{State, facts};
use mcpctl_tlog::facts::Facts;

use crate::deeds::take;
use crate::life::{Dice, LINES, beginning, draw};
use crate::town::Town;

fn lived(seed: u64) -> Town {
    let (mut town, mut dice) = (beginning(), Dice::of(seed));
    for _ in 0..40 {
        let step = draw(&mut dice);
        drop(take(&mut town, &step));
    }
    town
}

/// What the projection of a fresh fold says, asked grant by grant.
fn granted(world: &dyn World, holder: Uid, line: &RoleBinding) -> bool {
    world.grants(holder).iter().any(|grant| grant.permission == *line)
}

/// Every grant that could be, in force or not, at every seq: proved as the projection says, and the opposite refused.
fn agrees(town: &Town) -> u64 {
    let (mut fresh, mut map, mut tree, mut in_force) = (State::default(), BTreeMap::new(), Facts::default(), 0);
    let holders: BTreeSet<Uid> = town.records.iter().map(|record| record.header.object).collect();
    let lines: Vec<RoleBinding> = LINES.iter().map(|line| line.parse().unwrap()).collect();
    for record in &town.records {
        let seq = record.header.seq;
        fresh.fold(record, Digest::default()).unwrap();
        let changed = town.state.facts_changed(seq, record.header.object);
        let same = changed.is_empty();
        for (fact, value) in changed {
            match value {
                Some(value) => {
                    tree.insert(&fact, &value);
                    map.insert(fact, value);
                }
                None => {
                    tree.remove(&fact);
                    map.remove(&fact);
                }
            }
        }
        assert_eq!(map, facts::all(&fresh), "event by event, at {seq}");
        assert_eq!(map, facts::all(&town.state.at(seq)), "seen from the end, at {seq}");
        if same {
            // The root is that of the seq before, and so is every proof.
            continue;
        }
        let root = tree.root();
        for holder in &holders {
            for line in &lines {
                let fact = facts::grant_fact(*holder, line);
                let (proof, value) = (tree.prove(&fact), map.get(&fact).map(String::as_str));
                assert_eq!(value.is_some(), granted(&fresh, *holder, line), "{fact} at {seq}");
                proof.verify(&root, &fact, value).unwrap();
                let lie = if value.is_some() { None } else { Some("source:x,seq:1") };
                proof.verify(&root, &fact, lie).unwrap_err();
                in_force += u64::from(value.is_some());
            }
            let groups = facts::groups_fact(*holder);
            assert_eq!(map.contains_key(&groups), !fresh.memberships(*holder).is_empty(), "{groups} at {seq}");
        }
    }
    in_force
}

#[test]
fn at_every_seq_proofs_of_grants_in_force_and_not_in_force_agree_with_the_projection() {
    let cases = std::env::var("MCPCTL_FACTS_LIVES").ok().and_then(|lives| lives.parse().ok()).unwrap_or(2);
    let in_force: u64 = (0..cases).map(|seed| agrees(&lived(seed))).sum();
    assert!(in_force > 100 * cases, "lives without grants show nothing: {in_force}");
}

#[test]
fn a_root_is_that_of_its_state_alone_whatever_the_way_there() {
    let town = lived(7);
    let head = town.state.seq();
    let mut tree = Facts::default();
    for record in &town.records {
        for (fact, value) in town.state.facts_changed(record.header.seq, record.header.object) {
            match value {
                Some(value) => tree.insert(&fact, &value),
                None => tree.remove(&fact),
            }
        }
    }
    let mut at_once = Facts::default();
    facts::all(&town.state.at(Seq(head.0))).iter().for_each(|(fact, value)| at_once.insert(fact, value));
    assert_eq!(tree.root(), at_once.root());
}
