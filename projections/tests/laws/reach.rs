//! The reach of an event covers whoever lost something by it: on every event of every kind, and on random histories.
use mcpctl_core::access::{Ask, ResourceName, Verb, decide};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Kind, Project, Server};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::pins;
use mcpctl_core::reach::{Change, Effect, Reach, Whose, reach};
use mcpctl_core::record::Record;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use proptest::prelude::*;

use crate::escalation;
use crate::events::eventful;
use crate::town::Town;

/// Names that the small worlds of these tests use.
const NAMES: [&str; 6] = ["p", "s", "g", "base", "web", "ci"];

fn subjects(state: &State) -> Vec<(Actor, Option<mcpctl_core::ids::Uid>)> {
    let kinds = [
        (Kind::User, ActorKind::User),
        (Kind::ServiceAccount, ActorKind::ServiceAccount),
        (Kind::McpToken, ActorKind::McpToken),
    ];
    let of = |(kind, actor)| {
        state.all(kind).map(move |object| {
            let name = object.meta.name.to_string();
            (Actor { kind: actor, uid: object.meta.uid, name }, object.body.owner())
        })
    };
    kinds.into_iter().flat_map(of).collect()
}

/// Questions by name, so that their answers do not depend on whether the object exists.
fn holds(state: &State, who: &Actor, now: Timestamp) -> Vec<bool> {
    let kinds = Kind::ALL.iter().map(|kind| ResourceName::Kind(*kind));
    let projects: Vec<_> = state.all(Kind::Project).map(|project| Some(project.meta.uid)).chain([None]).collect();
    let names: Vec<Name> = NAMES.iter().map(|name| Name::parse(NameRule::Label, name).unwrap()).collect();
    let mut answers = Vec::new();
    for resource in kinds {
        for verb in Verb::ALL {
            for name in &names {
                let scoped = resource == ResourceName::Kind(Kind::McpToken);
                answers.push(projects.iter().any(|project| {
                    let project = if scoped { *project } else { None };
                    let ask = Ask::Object { verb, resource, project, name: Some(name), uid: None };
                    decide(state, who, &ask, now).allowed
                }));
            }
        }
    }
    for action in ["logs", "bind", "audit"] {
        answers.push(decide(state, who, &Ask::Operation(action), now).allowed);
    }
    answers
}

/// What a project serves: its servers, with what they run and which tools they show.
fn serves(state: &State, project: mcpctl_core::ids::Uid) -> Vec<String> {
    let Some(project) = state.by_uid(project).and_then(|object| object.of::<Project>()) else { return Vec::new() };
    let (spec, _) = project;
    let server = |name: &Name| {
        let object = state.by_name(Kind::Server, None, name)?;
        let (server, _) = object.of::<Server>()?;
        let filter = spec.tools.get(name.as_str());
        Some(format!("{name} {:?} {:?} {filter:?} {:?}", server.tools, server.argv(), server.external_url))
    };
    // Each definition that may be called, by itself: where nothing is asked, whatever there is.
    let pinned = |name: &Name| {
        let object = state.by_name(Kind::Server, None, name)?;
        let pins = pins::of(project, object.meta.uid, object.of::<Server>()?)?;
        Some(pins.into_iter().flat_map(|(tool, all)| all.into_iter().map(move |one| format!("{tool} {one}"))))
    };
    let names = || spec.servers.iter().map(|server| server.name());
    let pinned = names().filter_map(pinned).flatten();
    names().filter_map(server).chain(pinned).collect()
}

/// Checks one event: who had something before it and has not after it is in its reach.
fn check(before: &State, after: &State, record: &Record, reached: &Reach) -> Result<(), String> {
    let (was, is) = (before.last_at(), after.last_at());
    let what = format!("{}.{} of {}", record.header.kind, record.header.event, record.header.name);
    for (who, owner) in subjects(before) {
        let (had, has) = (holds(before, &who, was), holds(after, &who, is));
        let lost = had.iter().zip(&has).any(|(had, has)| *had && !*has);
        let was_live = before.by_uid(who.uid).is_some_and(|object| object.body.enabled());
        let over = after.by_uid(who.uid).is_none_or(|object| !object.body.enabled()) && was_live;
        for project in before.all(Kind::Project) {
            let whose = Whose { subject: who.uid, owner, project: project.meta.uid };
            let effect = reached.effect_on(&whose);
            if (lost || over) && effect.is_none() {
                return Err(format!("{who} lost something by {what}, which reaches {reached:?}"));
            }
            let (served, serves) = (serves(before, project.meta.uid), serves(after, project.meta.uid));
            if served.iter().any(|server| !serves.contains(server)) && effect < Some(Effect::Quarantine) {
                return Err(format!("{what} narrowed {}, and its callers are not cut", project.meta.name));
            }
        }
    }
    Ok(())
}

