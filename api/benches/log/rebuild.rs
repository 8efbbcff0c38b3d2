//! How long a start takes that reads the whole past: check of every record, chain, index, and the state folded again.
use std::time::{Duration, Instant};

use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::Kind;
use mcpctl_core::log::durable::{DurableLog, OpenOptions};
use mcpctl_core::log::{EventLog, LogError};
use mcpctl_core::record::Record;
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
    let (checked, _) = open(folder.path(), false);
    let (folded, state) = open(folder.path(), true);
    assert_eq!(state.canonical(), past.state.canonical(), "the rebuilt state is not the one that was left");
    println!("## Rebuild of {events} events over {OBJECTS} servers\n");
    println!("| | s | events/s |\n|---|---|---|");
    let row = |what: &str, took: Duration| {
        println!("| {what} | {:.2} | {:.0} |", took.as_secs_f64(), events as f64 / took.as_secs_f64());
    };
    row("decide, fold and append in batches of 1,000", wrote);
    row("open: checksums, chain, index", checked);
    row("open and fold into the state", folded);
    println!("\nThe rebuilt state is the one that was left, byte for byte. Resident: {} MiB.\n", resident_mib());
}

fn write(folder: &std::path::Path, events: u64) -> (Past, Duration) {
    let mut log = DurableLog::open(folder, OpenOptions::default(), &mut |_, _| Ok(())).unwrap();
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

fn open(folder: &std::path::Path, fold: bool) -> (Duration, State) {
    let mut state = State::default();
    let begun = Instant::now();
    let log = DurableLog::open(folder, OpenOptions::default(), &mut |seq, bytes| {
        if fold {
            let record = Record::load(bytes).map_err(|source| LogError::Record { seq, source })?;
            state.fold(&record, Digest::blake3(bytes)).unwrap();
        }
        Ok(())
    });
    let took = begun.elapsed();
    drop(log.unwrap());
    (took, state)
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}
