//! A control plane that is killed under load again and again: what it acknowledged is there, and it opens every time.
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::http::{get, send};
use crate::support::up::{Place, Up, login};
use crate::support::wait::wait_until;

/// How often it is killed; `MCPCTL_KILLS` says otherwise.
const KILLS: u64 = 50;

/// How many acknowledged mutations a round waits for before the kill: some more are in flight then.
const BEFORE_KILL: u64 = 15;

/// Clients that write at the same time.
const WRITERS: u64 = 4;

/// Names and revisions that the control plane acknowledged, kept outside of it.
#[derive(Default)]
struct Ledger {
    acknowledged: Mutex<Vec<(String, u64)>>,
    count: AtomicU64,
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_under_load_and_it_opens_every_time() {
    let kills = std::env::var("MCPCTL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let place = Place::new();
    let ledger = Arc::new(Ledger::default());
    for round in 0..kills {
        let up = Up::start_in(Arc::clone(&place));
        everything_is_there(&up, &ledger);
        kill_under_load(up, &ledger, round);
    }
    let up = Up::start_in(Arc::clone(&place));
    everything_is_there(&up, &ledger);
    assert!(ledger.count.load(Ordering::Relaxed) >= kills * BEFORE_KILL);
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
            let seq =
                answer.header("mcpctl-revision").and_then(|r| r.parse().ok()).expect("an answer has its revision");
            ledger.acknowledged.lock().unwrap().push((name.to_owned(), seq));
            ledger.count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer) => panic!("{name} was refused: {answer:?}"),
        // It is being killed: whether this one is there nobody knows, and nobody was told that it is.
        Err(_) => {}
    }
}

fn everything_is_there(up: &Up, ledger: &Ledger) {
    let answer = get(&format!("{}/api/v1/servers", up.ready.api), Some(&login(up))).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let head: u64 = answer.header("mcpctl-revision").and_then(|r| r.parse().ok()).expect("an answer has its revision");
    for (name, seq) in ledger.acknowledged.lock().unwrap().iter() {
        assert!(answer.body.contains(&format!("\"{name}\"")), "{name}, acknowledged at {seq}, is lost at {head}");
        assert!(*seq <= head, "{name} was acknowledged at {seq}, and the log ends at {head}");
    }
}
