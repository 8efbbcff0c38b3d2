//! What questions about rights cost, now and in the past, and what the past takes: prints Markdown for `docs/benchmarks.md`.
//!
//! `cargo bench -p mcpctl-projections --bench access`. Environment: `BENCH_EVENTS` (of the past, default 1,000,000).
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mcpctl_core::access::questions::{explain, who_can, why_not};
use mcpctl_core::access::{Ask, ResourceName, Verb, decide};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::{self, Asking, Command, Deed, Mode, Place};
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest::read_kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::record::Record;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use mcpctl_projections::State;
use serde_json::{Value, json};

const USERS: usize = 10_000;
const GROUPS: usize = 1_000;
const BINDINGS: usize = 100_000;
/// Bindings that one rbac object carries.
const PER_OBJECT: usize = 10;
const OBJECTS: u64 = 50_000;
const ROUNDS: usize = 2_000;

fn main() {
    let events =
        std::env::var("BENCH_EVENTS").map_or(1_000_000, |text| text.parse().expect("BENCH_EVENTS is a number"));
    // Each part in a process of its own, so that the memory of one is not counted as the other's.
    let part = std::env::args().nth(1).unwrap_or_default();
    match part.as_str() {
        "people" => people(),
        "past" => past(events),
        _ => ["people", "past"].iter().for_each(|part| {
            let program = std::env::current_exe().unwrap();
            assert!(std::process::Command::new(program).arg(part).status().unwrap().success());
        }),
    }
}

/// Commands that are decided and folded as the writer does it, with a counter for a clock.
#[derive(Default)]
struct Past {
    state: State,
    steps: u64,
}

impl Past {
    fn apply(&mut self, kind: Kind, fields: Value) {
        let Value::Object(fields) = fields else { panic!("a manifest is a mapping") };
        let manifest = read_kind(kind, fields).unwrap();
        let deed = Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: None, then: Vec::new() };
        let command = Command { kind, name: manifest.name, project: manifest.project, deed };
        self.steps += 1;
        let actor = Actor::system("bench");
        let now = Timestamp::from_millis(1_700_000_000_000 + 1_000 * self.steps);
        let asking = Asking::by(&actor, now, self.steps.into());
        for draft in command::decide(&self.state, &asking, &command).unwrap().drafts {
            let (seq, prev) = (self.state.seq().next(), self.state.head());
            let id = uuid::Uuid::nil();
            let place =
                Place { seq, id, at: now, prev, actor: &actor, on_behalf_of: None, request: None, reason: None };
            let record = Record { header: draft.header(place), payload: draft.event.payload };
            // As after a start: nothing is shared with the command that was decided.
            let stored = record.store().unwrap();
            self.state.fold(&Record::load(&stored.bytes).unwrap(), stored.hash).unwrap();
        }
    }
}

fn name(text: &str) -> Name {
    Name::parse(if text.contains('@') { NameRule::Email } else { NameRule::Label }, text).unwrap()
}

fn user(world: &dyn World, number: usize) -> Actor {
    let text = format!("user-{number}@example.com");
    let uid = world.by_name(Kind::User, None, &name(&text)).unwrap().meta.uid;
    Actor { kind: ActorKind::User, uid, name: text }
}

/// Each user is in two groups, each group has 100 bindings on single servers; 100 users have a binding of their own on all.
fn people() {
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
    let now = Timestamp::from_millis(1_900_000_000_000);
    println!("## Questions: {USERS} users, {GROUPS} groups, {BINDINGS} bindings\n");
    println!(
        "Memory: {:.0} bytes per binding; {} MiB for the users and groups.\n",
        (bound - unbound) as f64 * 1024.0 / BINDINGS as f64,
        (unbound - before) / 1024
    );
    println!("| question | median | p99 |\n|---|---|---|");
    answers(&past.state, now);
    println!();
}

fn answers(world: &State, now: Timestamp) {
    let (caller, server, none) = (user(world, 7), name("server-70"), name("nobody-may"));
    let yes = Ask::named(Verb::View, Kind::Server, None, &server);
    let no = Ask::named(Verb::View, Kind::Server, None, &none);
    assert!(decide(world, &caller, &yes, now).allowed && !decide(world, &caller, &no, now).allowed);
    row(
        "can-i, yes by a name-scoped grant of a group",
        200,
        &mut || {
            (0..100).for_each(|_| {
                black_box(decide(black_box(world), &caller, &yes, now));
            })
        },
        100,
    );
    row(
        "can-i, no: every grant was looked at",
        200,
        &mut || {
            (0..100).for_each(|_| {
                black_box(decide(black_box(world), &caller, &no, now));
            })
        },
        100,
    );
    row("why", ROUNDS, &mut || drop(black_box(explain(world, &caller, &yes, now))), 1);
    row("why-not", ROUNDS, &mut || drop(black_box(why_not(world, &caller, &no, now))), 1);
    let project =
        |verb| Ask::Object { verb, resource: ResourceName::Kind(Kind::Project), project: None, name: None, uid: None };
    for (ask, expected) in [(yes, 20), (project(Verb::Edit), 100), (project(Verb::Run), USERS)] {
        assert_eq!(who_can(world, &ask, now).len(), expected);
        row(&format!("who-can, {expected} may"), 100, &mut || drop(black_box(who_can(world, &ask, now))), 1);
    }
}

