//! What the log, its rebuild and a decision cost: prints Markdown for `docs/benchmarks.md`.
//!
//! `cargo bench -p mcpctl-api --bench log`. The plain file with `fdatasync` is the limit of the machine's disk, measured in
//! the same rounds as the log. Environment: `BENCH_ROUNDS`, `BENCH_SECONDS` (of one measurement), `BENCH_EVENTS` (of the
//! rebuild), `BENCH_ENTRIES` (of the audit log), `BENCH_ONLY` (one part: durable, rebuild, decisions, evidence).
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod decisions;
mod durable;
mod evidence;
mod mutations;
mod past;
mod rebuild;

use std::time::Duration;

fn main() {
    let rounds: usize = setting("BENCH_ROUNDS", "5").parse().expect("BENCH_ROUNDS is a number");
    let seconds: f64 = setting("BENCH_SECONDS", "1").parse().expect("BENCH_SECONDS is a number");
    let events: u64 = setting("BENCH_EVENTS", "1000000").parse().expect("BENCH_EVENTS is a number");
    let entries: u64 = setting("BENCH_ENTRIES", "1000000").parse().expect("BENCH_ENTRIES is a number");
    let only = setting("BENCH_ONLY", "");
    let wanted = |part: &str| only.is_empty() || only == part;
    if wanted("durable") {
        durable::print(rounds, Duration::from_secs_f64(seconds));
    }
    if wanted("rebuild") {
        rebuild::print(events);
    }
    if wanted("decisions") {
        decisions::print();
    }
    if wanted("evidence") {
        evidence::print(entries);
    }
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// The middle one.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

/// On the disk that holds the target folder: a temporary folder may lie in memory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
