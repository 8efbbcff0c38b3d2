//! What questions about the past cost, and what the past takes.
//!
//! `cargo bench -p mcpctl-projections --bench past`. Environment: `BENCH_EVENTS` (default 1,000,000).
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod town;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use mcpctl_core::access::questions::{explain, who_can};
use mcpctl_core::access::{Ask, Verb, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::Kind;
use mcpctl_core::world::World;
use mcpctl_projections::State;
use serde_json::json;

use town::{Past, name, resident_kib, user};

const OBJECTS: u64 = 50_000;

fn main() {
    let events =
        std::env::var("BENCH_EVENTS").map_or(1_000_000, |text| text.parse().expect("BENCH_EVENTS is a number"));
    let state = lived(events);
    let mut bench = Criterion::default().measurement_time(Duration::from_secs(5)).configure_from_args();
    questions(&mut bench, &state);
    bench.final_summary();
}

/// Many changes of many objects, a tenth of them of what rights are made of.
fn lived(events: u64) -> State {
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
    println!(
        "{} events over {OBJECTS} objects: {} MiB for the objects as they are, {} MiB for {more} former versions ({:.0} bytes each). Decided, stored, read and folded at {:.0} events/s.",
        past.state.seq(),
        (first - before) / 1024,
        (last - first) / 1024,
        (last - first) as f64 * 1024.0 / more as f64,
        more as f64 / took.as_secs_f64(),
    );
    past.state
}

/// Every question at a seq drawn anew.
fn questions(bench: &mut Criterion, state: &State) {
    let mut dice = 1u64;
    let mut draw = move || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        dice >> 20
    };
    let (head, server) = (state.seq().0, name("server-70"));
    let ask = Ask::named(Verb::View, Kind::Server, None, &server);
    let users = (OBJECTS / 10) as usize;
    let callers: Vec<Actor> = (0..users).map(|number| user(state, number)).collect();
    let uids: Vec<_> = state.all(Kind::Server).map(|object| object.meta.uid).collect();
    let mut at = || (Seq(OBJECTS.min(head) + draw() % head.saturating_sub(OBJECTS).max(1)), draw() as usize);
    let mut then = bench.benchmark_group("at a random seq");
    then.bench_function("the seq of a moment", |b| b.iter(|| state.seq_at(state.time_of(at().0).unwrap())));
    then.bench_function("one object", |b| {
        b.iter(|| {
            let (seq, n) = at();
            state.object_at(uids[n % uids.len()], seq)
        });
    });
    then.bench_function("can-i", |b| {
        b.iter(|| {
            let (seq, n) = at();
            let view = state.at(seq);
            black_box(decide(&view, &callers[n % users], &ask, view.last_at()).allowed)
        });
    });
    then.bench_function("why or why-not", |b| {
        b.iter(|| {
            let (seq, n) = at();
            let view = state.at(seq);
            drop(black_box(explain(&view, &callers[n % users], &ask, view.last_at())));
        });
    });
    then.bench_function("who-can", |b| {
        b.iter(|| {
            let view = state.at(at().0);
            black_box(who_can(&view, &ask, view.last_at()).len())
        });
    });
    then.sample_size(10);
    then.bench_function("all groups", |b| b.iter(|| state.at(at().0).all(Kind::Group).count()));
    then.bench_function("all servers", |b| b.iter(|| state.at(at().0).all(Kind::Server).count()));
    then.finish();
}
