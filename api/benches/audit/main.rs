//! What the audit log and its index cost: prints Markdown for `docs/benchmarks.md`.
//!
//! `cargo bench -p mcpctl-api --bench audit`. Environment: `BENCH_ENTRIES` (10,000,000), `BENCH_RATE_ENTRIES` (1,000,000,
//! of the append rates). The entries look like those of a gateway: 200 people, 2,000 tokens, 40 servers, sessions of 50
//! entries, half a percent denied, one person and one tool that come once in 100,000.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::time::{Duration, Instant};

use mcpctl_api::plane::AuditEntry;
use mcpctl_api::server::audit::{AuditLog, AuditQuery};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::time::Timestamp;

const KEY: [u8; 32] = [7; 32];
/// One entry every 10 ms: 10 M are 28 hours.
const STEP_MS: u64 = 10;

fn main() {
    let entries = setting("BENCH_ENTRIES", 10_000_000);
    let rate = setting("BENCH_RATE_ENTRIES", 1_000_000);
    rates(rate);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let before = resident_mib();
    let log = AuditLog::open(folder.path(), KEY).unwrap();
    for n in 0..entries {
        log.append(entry(n)).unwrap();
    }
    settle(&log);
    println!("\n| {entries} entries | |\n|---|---|");
    let stored = bytes_in(folder.path(), false);
    let index = bytes_in(&folder.path().join("index"), true);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let per = |bytes: u64| bytes as f64 / entries as f64;
    println!("| bytes an entry in the log | {:.0} |", per(stored));
    println!("| bytes an entry in the index | {:.1} |", per(index));
    println!("| memory of the process after writing, MiB | {} (at the start {before}) |", resident_mib());
    drop(log);
    let begun = Instant::now();
    let log = AuditLog::open(folder.path(), KEY).unwrap();
    println!("| open again, s | {:.2} |", begun.elapsed().as_secs_f64());
    println!("\n| query | entries read | first time, ms | again, median of 21, ms |\n|---|---|---|---|");
    queries(&log, entries);
    println!("\nMemory after the queries: {} MiB.", resident_mib());
    scan(&log, entries);
    drop(log);
    // While all was read, its keeper had time to seal finished segments.
    println!("Seals: {:.1} KiB.", bytes_of(&folder.path().join("segments.seals")) / 1024.0);
    let begun = Instant::now();
    let log = AuditLog::open(folder.path(), KEY).unwrap();
    println!("Opened again, its finished segments sealed: {:.2} s.", begun.elapsed().as_secs_f64());
    drop(log);
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let log = AuditLog::open(folder.path(), KEY).unwrap();
    let begun = Instant::now();
    settle(&log);
    println!("The whole index made again from the log, in the background: {:.1} s.", begun.elapsed().as_secs_f64());
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Appends with and without the index, by one thread and by four.
fn rates(entries: u64) {
    println!("| append, entries/s | 1 thread | 4 threads |\n|---|---|---|");
    for (name, indexed) in [("with the index", true), ("without", false), ("with the index", true), ("without", false)]
    {
        let of = |threads: u64| {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let log = AuditLog::open_for_bench(folder.path(), KEY, indexed).unwrap();
            let made: Vec<AuditEntry> = (0..10_000).map(entry).collect();
            let begun = Instant::now();
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let (log, made) = (&log, &made);
                    scope.spawn(move || {
                        for n in 0..entries / threads {
                            let at = usize::try_from((n + thread) % 10_000).unwrap();
                            log.append(made[at].clone()).unwrap();
                        }
                    });
                }
            });
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let rate = entries as f64 / begun.elapsed().as_secs_f64();
            rate
        };
        println!("| {name} | {:.0} | {:.0} |", of(1), of(4));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn bytes_of(file: &Path) -> f64 {
    std::fs::metadata(file).map_or(0.0, |metadata| metadata.len() as f64)
}

fn settle(log: &AuditLog) {
    log.sync();
    while log.figures().index.missing + log.figures().index.waiting > 0 {
        std::thread::park_timeout(Duration::from_millis(5));
        log.sync();
    }
}

