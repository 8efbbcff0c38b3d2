//! How long a start takes that reads the whole past: check of every record, chain, index, and the state folded again.
use std::path::Path;
use std::time::{Duration, Instant};

use mcpctl_api::server::snapshot::Snapshots;
use mcpctl_api::server::start::open_log;
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::Kind;
use mcpctl_core::log::EventLog;
use mcpctl_core::log::durable::{DurableLog, OpenOptions};
use mcpctl_projections::State;
use serde_json::json;

use crate::folder;
use crate::past::Past;

/// Objects that the events are about, each changed again and again.
const OBJECTS: u64 = 10_000;

/// How many records are made durable at once.
const BATCH: usize = 1_000;

pub fn print(events: u64) {
    let folder = folder();
    let (past, wrote) = write(folder.path(), events);
    let checked = check(folder.path());
    let snapshots = Snapshots::new(folder.path().join("snapshot"), [7; 32], "bench".to_owned());
    let (folded, state) = open(folder.path(), &snapshots);
    assert_eq!(state.to_image(), past.state.to_image(), "the rebuilt state is not the one that was left");
    let begun = Instant::now();
    snapshots.write(&state).unwrap();
    let wrote_snapshot = begun.elapsed();
    drop(state);
    let (unsealed, state) = open(folder.path(), &snapshots);
    drop(state);
    let begun = Instant::now();
    let sealed = snapshots.seal(folder.path(), &|| true).unwrap();
    let wrote_seals = begun.elapsed();
    let (resumed, state) = open(folder.path(), &snapshots);
    assert_eq!(state.to_image(), past.state.to_image(), "the resumed state is not the one that was left");
    let files =
        std::fs::read_dir(folder.path().join("snapshot")).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    let snapshot_mib = files.map(|file| file.len()).max().unwrap() / (1024 * 1024);
    println!("## Rebuild of {events} events over {OBJECTS} servers\n");
    println!("| | s | events/s |\n|---|---|---|");
    let row = |what: &str, took: Duration| {
        println!("| {what} | {:.2} | {:.0} |", took.as_secs_f64(), events as f64 / took.as_secs_f64());
    };
    row("decide, fold and append in batches of 1,000", wrote);
    row("open: checksums, chain, index", checked);
    row("open and fold into the state", folded);
    row("open with a snapshot: the same checks, and nothing to fold", unsealed);
    row("open with a snapshot and seals: finished segments are hashed whole", resumed);
    row("write that snapshot", wrote_snapshot);
    row(&format!("check and seal {sealed} finished segments, in the background"), wrote_seals);
    println!(
        "\nEither state is the one that was left, byte for byte, its past too. The snapshot takes {snapshot_mib} MiB. \
         Resident: {} MiB.\n",
        resident_mib()
    );
}

fn write(folder: &Path, events: u64) -> (Past, Duration) {
    let mut log = DurableLog::open(folder, OpenOptions::default(), &mut |_| Ok(())).unwrap();
    let mut past = Past::default();
    let mut batch = Vec::with_capacity(BATCH);
    let begun = Instant::now();
    for event in 0..events {
        let (object, change) = (event % OBJECTS, event / OBJECTS);
        let command = ["npx", "-y", "@example/server"];
        let fields =
            json!({"name": format!("server-{object}"), "description": format!("change {change}"), "command": command});
        batch.extend(past.apply(Kind::Server, fields));
        if batch.len() >= BATCH {
            log.append(&batch).unwrap();
            batch.clear();
        }
    }
    log.append(&batch).unwrap();
    (past, begun.elapsed())
}

fn check(folder: &Path) -> Duration {
    let begun = Instant::now();
    let options = OpenOptions { decode_after: Seq(u64::MAX), ..OpenOptions::default() };
    let log = DurableLog::open(folder, options, &mut |_| Ok(())).unwrap();
    let took = begun.elapsed();
    drop(log);
    took
}

fn open(folder: &Path, snapshots: &Snapshots) -> (Duration, State) {
    let begun = Instant::now();
    let (log, state) = open_log(folder, snapshots).unwrap();
    let took = begun.elapsed();
    drop(log);
    (took, state)
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}