fn row(what: &str, rounds: usize, ask: &mut dyn FnMut(), asked: u32) {
    let mut all: Vec<Duration> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            ask();
            begun.elapsed() / asked
        })
        .collect();
    all.sort_unstable();
    println!("| {what} | {} | {} |", short(all[rounds / 2]), short(all[rounds * 99 / 100]));
}

fn short(took: Duration) -> String {
    match took.as_nanos() {
        nanos @ 0..10_000 => format!("{nanos} ns"),
        nanos @ 10_000..1_000_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        nanos => format!("{:.2} ms", nanos as f64 / 1e6),
    }
}

/// Many changes of many objects, a tenth of them of what rights are made of.
fn past(events: u64) {
    let before = resident_kib();
    let mut past = Past::default();
    let (servers, users, groups) = (OBJECTS * 8 / 10, OBJECTS / 10, OBJECTS / 20);
    let change = |past: &mut Past, object: u64, round: u64| {
        if object < servers {
            past.apply(Kind::Server, json!({"name": format!("server-{object}"), "description": format!("change {round}"), "command": ["npx", "-y", "@example/server"], "env": [{"name": "LEVEL", "value": "info"}]}));
        } else if object < servers + users {
            past.apply(Kind::User, json!({"name": format!("user-{}@example.com", object - servers), "displayName": format!("User {round}")}));
        } else if object < servers + users + groups {
            let group = object - servers - users;
            let members: Vec<_> =
                (0..4).map(|n| format!("user-{}@example.com", (group * 2 + n + round) % users)).collect();
            past.apply(Kind::Group, json!({"name": format!("group-{group}"), "members": members}));
        } else {
            let binding = object - servers - users - groups;
            let names: Vec<_> = (0..3).map(|n| json!({"role": "view", "resource": "servers", "name": format!("server-{}", (binding * 7 + n + round) % servers)})).collect();
            past.apply(Kind::Rbac, json!({"name": format!("binding-{binding}"), "subjects": [{"kind": "Group", "name": format!("group-{}", binding % groups)}], "roleBindings": names}));
        }
    };
    (0..OBJECTS.min(events)).for_each(|object| change(&mut past, object, 0));
    let first = resident_kib();
    let begun = Instant::now();
    (OBJECTS..events).for_each(|event| change(&mut past, (event * 7_919) % OBJECTS, event / OBJECTS));
    let (took, last) = (begun.elapsed(), resident_kib());
    let more = past.state.seq().0.saturating_sub(OBJECTS).max(1);
    println!("## The past: {} events over {OBJECTS} objects\n", past.state.seq());
    println!(
        "Memory: {} MiB for the objects as they are, {} MiB for {more} former versions ({:.0} bytes each). Decided, stored, read and folded at {:.0} events/s.\n",
        (first - before) / 1024,
        (last - first) / 1024,
        (last - first) as f64 * 1024.0 / more as f64,
        more as f64 / took.as_secs_f64(),
    );
    println!("| question at a random seq | median | p99 |\n|---|---|---|");
    ask_the_past(&past.state, users as usize);
    println!();
}

fn ask_the_past(state: &State, users: usize) {
    let mut dice = 1u64;
    let mut draw = move || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        dice >> 20
    };
    let (head, server) = (state.seq().0, name("server-70"));
    let ask = Ask::named(Verb::View, Kind::Server, None, &server);
    let callers: Vec<Actor> = (0..users).map(|number| user(state, number)).collect();
    let uids: Vec<_> = state.all(Kind::Server).map(|object| object.meta.uid).collect();
    let mut at = || (Seq(OBJECTS.min(head) + draw() % (head - OBJECTS).max(1)), draw() as usize);
    row(
        "the seq of a moment",
        ROUNDS,
        &mut || {
            black_box(state.seq_at(state.time_of(at().0).unwrap()));
        },
        1,
    );
    row(
        "one object",
        ROUNDS,
        &mut || {
            let (seq, n) = at();
            drop(black_box(state.object_at(uids[n % uids.len()], seq)));
        },
        1,
    );
    row(
        "can-i",
        ROUNDS,
        &mut || {
            let (seq, n) = at();
            let view = state.at(seq);
            let _ = black_box(decide(&view, &callers[n % users], &ask, view.last_at()));
        },
        1,
    );
    row(
        "why or why-not",
        ROUNDS,
        &mut || {
            let (seq, n) = at();
            let view = state.at(seq);
            let _ = black_box(explain(&view, &callers[n % users], &ask, view.last_at()));
        },
        1,
    );
    row(
        "who-can",
        300,
        &mut || {
            let view = state.at(at().0);
            let _ = black_box(who_can(&view, &ask, view.last_at()));
        },
        1,
    );
    row(
        "all groups",
        100,
        &mut || {
            let view = state.at(at().0);
            black_box(view.all(Kind::Group).count());
        },
        1,
    );
    row(
        "all servers",
        20,
        &mut || {
            let view = state.at(at().0);
            black_box(view.all(Kind::Server).count());
        },
        1,
    );
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
}
