use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::log::journal::{JournalOptions, Sync};
use mcpctl_core::time::Timestamp;

use super::erase::{Erasure, Subject};
use super::*;
use crate::plane::AuditEntry;

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 8 * 1024, ahead_bytes: 512, sync: Sync::Later };
const ANN: &str = "ann@example.com";

fn open(dir: &std::path::Path) -> AuditLog {
    AuditLog::open_sharded(dir, [4; 32], OPTIONS, 64).unwrap()
}

fn actor(kind: ActorKind, name: &str) -> Actor {
    Actor { kind, uid: Uid::fixed(name.len() as u128 + 100), name: name.to_owned() }
}

fn by(name: &str) -> AuditEntry {
    AuditEntry {
        kind: "call".to_owned(),
        method: "tools/call".to_owned(),
        actor: Some(actor(ActorKind::User, name)),
        tool: Some("echo".to_owned()),
        allowed: true,
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    }
}

/// Every seventh entry is about ann, in one way or another.
fn filled(log: &AuditLog) -> Vec<u64> {
    let ways = [
        by(ANN),
        AuditEntry {
            owner: Some(actor(ActorKind::User, ANN)),
            actor: Some(actor(ActorKind::McpToken, "ci")),
            ..by("x@y")
        },
        AuditEntry { reason: Some(format!("wrong password for \"{ANN}\".")), ..by("bob@example.com") },
        AuditEntry { tool: Some("mail/ANN@example.com".to_owned()), ..by("bob@example.com") },
    ];
    let mut about = Vec::new();
    for n in 0..350usize {
        let entry = if n % 7 == 0 { ways[n / 7 % ways.len()].clone() } else { by("joann@example.com") };
        let position = log.append(entry).unwrap();
        if n % 7 == 0 {
            about.push(position.0);
        }
    }
    about
}

fn erasure() -> Erasure {
    Erasure {
        subject: Subject { uid: Some(Uid::fixed(777)), ..Subject::parse("User:ann@example.com").unwrap() },
        by: actor(ActorKind::User, "admin@example.com"),
        on_behalf_of: None,
        seq: Seq(5),
        via: vec![Seq(2)],
        rule: "rbac".to_owned(),
        at: Timestamp::from_millis(9),
    }
}

fn leaves(log: &AuditLog, count: u64) -> Vec<mcpctl_tlog::Hash> {
    let mut all = Vec::new();
    log.reader()
        .scan(Seq(1), &mut |position, bytes| {
            all.push(AuditRecord::read(bytes).unwrap().leaf_hash());
            position.0 < count
        })
        .unwrap();
    all
}

/// Whether a text stands in any file of a folder.
fn stands_in(dir: &std::path::Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().map(Result::unwrap).any(|file| {
        let path = file.path();
        if path.is_dir() {
            return stands_in(&path, text);
        }
        // What a thread of the log writes beside may have got its name meanwhile.
        let bytes = std::fs::read(path).unwrap_or_default().to_ascii_lowercase();
        memchr::memmem::find_iter(&bytes, text).any(|at| at == 0 || !bytes[at - 1].is_ascii_alphabetic())
    })
}

fn checked(log: &AuditLog, about: &[u64], before: &[mcpctl_tlog::Hash], dir: &std::path::Path) {
    assert_eq!(leaves(log, 350)[..350], before[..350], "every leaf is what it was");
    let mut erased = Vec::new();
    log.reader()
        .scan(Seq(1), &mut |position, bytes| {
            if AuditRecord::read(bytes).unwrap().is_erased() {
                erased.push(position.0);
            }
            true
        })
        .unwrap();
    assert_eq!(erased, about);
    assert!(!stands_in(dir, ANN));
    let query =
        |name: &str| AuditQuery { user_name: Some(name.to_owned()), limit: Some(1000), ..AuditQuery::default() };
    assert_eq!(log.page(&query(ANN)).unwrap().0.len(), 0);
    assert_eq!(log.page(&query("joann@example.com")).unwrap().0.len(), 300);
    let all = AuditQuery { position: Some(1), limit: Some(1000), ..AuditQuery::default() };
    let items = log.page(&all).unwrap().0;
    let last = &items.last().unwrap().entry;
    assert_eq!((&*last.kind, &*last.outcome, last.seq), ("audit-erase", "ok", Seq(5)));
    assert!(last.reason.as_ref().unwrap().contains(&Uid::fixed(777).to_string()), "{:?}", last.reason);
    assert!(items[0].entry.actor.is_none() && items[0].entry.kind == "call" && items[0].entry.allowed);
}

#[test]
fn what_is_said_of_a_subject_is_gone_from_every_file_and_every_leaf_stays() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let about = filled(&log);
    let before = leaves(&log, 350);
    let would = log.would_erase(&erasure().subject).unwrap();
    assert_eq!((would.entries, would.first, would.last, would.position), (50, Some(Seq(1)), Some(Seq(344)), None));
    assert!(stands_in(dir.path(), ANN), "looking changes nothing");
    let done = log.erase(&erasure()).unwrap();
    assert_eq!((done.entries, done.position), (50, Some(Seq(351))));
    checked(&log, &about, &before, dir.path());
    assert_eq!(log.erase(&erasure()).unwrap().entries, 0, "once is enough, and the entry about it stays");
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.finish_erasure().unwrap(), None);
    assert_eq!(log.figures().head, Seq(352));
}

#[test]
fn an_erasure_that_is_killed_anywhere_is_finished_by_the_next_start() {
    for steps in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let about = filled(&log);
        let before = leaves(&log, 350);
        log.stop_for_tests(steps);
        let killed = log.erase(&erasure()).is_err();
        drop(log);
        let log = open(dir.path());
        let finished = log.finish_erasure().unwrap();
        assert_eq!(finished.is_some(), killed, "after {steps} steps");
        assert!(killed || steps > 5, "the steps are those of the segments");
        checked(&log, &about, &before, dir.path());
    }
}

#[test]
fn a_subject_is_nobody_whose_name_only_looks_alike() {
    let subject = |text: &str| Subject::parse(text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append(AuditEntry { tool: Some("ci".to_owned()), ..by("joann@example.com") }).unwrap();
    log.append(AuditEntry { tool: Some("ann@example.community".to_owned()), ..by("x@y") }).unwrap();
    log.append(AuditEntry { actor: Some(actor(ActorKind::ServiceAccount, "ci")), ..by("x@y") }).unwrap();
    log.append(AuditEntry { token_sha: Some(Digest([7; 32])), ..by("x@y") }).unwrap();
    let count = |text: &str| log.would_erase(&subject(text)).unwrap().entries;
    assert_eq!(count("User:ann@example.com"), 0);
    assert_eq!(count("User:JOANN@example.com"), 1);
    assert_eq!(count("ServiceAccount:ci"), 1);
    assert_eq!(count(&format!("McpToken:{}", Digest([7; 32]))), 1);
    assert_eq!(count(&format!("McpToken:{}", Digest([8; 32]))), 0);
    for bad in ["ann@example.com", "User:ann", "User:", "McpToken:ci", "Group:x", "User:a\"b@c.d"] {
        assert!(Subject::parse(bad).is_err(), "{bad}");
    }
}