/// Goes through a town's history, event by event.
fn check_all(town: &Town) -> Result<(), String> {
    let mut state = State::default();
    for record in &town.records {
        let before = state.clone();
        let stored = record.store().expect("stored before");
        let fold = state.fold(record, Digest::blake3(&stored.bytes)).expect("folds again");
        let header = &record.header;
        let change = Change {
            kind: header.kind,
            event: &header.event,
            before: fold.before.as_deref(),
            after: fold.after.as_deref(),
        };
        let reached = reach(&state, &change);
        if reach(&before, &change) != reached && header.kind != Kind::McpToken {
            return Err(format!("{}.{} reaches further on one side of it", header.kind, header.event));
        }
        check(&before, &state, record, &reached)?;
    }
    Ok(())
}

#[test]
fn every_event_of_every_kind_reaches_whoever_loses_by_it() {
    check_all(&eventful()).unwrap();
}

#[test]
fn an_event_that_nobody_thought_of_reaches_everybody() {
    let more = "---\nkind: group\nname: g\n---\nkind: secretbackend\nname: b\ntype: plaintext\n";
    let town = Town::given(&format!("{}{more}", crate::town::BASE));
    let backend = town.state.all(Kind::SecretBackend).next().cloned();
    let group = town.state.all(Kind::Group).next().cloned();
    assert!(backend.is_some() && group.is_some());
    for (kind, object) in [(Kind::SecretBackend, backend), (Kind::Group, group), (Kind::Group, None)] {
        let change = Change { kind, event: "exploded", before: object.as_deref(), after: object.as_deref() };
        assert_eq!(reach(&town.state, &change), Reach::Everything, "{kind}");
    }
    let server = town.state.all(Kind::Server).next().cloned();
    let project = town.state.all(Kind::Project).next().unwrap().meta.uid;
    let change = Change { kind: Kind::Server, event: "exploded", before: server.as_deref(), after: server.as_deref() };
    let whose = Whose { subject: mcpctl_core::ids::Uid::fixed(1), owner: None, project };
    let attached = town.state.referrers(server.as_ref().unwrap().meta.uid).iter().any(|o| o.meta.uid == project);
    assert_eq!(reach(&town.state, &change).effect_on(&whose), attached.then_some(Effect::Cut));
}

#[test]
fn what_only_gives_reaches_nobody() {
    let mut town =
        Town::given("kind: user\nname: a@example.com\n---\nkind: group\nname: g\n---\nkind: project\nname: p\n");
    let from = town.records.len();
    town.apply_all(
        &Actor::system("test"),
        "kind: rbac\nname: r\nsubjects: [{kind: User, name: a@example.com}]\nroleBindings: [{role: run, resource: projects}]\n---\nkind: group\nname: g\nmembers: [a@example.com]\n",
    )
    .unwrap();
    let mut state = State::default();
    for (index, record) in town.records.iter().enumerate() {
        let stored = record.store().unwrap();
        let fold = state.fold(record, Digest::blake3(&stored.bytes)).unwrap();
        let (kind, event) = (record.header.kind, &*record.header.event);
        let change = Change { kind, event, before: fold.before.as_deref(), after: fold.after.as_deref() };
        let reached = reach(&state, &change);
        assert!(index < from || reached.is_nothing(), "{kind}.{event} reaches {reached:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn in_random_histories_whoever_lost_something_was_reached(
        steps in prop::collection::vec(escalation::step(), 1..30)
    ) {
        let mut town = escalation::town();
        for step in &steps {
            escalation::take(&mut town, step);
        }
        check_all(&town).map_err(TestCaseError::fail)?;
    }
}
