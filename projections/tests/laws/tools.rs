//! Approval of tools as laws: what is served was approved and was not noticed to be another since, whatever happens.
use std::collections::BTreeMap;

use mcpctl_core::actor::Actor;
use mcpctl_core::command::Outcome;
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::kinds::{Kind, Noticed, Project, ProjectAction, Server, ServerAction, ToolChoice};
use mcpctl_core::pins::{self, Pins};
use mcpctl_core::reach::{Change, Effect, Whose, reach};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use proptest::prelude::*;

use crate::town::Town;

const TOWN: &str = "\
kind: user
name: a@example.com
---
kind: user
name: m@example.com
---
kind: server
name: s
command: ['true']
---
kind: server
name: t
command: ['true']
---
kind: project
name: p
servers: [s, t]
members: [m@example.com]
toolPolicy: quarantine
---
kind: project
name: open
servers: [s]
---
kind: rbac
name: r
subjects: [{kind: User, name: a@example.com}]
roleBindings: [{role: edit, resource: projects}]
";

fn town() -> Town {
    Town::given(TOWN)
}

fn definition(number: u8) -> Digest {
    Digest([number; 32])
}

fn notice(town: &mut Town, server: &str, tool: &str, number: u8) -> Outcome {
    let noticed = Noticed { tool: tool.to_owned(), definition: definition(number), diff: Vec::new() };
    let action = Box::new(ServerAction::Notice(vec![noticed]));
    town.act(&Actor::system("tools"), Kind::Server, None, server, action).unwrap().outcome
}

fn choice(server: &str, tool: &str, number: Option<u8>) -> Vec<ToolChoice> {
    let (server, tool) = (server.to_owned(), tool.to_owned());
    vec![ToolChoice { server, tool, definition: number.map(definition) }]
}

fn approve(town: &mut Town, server: &str, tool: &str, number: u8) -> Result<Outcome, Refusal> {
    let caller = town.user("a@example.com");
    let action = ProjectAction::Approve { tools: choice(server, tool, Some(number)), note: None };
    town.act(&caller, Kind::Project, None, "p", Box::new(action)).map(|decided| decided.outcome)
}

fn reject(town: &mut Town, server: &str, tool: &str, number: Option<u8>) -> Result<Outcome, Refusal> {
    let caller = town.user("a@example.com");
    let action = ProjectAction::Reject { tools: choice(server, tool, number), note: None };
    town.act(&caller, Kind::Project, None, "p", Box::new(action)).map(|decided| decided.outcome)
}

fn pins(state: &State, server: Uid) -> Pins {
    let project = state.all(Kind::Project).find(|object| object.meta.name.as_str() == "p").unwrap();
    let object = state.by_uid(server).unwrap();
    pins::of(project.of::<Project>().unwrap(), server, object.of::<Server>().unwrap()).expect("it asks for approval")
}

fn served(town: &Town, tool: &str) -> Vec<Digest> {
    pins(&town.state, town.uid(Kind::Server, None, "s")).remove(tool).unwrap_or_default()
}

#[test]
fn a_tool_is_served_once_its_definition_was_approved() {
    let mut town = town();
    notice(&mut town, "s", "x", 1);
    assert!(served(&town, "x").is_empty());
    assert_eq!(approve(&mut town, "s", "x", 1).unwrap(), Outcome::Changed);
    assert_eq!(served(&town, "x"), [definition(1)]);
    assert_eq!(approve(&mut town, "s", "x", 1).unwrap(), Outcome::Unchanged);
    assert_eq!(notice(&mut town, "s", "x", 1), Outcome::Unchanged);
}

