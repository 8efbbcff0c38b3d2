//! What one access decision costs, with many people, groups and bindings around.
use std::time::Instant;

use mcpctl_core::access::{Ask, Verb, decide};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use serde_json::json;

use crate::past::Past;

const USERS: usize = 2_000;
const GROUPS: usize = 200;
const BINDINGS: usize = 4_000;
const ASKED: usize = 400_000;

pub fn print() {
    let past = people();
    println!("## One access decision: {USERS} users, {GROUPS} groups, {BINDINGS} bindings\n");
    println!("| question | ns |\n|---|---|");
    for (what, server) in [("yes, by a name-scoped grant of a group", "server-7"), ("no, no grant fits", "nobody-may")]
    {
        println!("| {what} | {:.0} |", nanoseconds(&past, server, what.starts_with("yes")));
    }
    println!();
}

fn nanoseconds(past: &Past, server: &str, expected: bool) -> f64 {
    let world = &past.state;
    let name = |rule, text: &str| Name::parse(rule, text).unwrap();
    let user = world.by_name(Kind::User, None, &name(NameRule::Email, "user-7@example.com")).unwrap();
    let caller = Actor { kind: ActorKind::User, uid: user.meta.uid, name: "user-7@example.com".into() };
    let server = name(NameRule::Label, server);
    let ask = Ask::named(Verb::View, Kind::Server, None, &server);
    let now = Timestamp::from_millis(1_800_000_000_000);
    let begun = Instant::now();
    let mut yes = 0;
    for _ in 0..ASKED {
        yes += usize::from(decide(std::hint::black_box(world), &caller, std::hint::black_box(&ask), now).allowed);
    }
    let took = begun.elapsed();
    assert_eq!(yes, if expected { ASKED } else { 0 });
    took.as_nanos() as f64 / ASKED as f64
}

/// Each user is in one group, each group has 20 bindings on single servers.
fn people() -> Past {
    let mut past = Past::default();
    for user in 0..USERS {
        past.apply(Kind::User, json!({"name": format!("user-{user}@example.com")}));
    }
    for group in 0..GROUPS {
        let members: Vec<_> = (group..USERS).step_by(GROUPS).map(|u| format!("user-{u}@example.com")).collect();
        past.apply(Kind::Group, json!({"name": format!("group-{group}"), "members": members}));
    }
    for binding in 0..BINDINGS {
        let role = json!({"role": "view", "resource": "servers", "name": format!("server-{binding}")});
        let subject = json!({"kind": "Group", "name": format!("group-{}", binding % GROUPS)});
        let fields = json!({"name": format!("binding-{binding}"), "subjects": [subject], "roleBindings": [role]});
        past.apply(Kind::Rbac, fields);
    }
    past
}
