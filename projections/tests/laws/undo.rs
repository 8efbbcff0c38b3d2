//! Undoing: it brings back what was, nothing more, and under nobody's rights but those of who asks for it.
use std::collections::{BTreeMap, BTreeSet};

use mcpctl_core::access::covers;
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::{Kind, McpTokenAction};
use mcpctl_core::object::Object;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use mcpctl_projections::replay::{Range, Replay};
use mcpctl_projections::undo::Plan;
use proptest::prelude::*;
use serde_json::Value;

use crate::escalation::{USERS, holdings, step, take, town, user};
use crate::town::{BASE, Town};

fn system() -> Actor {
    Actor::system("test")
}

/// What every object asks for. Tokens are left out: they are made once, and end.
fn specs(town: &Town) -> BTreeMap<String, Value> {
    let kinds = Kind::ALL.iter().filter(|kind| **kind != Kind::McpToken);
    let all = kinds.flat_map(|kind| town.state.all(*kind));
    all.map(|object| (object.title(), object.body.spec_fields().into())).collect()
}

/// The events that were decided together with one.
fn together(town: &Town, seq: Seq) -> (Seq, Seq, BTreeSet<Uid>) {
    let at = town.records[seq.0 as usize - 1].header.authz.at;
    let events = town.records.iter().map(|record| &record.header).filter(|header| header.authz.at == at);
    let events: Vec<_> = events.map(|header| (header.seq, header.object)).collect();
    (events[0].0, events[events.len() - 1].0, events.iter().map(|(_, uid)| *uid).collect())
}

fn undo(town: &Town, seq: Seq) -> Plan {
    let (first, last, objects) = together(town, seq);
    town.state.undo(first, last, &objects)
}

/// All of a plan, or nothing; the events that did it.
fn carry_out(town: &mut Town, caller: &Actor, plan: &Plan) -> Result<(Seq, Seq), Refusal> {
    let (mut tried, before) = (town.fork(), town.state.seq());
    for step in &plan.steps {
        tried.command(caller, step.command(false))?;
    }
    *town = tried;
    Ok((before.next(), town.state.seq()))
}

fn objects_of(town: &Town, (first, last): (Seq, Seq)) -> BTreeSet<Uid> {
    let events = town.records.iter().map(|record| &record.header);
    events.filter(|header| (first..=last).contains(&header.seq)).map(|header| header.object).collect()
}

fn restored(town: &Town, object: &Object, at: Seq) -> Plan {
    let project = object.meta.project.as_ref().map(|project| &project.name);
    town.state.restore(object.meta.kind, project, &object.meta.name, at).expect("it was there")
}

fn titles(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} {}", step.change.word(), step.title())).collect()
}

#[test]
fn what_an_event_changed_is_changed_back_and_what_it_made_goes() {
    let mut town = Town::given(BASE);
    town.apply_all(&system(), "kind: server\nname: base\ncommand: [other]\n").unwrap();
    let changed = town.state.seq();
    town.apply_all(&system(), "kind: server\nname: new\ncommand: [x]\n").unwrap();
    assert_eq!(titles(&undo(&town, changed)), ["change server/base"]);
    assert_eq!(titles(&undo(&town, town.state.seq())), ["delete server/new"]);
    let plan = undo(&town, changed);
    carry_out(&mut town, &system(), &plan).unwrap();
    assert!(specs(&town)["server/base"]["command"] != serde_json::json!(["other"]));
    assert!(undo(&town, changed).steps.is_empty(), "it is undone already");
}

#[test]
fn what_was_deleted_comes_back_as_somebody_else_with_what_went_with_it() {
    let mut town = town();
    let (a, before) = (town.user(USERS[0]), specs(&town));
    town.apply_all(&a, "kind: mcptoken\nname: t\nproject: p\n").unwrap();
    town.delete(&system(), Kind::User, None, USERS[0]).unwrap();
    let gone = town.state.seq();
    assert_ne!(specs(&town), before, "its bindings went with it");
    let plan = undo(&town, gone);
    assert_eq!(titles(&plan), ["create user/a@example.com", "change rbac/strong"]);
    assert_eq!(plan.conflicts, []);
    assert!(plan.lost.iter().any(|line| line.contains(&a.uid.to_string()) && line.contains("another")), "{plan:?}");
    assert!(plan.lost.iter().any(|line| line.starts_with("mcptoken/p/t: ")), "{plan:?}");
    carry_out(&mut town, &system(), &plan).unwrap();
    assert_eq!(specs(&town), before);
    assert_ne!(town.user(USERS[0]).uid, a.uid);
}

