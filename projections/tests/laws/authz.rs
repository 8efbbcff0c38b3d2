//! Every event says by which way and by which grants it was allowed, and what it says was so in the state before it.
use std::collections::BTreeSet;

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::record::{AuthzMode, Header};
use mcpctl_core::world::World;
use proptest::prelude::*;

use crate::escalation::{step, take, town as escalating_town};
use crate::town::Town;

/// Seqs of the grants and memberships that somebody stands on: its own, its groups', and those of whom it may act as.
fn seqs_of(world: &dyn World, holder: Uid) -> BTreeSet<Seq> {
    let own = world.grants(holder).iter().map(|grant| grant.seq);
    let mut all: BTreeSet<Seq> = own.collect();
    for member in world.memberships(holder) {
        all.insert(member.seq);
        all.extend(world.grants(member.group).iter().map(|grant| grant.seq));
    }
    all
}

/// What this small world lets a caller stand on: anything that it or one of the accounts holds.
fn may_stand_on(world: &dyn World, header: &Header) -> BTreeSet<Seq> {
    let accounts = world.all(Kind::ServiceAccount).map(|account| account.meta.uid);
    let who = [Some(header.actor.uid), header.on_behalf_of.as_ref().map(|account| account.uid)];
    who.into_iter().flatten().chain(accounts).flat_map(|uid| seqs_of(world, uid)).collect()
}

/// Whether something is the caller's own: itself, or what it owns.
fn is_own(world: &dyn World, header: &Header) -> bool {
    let rights = header.by_rights_of().uid;
    header.object == rights || world.by_uid(header.object).and_then(|object| object.body.owner()) == Some(rights)
}

/// Checks the events of one command, told apart by what they were decided on.
fn assert_batch(town: &Town, batch: &[&Header]) -> Result<(), TestCaseError> {
    let first = batch[0];
    let at = Seq(first.seq.0 - 1);
    let before = town.state.at(at);
    let cause: BTreeSet<Seq> =
        batch.iter().filter(|h| h.authz.mode != AuthzMode::System).flat_map(|h| h.authz.via.clone()).collect();
    let by_system = first.actor.kind == ActorKind::System;
    for header in batch {
        let via = &header.authz.via;
        prop_assert_eq!(header.authz.at, at, "{}", header.seq);
        prop_assert!(via.windows(2).all(|pair| pair[0] < pair[1]), "ascending, each once: {:?}", via);
        prop_assert!(via.iter().all(|seq| *seq <= at), "nothing of the future: {:?} at {}", via, at);
        match header.authz.mode {
            AuthzMode::Rbac => {
                let own = is_own(&before, header);
                prop_assert!(!by_system && (own || !via.is_empty()), "{} stands on nothing", header.seq);
                let known = may_stand_on(&before, header);
                let version = before.by_uid(header.object).map(|object| object.meta.resource_version);
                let stands = |seq: &Seq| known.contains(seq) || (own && Some(*seq) == version);
                prop_assert!(via.iter().all(stands), "{} {:?}: {:?} of {:?}", header.seq, header.event, via, known);
            }
            AuthzMode::Own => prop_assert!(is_own(&before, header), "{} is not its own", header.seq),
            AuthzMode::System => {
                let follows = !cause.is_empty() && via.iter().copied().collect::<BTreeSet<_>>() == cause;
                prop_assert!(by_system || follows, "{} follows from nothing: {:?} {:?}", header.seq, via, cause);
            }
            AuthzMode::Local => prop_assert!(false, "nobody was at the machine"),
        }
    }
    Ok(())
}

fn assert_every_event(town: &Town) -> Result<(), TestCaseError> {
    let headers: Vec<&Header> = town.records.iter().map(|record| &record.header).collect();
    headers.chunk_by(|one, other| one.authz.at == other.authz.at).try_for_each(|batch| assert_batch(town, batch))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_event_of_any_log_stands_on_what_was_in_force_before_it(steps in prop::collection::vec(step(), 1..40)) {
        let mut town = escalating_town();
        for step in &steps {
            take(&mut town, step);
        }
        assert_every_event(&town)?;
    }
}

#[test]
fn what_goes_with_a_deletion_stands_on_what_the_deletion_stood_on() {
    let mut town = escalating_town();
    let a = town.user("a@example.com");
    town.apply_all(&a, "kind: mcptoken\nname: t\nproject: p\n").unwrap();
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: more\nsubjects: [{kind: User, name: b@example.com}]\nroleBindings: [{role: edit, resource: users}]\n").unwrap();
    let (b, seq) = (town.user("b@example.com"), town.state.seq());
    let drafts = town.delete(&b, Kind::User, None, "a@example.com").unwrap().drafts;
    assert!(drafts.len() >= 3, "the token, the binding, the person: {}", drafts.len());
    for draft in &drafts {
        assert_eq!(
            (draft.authz.at, draft.authz.via.as_slice()),
            (seq, [seq].as_slice()),
            "{} {}",
            draft.kind,
            draft.event.event
        );
    }
    let modes: BTreeSet<String> = drafts.iter().map(|draft| format!("{:?}", draft.authz.mode)).collect();
    assert_eq!(modes, BTreeSet::from(["Rbac".to_owned(), "System".to_owned()]));
    assert_every_event(&town).unwrap();
}

#[test]
fn somebody_at_the_machine_is_named_and_needs_no_grant() {
    let mut town = escalating_town();
    town.apply_all(&Actor::local(1000), "kind: rbac\nname: again\nsubjects: [{kind: User, name: c@example.com}]\nroleBindings: [{role: edit, resource: '*'}]\n").unwrap();
    let header = &town.records.last().unwrap().header;
    assert_eq!((header.actor.to_string().as_str(), header.authz.mode), ("local:uid-1000", AuthzMode::Local));
    assert!(header.authz.via.is_empty());
    let c = town.user("c@example.com");
    assert_eq!(town.state.depth(town.state.grants(c.uid)[0].seq), 0);
}