#[test]
fn a_definition_that_changes_after_approval_is_served_to_nobody_even_when_it_changes_back() {
    let mut town = town();
    notice(&mut town, "s", "x", 1);
    approve(&mut town, "s", "x", 1).unwrap();
    assert_eq!(notice(&mut town, "s", "x", 2), Outcome::Changed);
    assert!(served(&town, "x").is_empty());
    notice(&mut town, "s", "x", 1);
    assert!(served(&town, "x").is_empty(), "who changed once may change again: a person looks");
    approve(&mut town, "s", "x", 1).unwrap();
    assert_eq!(served(&town, "x"), [definition(1)]);
    notice(&mut town, "s", "x", 2);
    assert!(served(&town, "x").is_empty(), "the second time is an event too, although the definition is known");
    approve(&mut town, "s", "x", 2).unwrap();
    assert_eq!(served(&town, "x"), [definition(1), definition(2)]);
    notice(&mut town, "s", "x", 1);
    assert_eq!(served(&town, "x").len(), 2, "between definitions that are approved a server may change");
}

#[test]
fn what_was_never_noticed_can_not_be_approved_and_what_is_elsewhere_neither() {
    let mut town = town();
    notice(&mut town, "s", "x", 1);
    for (server, tool, number) in [("s", "x", 2), ("s", "y", 1), ("t", "x", 1), ("u", "x", 1)] {
        assert!(matches!(approve(&mut town, server, tool, number), Err(Refusal::Invalid(_))), "{server}/{tool}");
    }
}

#[test]
fn approving_takes_edit_on_the_project_and_noticing_is_for_the_control_plane_alone() {
    let mut town = town();
    notice(&mut town, "s", "x", 1);
    let member = town.user("m@example.com");
    let action = ProjectAction::Approve { tools: choice("s", "x", Some(1)), note: None };
    let refused = town.act(&member, Kind::Project, None, "p", Box::new(action));
    assert!(matches!(refused, Err(Refusal::Forbidden { .. })), "{refused:?}");
    let admin = town.user("a@example.com");
    let noticed = Noticed { tool: "x".into(), definition: definition(9), diff: Vec::new() };
    let refused = town.act(&admin, Kind::Server, None, "s", Box::new(ServerAction::Notice(vec![noticed])));
    assert!(matches!(refused, Err(Refusal::Forbidden { .. })), "{refused:?}");
}

#[test]
fn another_server_of_the_same_name_has_none_of_the_approvals() {
    let mut town = town();
    notice(&mut town, "s", "x", 1);
    approve(&mut town, "s", "x", 1).unwrap();
    let system = Actor::system("test");
    town.apply_all(&system, "kind: project\nname: p\nservers: [t]\ntoolPolicy: quarantine\n").unwrap();
    town.apply_all(&system, "kind: project\nname: open\nservers: []\n").unwrap();
    town.delete(&system, Kind::Server, None, "s").unwrap();
    town.apply_all(&system, "kind: server\nname: s\ncommand: [\"other\"]\n").unwrap();
    town.apply_all(&system, "kind: project\nname: p\nservers: [s, t]\ntoolPolicy: quarantine\n").unwrap();
    notice(&mut town, "s", "x", 1);
    assert!(served(&town, "x").is_empty());
}

#[test]
fn only_what_takes_a_tool_away_cuts_and_only_the_project_that_loses_it() {
    let mut town = town();
    let reached = |town: &Town| {
        let record = town.records.last().unwrap();
        let seq = record.header.seq;
        let before = town.state.object_at(record.header.object, mcpctl_core::ids::Seq(seq.0 - 1));
        let after = town.state.object_at(record.header.object, seq);
        let change = Change {
            kind: record.header.kind,
            event: &record.header.event,
            before: before.as_deref(),
            after: after.as_deref(),
        };
        let found = reach(&town.state, &change);
        ["p", "open"].map(|project| {
            let project = town.uid(Kind::Project, None, project);
            found.effect_on(&Whose { subject: Uid::fixed(7), owner: None, project })
        })
    };
    notice(&mut town, "s", "x", 1);
    assert_eq!(reached(&town), [None, None], "seen for the first time");
    approve(&mut town, "s", "x", 1).unwrap();
    assert_eq!(reached(&town), [None, None], "approved");
    notice(&mut town, "s", "y", 1);
    notice(&mut town, "s", "y", 2);
    assert_eq!(reached(&town), [None, None], "drifted before anybody was served it");
    notice(&mut town, "s", "x", 2);
    assert_eq!(reached(&town), [Some(Effect::Quarantine), None], "drifted");
    approve(&mut town, "s", "x", 2).unwrap();
    reject(&mut town, "s", "x", None).unwrap();
    assert_eq!(reached(&town), [Some(Effect::Quarantine), None], "taken back");
}