#[test]
fn what_only_events_can_make_is_refused_with_the_reason() {
    let mut town = Town::given(BASE);
    let system = system();
    town.apply_all(&system, "kind: mcptoken\nname: t\nproject: base\n").unwrap();
    town.act(&system, Kind::McpToken, Some("base"), "t", Box::new(McpTokenAction::Revoke)).unwrap();
    let plan = undo(&town, town.state.seq());
    assert!(plan.steps.is_empty() && plan.lost[0].contains("stays ended"), "{plan:?}");
    let token = town.state.by_uid(town.uid(Kind::McpToken, Some("base"), "t")).unwrap().clone();
    let plan = restored(&town, &token, Seq(town.state.seq().0 - 1));
    assert!(plan.steps.is_empty() && plan.lost[0].contains("stays ended"), "{plan:?}");
    town.apply_all(&system, "kind: secret\nname: alone\n").unwrap();
    town.delete(&system, Kind::Secret, None, "alone").unwrap();
    let plan = undo(&town, town.state.seq());
    assert!(plan.steps.is_empty() && plan.lost[0].contains("shredded"), "{plan:?}");
}

#[test]
fn a_later_change_of_the_same_object_is_a_conflict_that_names_it() {
    let mut town = Town::given(BASE);
    let system = system();
    let group = |text: &str| format!("kind: group\nname: g\ndescription: {text}\n");
    town.apply_all(&system, &group("one")).unwrap();
    let made = town.state.seq();
    town.apply_all(&system, &group("two")).unwrap();
    let changed = town.state.seq();
    town.apply_all(&system, "kind: group\nname: other\n").unwrap();
    assert_eq!(undo(&town, changed).conflicts, []);
    assert_eq!(undo(&town, made).conflicts[0].since, [changed]);
    town.apply_all(&system, &group("three")).unwrap();
    let last = town.state.seq();
    assert_eq!(undo(&town, changed).conflicts[0].since, [last]);
    assert_eq!(undo(&town, made).conflicts[0].since, [changed, last]);
    town.delete(&system, Kind::Group, None, "g").unwrap();
    let gone = town.state.seq();
    let plan = undo(&town, changed);
    assert_eq!(
        (plan.conflicts[0].since.as_slice(), titles(&plan)),
        ([last, gone].as_slice(), vec!["create group/g".to_owned()])
    );
    assert!(undo(&town, made).steps.is_empty(), "what is gone needs not be taken back");
}

#[test]
fn a_name_that_means_somebody_else_now_is_given_nothing_by_the_way() {
    let mut town = town();
    let system = system();
    let rights = "kind: rbac\nname: r\nsubjects: [{kind: User, name: c@example.com}]\nroleBindings: [{role: edit, resource: servers}]\n";
    town.apply_all(&system, rights).unwrap();
    let then = town.state.seq();
    town.apply_all(&system, &rights.replace("{kind: User, name: c@example.com}", "")).unwrap();
    let taken = town.state.seq();
    town.delete(&system, Kind::User, None, USERS[2]).unwrap();
    town.apply_all(&system, "kind: user\nname: c@example.com\n").unwrap();
    let rbac = town.state.by_uid(town.uid(Kind::Rbac, None, "r")).unwrap().clone();
    for plan in [undo(&town, taken), restored(&town, &rbac, then)] {
        assert!(plan.conflicts.iter().any(|conflict| conflict.why.contains("user/c@example.com")), "{plan:?}");
    }
}

#[test]
fn a_project_is_restored_with_what_lived_in_it() {
    let mut town = town();
    let a = town.user(USERS[0]);
    town.apply_all(&a, "kind: mcptoken\nname: old\nproject: p\n").unwrap();
    let then = town.state.seq();
    let project = town.state.by_uid(town.uid(Kind::Project, None, "p")).unwrap().clone();
    assert!(restored(&town, &project, then).steps.is_empty());
    town.apply_all(&a, "kind: mcptoken\nname: new\nproject: p\n---\nkind: project\nname: p\ndescription: changed\n")
        .unwrap();
    town.act(&a, Kind::McpToken, Some("p"), "old", Box::new(McpTokenAction::Revoke)).unwrap();
    let plan = restored(&town, &project, then);
    assert_eq!(titles(&plan), ["change project/p", "delete mcptoken/p/new"]);
    assert!(plan.lost[0].starts_with("mcptoken/p/old: "), "{plan:?}");
    town.delete(&system(), Kind::Project, None, "p").unwrap();
    let plan = restored(&town, &project, then);
    assert_eq!(titles(&plan), ["create project/p"]);
    assert!(plan.lost.iter().any(|line| line.starts_with("mcptoken/p/old: ")), "{plan:?}");
}

