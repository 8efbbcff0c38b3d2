//! What the evidence of the audit log costs: an append with the tree and without, in rounds of one run; bytes of an entry on
//! disk; and how long a whole log takes to be verified.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mcpctl_api::plane::AuditEntry;
use mcpctl_api::server::audit::AuditLog;
use mcpctl_api::server::evidence::{self, Evidence, LogName, witnesses};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::time::Timestamp;

use super::{folder, median};

/// As often as the control plane signs.
const SIGN_EVERY: Duration = Duration::from_millis(100);
const ROUNDS: u64 = 5;

/// A call as a gateway records it.
fn call(n: u64) -> AuditEntry {
    let actor = |kind, name: &str| {
        Some(Actor { kind, uid: Uid::new(Timestamp::from_millis(n % 100), 7), name: name.to_owned() })
    };
    AuditEntry {
        at: Timestamp::from_millis(1_700_000_000_000 + n),
        kind: "call".to_owned(),
        method: "tools/call".to_owned(),
        actor: actor(ActorKind::McpToken, "ci"),
        owner: actor(ActorKind::User, "alice@example.com"),
        token_sha: Some(Digest([0xab; 32])),
        project: Some("web".to_owned()),
        server: Some("files".to_owned()),
        tool: Some("read_file".to_owned()),
        allowed: true,
        seq: Seq(4_711),
        via: vec![Seq(12), Seq(345)],
        rule: Some("token".to_owned()),
        outcome: "ok".to_owned(),
        duration_us: 1_234,
        request_bytes: 321,
        answer_bytes: 4_321,
        arguments: Some(Digest::blake3(&n.to_be_bytes())),
        ..AuditEntry::default()
    }
}

/// Nanoseconds of one append, over a round.
fn round(audit: &AuditLog, entries: u64) -> f64 {
    let begun = Instant::now();
    for n in 0..entries {
        audit.append(call(n)).unwrap();
    }
    begun.elapsed().as_secs_f64() * 1e9 / entries as f64
}

/// The same while a tree is kept level, as the control plane does.
fn round_with_tree(audit: &Arc<AuditLog>, evidence: &Evidence, entries: u64) -> f64 {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                evidence.catch_up(audit.figures().durable.0).unwrap();
                std::thread::park_timeout(SIGN_EVERY);
            }
        });
        let took = round(audit, entries);
        done.store(true, Ordering::Release);
        following.thread().unpark();
        took
    })
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { bytes_in(&path) } else { path.metadata().unwrap().len() }).sum()
}

/// Prints the table.
pub fn print(entries: u64) {
    let data = folder();
    let config = witnesses::log_keys(data.path()).unwrap().remove(0);
    let audit = Arc::new(AuditLog::open(&data.path().join("audit"), [7; 32]).unwrap());
    let evidence = Evidence::open_audit(data.path(), &config, audit.clone(), None).unwrap();
    let each = entries / (2 * ROUNDS);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(round(&audit, each));
        audit.sync();
        evidence.catch_up(audit.figures().durable.0).unwrap();
        with.push(round_with_tree(&audit, &evidence, each));
    }
    audit.sync();
    let head = audit.figures().durable.0;
    evidence.catch_up(head).unwrap();
    evidence.settle().unwrap();
    let (without, with) = (median(without), median(with));
    drop((evidence, audit));
    let begun = Instant::now();
    let verified = evidence::verify(data.path(), LogName::Audit, true).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!((verified.records, verified.checkpoint), (head, Some(head)));
    let of = |name: &str| bytes_in(&data.path().join(name)) as f64 / head as f64;
    println!("\n## Evidence of the audit log: {head} entries\n");
    println!(
        "| append without a tree | with a tree | ratio | log | tree | verified, deep |\n|---|---|---|---|---|---|"
    );
    println!(
        "| {without:.0} ns | {with:.0} ns | {:.2} | {:.0} B an entry | {:.1} B an entry | {seconds:.1} s |",
        with / without,
        of("audit"),
        of("tlog/audit"),
    );
}