fn queries(log: &AuditLog, entries: u64) {
    let text = |text: &str| Some(text.to_owned());
    let none = AuditQuery::default;
    let at = |n: u64| Some(Timestamp::from_millis(1_700_000_000_000 + n * STEP_MS));
    let sha = token_sha(77).to_string();
    let day = entries / 2;
    for (name, query) in [
        ("none: the newest 100", none()),
        ("rare user (1 in 100,000)", AuditQuery { user_name: text("rare@example.com"), ..none() }),
        ("common user (1 in 200)", AuditQuery { user_name: text("user-7@example.com"), ..none() }),
        ("token by name", AuditQuery { token_name: text("token-77"), ..none() }),
        ("token by the first 8 digits of its SHA-256", AuditQuery { token_sha: text(&sha[..8]), ..none() }),
        ("rare tool (1 in 100,000)", AuditQuery { tool: text("rare-tool"), ..none() }),
        ("denied (1 in 200)", AuditQuery { outcome: text("denied"), ..none() }),
        ("denied of one user", AuditQuery { outcome: text("denied"), user_name: text("user-7@example.com"), ..none() }),
        (
            "a tool of a server in a project",
            AuditQuery { tool: text("tool-3"), server: text("server-3"), project: text("project-3"), ..none() },
        ),
        (
            "a minute in the middle, limit 1,000",
            AuditQuery { from: at(day), to: at(day + 6_000), limit: Some(1000), ..none() },
        ),
        (
            "one user in an hour in the middle",
            AuditQuery { from: at(day), to: at(day + 360_000), user_name: text("user-7@example.com"), ..none() },
        ),
        ("one session", AuditQuery { session: text("s0001000"), ..none() }),
        (
            "common user from the first position on",
            AuditQuery { user_name: text("user-7@example.com"), position: Some(1), ..none() },
        ),
        ("a user who never was", AuditQuery { user_name: text("nobody@example.com"), ..none() }),
    ] {
        let read = log.figures().looked;
        let (first, count) = timed(log, &query);
        let read = log.figures().looked - read;
        let mut again: Vec<f64> = (0..21).map(|_| timed(log, &query).0).collect();
        again.sort_unstable_by(f64::total_cmp);
        println!("| {name} ({count} found) | {read} | {first:.2} | {:.2} |", again[10]);
    }
}

fn timed(log: &AuditLog, query: &AuditQuery) -> (f64, usize) {
    let begun = Instant::now();
    let found = log.page(query).unwrap().0.len();
    (begun.elapsed().as_secs_f64() * 1e3, found)
}

fn scan(log: &AuditLog, entries: u64) {
    let query = AuditQuery { user_name: Some("rare@example.com".to_owned()), ..AuditQuery::default() };
    let (begun, mut found) = (Instant::now(), 0);
    log.each(&mut |_, entry| {
        found += u64::from(entry.is_some_and(|entry| query.matches(&entry)));
        true
    })
    .unwrap();
    println!(
        "Reading all {entries} entries for the rare user: {:.1} s ({found} found).",
        begun.elapsed().as_secs_f64()
    );
}

fn token_sha(token: u64) -> Digest {
    Digest::sha256(&token.to_le_bytes())
}

fn entry(n: u64) -> AuditEntry {
    // A step that visits everybody in an order of its own.
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let (user, token, server) = (mixed % 200, mixed % 2000, mixed % 40);
    let rare = n % 100_000 == 99_999;
    let actor = |kind, name: String| Actor { kind, uid: Uid::fixed(u128::from(token)), name };
    let owner = if rare { "rare@example.com".to_owned() } else { format!("user-{user}@example.com") };
    let denied = mixed % 200 == 199;
    AuditEntry {
        at: Timestamp::from_millis(1_700_000_000_000 + n * STEP_MS),
        kind: if denied { "refusal" } else { "call" }.to_owned(),
        method: "tools/call".to_owned(),
        actor: Some(actor(ActorKind::McpToken, format!("token-{token}"))),
        owner: Some(actor(ActorKind::User, owner)),
        token_sha: Some(token_sha(token)),
        project: Some(format!("project-{}", mixed % 20)),
        session: Some(format!("s{:07}", n / 50)),
        server: Some(format!("server-{server}")),
        tool: Some(if rare { "rare-tool".to_owned() } else { format!("tool-{}", mixed % 120) }),
        allowed: !denied,
        seq: Seq(n / 1000 + 1),
        via: vec![Seq(3), Seq(17)],
        rule: Some("token".to_owned()),
        outcome: if denied { "denied" } else { "ok" }.to_owned(),
        duration_us: mixed % 100_000,
        request_bytes: 200,
        answer_bytes: mixed % 5_000,
        arguments: Some(Digest::blake3(&n.to_le_bytes())),
        ..AuditEntry::default()
    }
}

fn bytes_in(dir: &Path, all: bool) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let counted = files.filter(|file| all || file.path().extension().is_some_and(|end| end == "segment"));
    counted.map(|file| file.metadata().unwrap().len()).sum()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}