#[test]
fn a_plan_says_whether_it_still_fits() {
    let mut town = Town::given(BASE);
    town.apply_all(&system(), "kind: group\nname: g\n").unwrap();
    let plan = undo(&town, town.state.seq());
    assert!(plan.fits(&town.state));
    town.apply_all(&system(), "kind: group\nname: g\ndescription: later\n").unwrap();
    assert!(!plan.fits(&town.state));
    let mut tried = town.fork();
    assert!(matches!(tried.command(&system(), plan.steps[0].command(true)), Err(Refusal::Conflict { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn undoing_the_last_command_brings_back_what_was_and_undoing_that_what_it_made(steps in prop::collection::vec(step(), 1..25)) {
        let mut town = town();
        for step in &steps {
            let (before, from) = (specs(&town), town.state.seq());
            take(&mut town, step);
            if town.state.seq() == from {
                continue;
            }
            let (after, plan) = (specs(&town), undo(&town, town.state.seq()));
            prop_assert_eq!(&plan.conflicts, &vec![]);
            let mut back = town.fork();
            let done = carry_out(&mut back, &system(), &plan).unwrap();
            prop_assert_eq!(specs(&back), before);
            if !plan.steps.is_empty() {
                let again = back.state.undo(done.0, done.1, &objects_of(&back, done));
                prop_assert_eq!(&again.conflicts, &vec![]);
                carry_out(&mut back, &system(), &again).unwrap();
                prop_assert_eq!(specs(&back), after);
            }
        }
    }

    #[test]
    fn an_object_restored_to_what_it_is_changes_nothing(steps in prop::collection::vec(step(), 1..25)) {
        let mut town = town();
        for step in &steps {
            take(&mut town, step);
        }
        for object in Kind::ALL.iter().flat_map(|kind| town.state.all(*kind)) {
            for at in [object.meta.resource_version, town.state.seq()] {
                let plan = restored(&town, object, at);
                // Of a project also what lives in it now and did not then.
                let inside = |title: &String| object.meta.kind == Kind::Project && title.starts_with("delete ");
                prop_assert!(titles(&plan).iter().all(inside), "{:?}", titles(&plan));
                prop_assert!(at != town.state.seq() || plan.steps.is_empty());
                prop_assert_eq!(&plan.conflicts, &vec![]);
            }
        }
    }

    /// T1 and T3 hold when people also undo what others did, with force.
    #[test]
    fn nobody_gains_by_undoing_what_they_could_not_give(
        steps in prop::collection::vec((step(), 0usize..3, any::<prop::sample::Index>(), any::<bool>()), 1..15),
    ) {
        let mut town = town();
        for (step, by, which, whole) in &steps {
            take(&mut town, step);
            let Some(caller) = user(&town, *by) else { continue };
            let seq = Seq(which.index(town.records.len()) as u64 + 1);
            let header = town.records[seq.0 as usize - 1].header.clone();
            let plan = if *whole {
                let project = header.project.and_then(|uid| town.state.at(seq).by_uid(uid).map(|o| o.meta.name.clone()));
                town.state.restore(header.kind, project.as_ref(), &header.name, seq).unwrap_or_default()
            } else {
                undo(&town, seq)
            };
            for step in &plan.steps {
                let (before, state) = (holdings(&town), town.state.clone());
                if town.command(&caller, step.command(false)).is_err() {
                    break;
                }
                for (who, permission) in holdings(&town) {
                    if !before.contains(&(who, permission.clone())) {
                        prop_assert!(covers(&state, &caller, &permission).is_some(), "{} gained {permission}", USERS[who]);
                    }
                }
            }
        }
        let mut replay = Replay::of(Range::default()).trusting("test");
        for record in &town.records {
            replay.push(record.header.seq, &record.store().unwrap().bytes).unwrap();
        }
        prop_assert_eq!(replay.finish().unwrap().1.findings, vec![]);
    }
}
