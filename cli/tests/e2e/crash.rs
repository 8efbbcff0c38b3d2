//! A control plane that is killed under load again and again: what it acknowledged is there, and it opens every time.
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::http::{Answer, get, send};
use crate::support::up::{Place, Up, login};
use crate::support::wait::wait_until;

/// How often it is killed; `MCPCTL_KILLS` says otherwise.
const KILLS: u64 = 50;

/// How many acknowledged mutations a round waits for before the kill: some more are in flight then.
const BEFORE_KILL: u64 = 15;

/// Clients that write at the same time.
const WRITERS: u64 = 4;

/// After so many kills all that was ever acknowledged is looked for, and at the end; after each, what it was before it.
const ALL_EVERY: u64 = 50;

/// Names and revisions that the control plane acknowledged, kept outside of it.
#[derive(Default)]
struct Ledger {
    acknowledged: Mutex<Vec<(String, u64)>>,
    /// How many of them were found after a kill.
    found: AtomicU64,
    count: AtomicU64,
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_under_load_and_it_opens_every_time() {
    let kills = std::env::var("MCPCTL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let place = Place::new();
    let (ledger, began) = (Arc::new(Ledger::default()), Instant::now());
    for round in 0..kills {
        let up = Up::start_in(Arc::clone(&place));
        the_last_are_there(&up, &ledger);
        if round % ALL_EVERY == 0 {
            everything_is_there(&up, &ledger);
        }
        kill_under_load(up, &ledger, round);
    }
    let up = Up::start_in(Arc::clone(&place));
    everything_is_there(&up, &ledger);
    let acknowledged = ledger.count.load(Ordering::Relaxed);
    assert!(acknowledged >= kills * BEFORE_KILL);
    println!("{kills} kills, {acknowledged} mutations acknowledged, none lost, in {:?}", began.elapsed());
}

/// Writers go on until the process is gone; only what was answered with success enters the ledger.
fn kill_under_load(up: Up, ledger: &Arc<Ledger>, round: u64) {
    let enough = ledger.count.load(Ordering::Relaxed) + BEFORE_KILL;
    let bearer = format!("Bearer {}", login(&up));
    let stopped = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (ledger, stopped) = (Arc::clone(ledger), Arc::clone(&stopped));
            let (url, bearer) = (format!("{}/api/v1/servers", up.ready.api), bearer.clone());
            std::thread::spawn(move || {
                let mut number = 0;
                while !stopped.load(Ordering::Relaxed) {
                    number += 1;
                    write(&url, &bearer, &format!("server-{round}-{writer}-{number}"), &ledger);
                }
            })
        })
        .collect();
    wait_until("enough mutations are acknowledged", Duration::from_secs(60), || {
        (ledger.count.load(Ordering::Relaxed) >= enough).then_some(())
    });
    up.kill_9();
    stopped.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().unwrap();
    }
}

fn write(url: &str, bearer: &str, name: &str, ledger: &Ledger) {
    // Nothing is started for these: a server that no project uses has no conversation.
    let body = json!({"name": name, "externalUrl": "https://mcp.example.com/mcp", "replicas": 0}).to_string();
    let headers = [("authorization", bearer), ("content-type", "application/json")];
    match send("POST", url, &headers, body.into_bytes()) {
        Ok(answer) if answer.status == 201 => {
            ledger.acknowledged.lock().unwrap().push((name.to_owned(), revision(&answer)));
            ledger.count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer) => panic!("{name} was refused: {answer:?}"),
        // It is being killed: whether this one is there nobody knows, and nobody was told that it is.
        Err(_) => {}
    }
}

/// What was acknowledged since this was asked last, each by its name.
fn the_last_are_there(up: &Up, ledger: &Ledger) {
    let login = login(up);
    let acknowledged = ledger.acknowledged.lock().unwrap();
    let found = usize::try_from(ledger.found.load(Ordering::Relaxed)).unwrap();
    for (name, seq) in &acknowledged[found..] {
        let answer = get(&format!("{}/api/v1/servers/{name}", up.ready.api), Some(&login)).unwrap();
        assert_eq!(answer.status, 200, "{name}, acknowledged at {seq}, is lost: {}", answer.body);
        let head = revision(&answer);
        assert!(*seq <= head, "{name} was acknowledged at {seq}, and the log ends at {head}");
    }
    ledger.found.store(acknowledged.len() as u64, Ordering::Relaxed);
}

/// All that was acknowledged is listed, and chain, trees and signatures of all logs hold.
fn everything_is_there(up: &Up, ledger: &Ledger) {
    up.mcpctl(&["log", "verify", "--deep", "--log", "all"]).ok();
    let answer = get(&format!("{}/api/v1/servers", up.ready.api), Some(&login(up))).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let (listed, head) = (answer.json(), revision(&answer));
    let names: HashSet<&str> = listed["items"].as_array().unwrap().iter().filter_map(|s| s["name"].as_str()).collect();
    for (name, seq) in ledger.acknowledged.lock().unwrap().iter() {
        assert!(names.contains(name.as_str()), "{name}, acknowledged at {seq}, is lost at {head}");
        assert!(*seq <= head, "{name} was acknowledged at {seq}, and the log ends at {head}");
    }
}

/// The seq that the log ends at, as an answer says it.
fn revision(answer: &Answer) -> u64 {
    answer.header("mcpctl-revision").and_then(|r| r.parse().ok()).expect("an answer has its revision")
}
