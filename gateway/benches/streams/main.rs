//! What many gateways cost one control plane: memory of a stream, processor at rest, and how long a revocation takes to
//! reach them all.
//!
//! `cargo bench -p mcpctl-gateway --bench streams` prints Markdown for `docs/revocation.md`. The control plane is a process
//! of its own (this program, started again); the gateways' sides of the streams are in this one, each with a plane and a
//! connection of its own. Environment: `BENCH_STREAMS` (200), `BENCH_TOKENS` (50 on each), `BENCH_SECONDS` at rest (20).
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod control;

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use mcpctl_api::client::RemotePlane;
use mcpctl_api::plane::{CallerBearer, Plane as _};
use serde_json::{Value, json};

use control::Control;

/// Of the tokens of each gateway so many are held by all of them.
const SHARED: usize = 10;
/// Introspections at once while the streams fill.
const AT_ONCE: usize = 16;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    control::serve_if_asked().await;
    let (streams, tokens) = (setting("BENCH_STREAMS", 200), setting("BENCH_TOKENS", 50));
    let control = Control::start().await;
    let own = tokens - SHARED;
    let shared = control.tokens("shared", SHARED).await;
    let mut owned = control.tokens("own", streams * own).await.into_iter();

    let before_bytes = control.resident_bytes();
    let began = Instant::now();
    let mut planes = Vec::new();
    for _ in 0..streams {
        let plane = RemotePlane::connect(control.address()).unwrap();
        let all: Vec<CallerBearer> =
            shared.iter().cloned().chain(owned.by_ref().take(own)).map(CallerBearer::new).collect();
        futures::stream::iter(&all)
            .for_each_concurrent(AT_ONCE, async |bearer| {
                plane.admit(bearer, "default").await.unwrap();
            })
            .await;
        planes.push(plane);
    }
    control.until_held(streams, tokens).await;
    let filled = began.elapsed();
    let after_bytes = control.resident_bytes();
    println!("| {streams} streams of {tokens} tokens each | |\n|---|---|");
    println!("| {} introspections and their streams | {:.1} s |", streams * tokens, filled.as_secs_f64());
    let grown = after_bytes.saturating_sub(before_bytes);
    println!("| memory of the control plane before, after | {}, {} |", mib(before_bytes), mib(after_bytes));
    println!(
        "| memory of one stream with its tokens, of one token | {:.1} KiB, {:.2} KiB |",
        kib(grown, streams),
        kib(grown, streams * tokens)
    );

    let seconds = setting("BENCH_SECONDS", 20);
    let (busy, began) = (control.processor(), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let (spent, rest) = (control.processor() - busy, began.elapsed());
    let share = spent.as_secs_f64() / rest.as_secs_f64();
    let pings = streams as f64 * 5.0 * rest.as_secs_f64();
    println!(
        "| processor at rest: of one core, for one ping | {:.1} %, {:.0} µs |",
        share * 100.0,
        spent.as_secs_f64() * 1e6 / pings
    );

    let mut one = Vec::new();
    for n in 0..50 {
        one.push(control.revoke(&format!("own-{n}")).await);
    }
    say("one stream", &one, 1);
    let mut all = Vec::new();
    for n in 0..SHARED {
        all.push(control.revoke(&format!("shared-{n}")).await);
    }
    say(&format!("all {streams} streams"), &all, streams);
    let mut every = Vec::new();
    for n in 0..5 {
        every.push(control.apply(json!({ "kind": "project", "name": "default", "servers": ["mcpctl"], "description": format!("{n}") })).await);
    }
    say(&format!("every token of all {streams} streams (an edit of the project)"), &every, streams);
    for plane in &planes {
        plane.shutdown().await;
    }
}

/// From the commit to the last confirmation, and what the caller saw.
fn say(what: &str, all: &[(Value, Duration)], gateways: usize) {
    let mut acked: Vec<f64> = all.iter().map(|(said, _)| said["ackedMs"].as_f64().unwrap()).collect();
    let mut seen: Vec<f64> = all.iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect();
    acked.sort_by(f64::total_cmp);
    seen.sort_by(f64::total_cmp);
    let missed = all.iter().filter(|(said, _)| said["leaseExpired"] != 0 || said["acked"] != gateways).count();
    let at = |sorted: &[f64], share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    println!(
        "| a revocation that reaches {what}: commit to last confirmation p50, worst; seen by the caller p50, worst; not confirmed by all | {:.0} ms, {:.0} ms; {:.1} ms, {:.1} ms; {missed} of {} |",
        at(&acked, 0.5),
        at(&acked, 1.0),
        at(&seen, 0.5),
        at(&seen, 1.0),
        all.len()
    );
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn kib(bytes: u64, parts: usize) -> f64 {
    bytes as f64 / 1024.0 / parts as f64
}