/// What happens to a tool, and what a naive reading makes of it.
#[derive(Clone, Debug)]
enum Step {
    Notice(u8),
    Approve(u8),
    Reject(Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..5_u8).prop_map(Step::Notice),
        2 => (1..5_u8).prop_map(Step::Approve),
        1 => prop::option::of(1..5_u8).prop_map(Step::Reject),
    ]
}

/// One tool, by the words of the guide: approved definitions are served while the server was noticed to show no other since
/// somebody approved one.
#[derive(Default)]
struct Naive {
    known: Vec<u8>,
    approved: Vec<u8>,
    doubtful: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_served_is_what_was_approved_and_not_seen_to_change_since(steps in prop::collection::vec(step(), 1..40)) {
        let (mut town, mut naive) = (town(), Naive::default());
        for step in steps {
            match step {
                Step::Notice(number) => {
                    let news = notice(&mut town, "s", "x", number) == Outcome::Changed;
                    let serves = !naive.approved.is_empty() && !naive.doubtful;
                    prop_assert!(news || !serves || naive.approved.contains(&number), "it would take the tool away");
                    naive.doubtful |= news && !naive.approved.contains(&number);
                    naive.known.push(number);
                }
                Step::Approve(number) => {
                    let done = approve(&mut town, "s", "x", number);
                    prop_assert_eq!(done.is_ok(), naive.known.contains(&number));
                    if done.is_ok() {
                        naive.approved.retain(|other| *other != number);
                        naive.approved.push(number);
                        naive.doubtful = false;
                    }
                }
                Step::Reject(number) => {
                    let done = reject(&mut town, "s", "x", number);
                    let known = number.map_or(!naive.known.is_empty(), |number| naive.known.contains(&number));
                    prop_assert_eq!(done.is_ok(), known);
                    naive.approved.retain(|other| done.is_err() || number.is_some_and(|number| *other != number));
                }
            }
            let mut expected: Vec<Digest> = naive.approved.iter().copied().map(definition).collect();
            if naive.doubtful {
                expected.clear();
            }
            let (mut found, mut expected) = (served(&town, "x"), expected);
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
        prop_assert_eq!(town.replayed().canonical(), town.state.canonical());
    }

    /// Replicas: whatever the order in which they hear of unrelated things, the same log is the same pins, in one order.
    #[test]
    fn every_replica_of_the_log_has_the_same_pins_in_the_same_order(
        tools in prop::collection::vec(("[a-z]{1,3}", 1..3_u8), 1..20)
    ) {
        let mut town = town();
        for (tool, number) in &tools {
            notice(&mut town, "s", tool, *number);
            approve(&mut town, "s", tool, *number).expect("it was noticed");
        }
        let server = town.uid(Kind::Server, None, "s");
        let (one, other) = (pins(&town.state, server), pins(&town.replayed(), server));
        let written = |pins: &Pins| serde_json::to_string(pins).expect("plain data");
        prop_assert_eq!(written(&one), written(&other));
        let names: Vec<&String> = one.keys().collect();
        let sorted: Vec<&String> = tools.iter().map(|(tool, _)| (tool, ())).collect::<BTreeMap<_, _>>().into_keys().collect();
        prop_assert_eq!(names, sorted);
    }
}
