//! What questions about rights cost in a large organisation, and what its bindings take.
//!
//! `cargo bench -p mcpctl-projections --bench access`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod town;

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use mcpctl_core::access::questions::{explain, who_can, why_not};
use mcpctl_core::access::{Ask, ResourceName, Verb, decide};
use mcpctl_core::kinds::Kind;
use mcpctl_core::time::Timestamp;
use mcpctl_projections::State;
use serde_json::json;

use town::{Past, name, resident_kib, user};

const USERS: usize = 10_000;
const GROUPS: usize = 1_000;
const BINDINGS: usize = 100_000;
/// Bindings that one rbac object carries.
const PER_OBJECT: usize = 10;

fn main() {
    let state = organisation();
    let mut bench = Criterion::default().measurement_time(Duration::from_secs(5)).configure_from_args();
    questions(&mut bench, &state, Timestamp::from_millis(1_900_000_000_000));
    bench.final_summary();
}

/// Each user is in two groups, each group has 100 bindings on single servers; 100 users have a binding of their own on all.
fn organisation() -> State {
    let before = resident_kib();
    let mut past = Past::default();
    for user in 0..USERS {
        past.apply(Kind::User, json!({"name": format!("user-{user}@example.com")}));
    }
    for group in 0..GROUPS {
        let members: Vec<_> =
            (0..2 * USERS / GROUPS).map(|n| format!("user-{}@example.com", (group + n * GROUPS / 2) % USERS)).collect();
        past.apply(Kind::Group, json!({"name": format!("group-{group}"), "members": members}));
    }
    let unbound = resident_kib();
    for object in 0..BINDINGS / PER_OBJECT {
        let bindings: Vec<_> = (0..PER_OBJECT)
            .map(|n| json!({"role": "view", "resource": "servers", "name": format!("server-{}", object * PER_OBJECT + n)}))
            .collect();
        let subject = json!({"kind": "Group", "name": format!("group-{}", object % GROUPS)});
        past.apply(
            Kind::Rbac,
            json!({"name": format!("binding-{object}"), "subjects": [subject], "roleBindings": bindings}),
        );
    }
    let bound = resident_kib();
    let all: Vec<_> =
        (0..100).map(|n| json!({"kind": "User", "name": format!("user-{}@example.com", n * 100)})).collect();
    past.apply(
        Kind::Rbac,
        json!({"name": "all", "subjects": all, "roleBindings": [{"role": "edit", "resource": "projects"}]}),
    );
    // One record holds at most 64 KiB.
    for part in 0..10 {
        let some: Vec<_> =
            (part..GROUPS).step_by(10).map(|n| json!({"kind": "Group", "name": format!("group-{n}")})).collect();
        let bindings = [json!({"role": "run", "resource": "projects"})];
        past.apply(Kind::Rbac, json!({"name": format!("every-{part}"), "subjects": some, "roleBindings": bindings}));
    }
    println!(
        "{USERS} users, {GROUPS} groups, {BINDINGS} bindings: {:.0} bytes per binding; {} MiB for the users and groups.",
        (bound - unbound) as f64 * 1024.0 / BINDINGS as f64,
        (unbound - before) / 1024
    );
    past.state
}

fn questions(bench: &mut Criterion, world: &State, now: Timestamp) {
    let (caller, server, none) = (user(world, 7), name("server-70"), name("nobody-may"));
    let yes = Ask::named(Verb::View, Kind::Server, None, &server);
    let no = Ask::named(Verb::View, Kind::Server, None, &none);
    assert!(decide(world, &caller, &yes, now).allowed && !decide(world, &caller, &no, now).allowed);
    let mut now_asked = bench.benchmark_group("now");
    now_asked.bench_function("can-i, yes by a name-scoped grant of a group", |b| {
        b.iter(|| decide(black_box(world), &caller, &yes, now));
    });
    now_asked.bench_function("can-i, no: every grant was looked at", |b| {
        b.iter(|| decide(black_box(world), &caller, &no, now));
    });
    now_asked.bench_function("why", |b| b.iter(|| explain(black_box(world), &caller, &yes, now)));
    now_asked.bench_function("why-not", |b| b.iter(|| why_not(black_box(world), &caller, &no, now)));
    let project =
        |verb| Ask::Object { verb, resource: ResourceName::Kind(Kind::Project), project: None, name: None, uid: None };
    for (ask, expected) in [(yes, 20), (project(Verb::Edit), 100), (project(Verb::Run), USERS)] {
        assert_eq!(who_can(world, &ask, now).len(), expected);
        now_asked
            .bench_function(format!("who-can, {expected} may"), |b| b.iter(|| who_can(black_box(world), &ask, now)));
    }
    now_asked.finish();
}
