use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::time::Timestamp;

use super::sessions::ById;
use super::*;
use crate::audit_wire::{AuditSession, SessionEnd};
use crate::plane::AuditEntry;

const MINUTE: u64 = 60_000;

fn log() -> (tempfile::TempDir, AuditLog) {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), [1; 32]).unwrap();
    (dir, log)
}

fn line(who: u128, session: Option<&str>, minute: u64, method: &str) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_millis(minute * MINUTE),
        kind: match method {
            "initialize" | "DELETE" => "session",
            "tools/list" => "list",
            _ => "call",
        }
        .to_owned(),
        method: method.to_owned(),
        actor: Some(Actor { kind: ActorKind::McpToken, uid: Uid::fixed(who), name: format!("ci{who}") }),
        project: Some("web".to_owned()),
        session: session.map(str::to_owned),
        server: (method == "tools/call").then(|| "time".to_owned()),
        allowed: true,
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    }
}

fn refused(who: u128, session: Option<&str>, minute: u64, outcome: &str) -> AuditEntry {
    AuditEntry {
        allowed: false,
        kind: "refusal".to_owned(),
        outcome: outcome.to_owned(),
        ..line(who, session, minute, "tools/call")
    }
}

fn sessions(log: &AuditLog, query: &AuditQuery, minute: u64) -> (Vec<AuditSession>, Option<String>) {
    log.sessions(query, Timestamp::from_millis(minute * MINUTE)).unwrap()
}

#[test]
fn a_session_tells_who_from_when_to_when_how_much_and_how_it_ended() {
    let (_dir, log) = log();
    for entry in [
        line(1, Some("aaaa"), 1, "initialize"),
        line(2, Some("bbbb"), 1, "initialize"),
        line(1, Some("aaaa"), 2, "tools/list"),
        line(1, Some("aaaa"), 3, "tools/call"),
        refused(1, Some("aaaa"), 4, "denied"),
        line(1, Some("aaaa"), 5, "DELETE"),
        line(2, Some("bbbb"), 6, "tools/call"),
        refused(2, Some("bbbb"), 7, "cut"),
        line(3, Some("cccc"), 8, "initialize"),
        // Somebody else's look at the log is nobody's session.
        AuditEntry { kind: "audit-read".to_owned(), ..line(3, None, 9, "GET /audit/events") },
    ] {
        log.append(entry).unwrap();
    }
    let (all, next) = sessions(&log, &AuditQuery::default(), 10);
    let told: Vec<_> = all.iter().map(|s| (&*s.id, s.calls, s.lists, s.refusals, s.ended, s.partial)).collect();
    assert_eq!(
        told,
        [
            ("cccc", 0, 0, 0, SessionEnd::Open, false),
            ("bbbb", 1, 0, 1, SessionEnd::Cut, false),
            ("aaaa", 1, 1, 1, SessionEnd::Closed, false),
        ]
    );
    assert_eq!(next, None);
    let first = &all[2];
    assert_eq!((first.from.as_millis(), first.to.as_millis()), (MINUTE, 5 * MINUTE));
    assert_eq!((first.first, first.last, &*first.servers[0]), (Seq(1), Seq(6), "time"));
    assert_eq!(sessions(&log, &AuditQuery::default(), 60).0[0].ended, SessionEnd::Idle);
}

#[test]
fn without_sessions_a_run_ends_with_half_an_hour_of_silence() {
    let (_dir, log) = log();
    for minute in [0, 10, 20, 51, 60, 200] {
        log.append(line(1, None, minute, "tools/call")).unwrap();
        log.append(line(2, None, minute, "tools/list")).unwrap();
    }
    let query = AuditQuery { token_name: Some("ci1".to_owned()), ..AuditQuery::default() };
    let (all, _) = sessions(&log, &query, 200);
    let told: Vec<_> = all.iter().map(|s| (&*s.id, s.calls, s.partial, s.ended)).collect();
    assert_eq!(
        told,
        [
            ("run-11", 1, false, SessionEnd::Open),
            ("run-7", 2, false, SessionEnd::Idle),
            ("run-1", 3, false, SessionEnd::Idle)
        ]
    );
}

#[test]
fn pages_of_sessions_hold_each_once() {
    let (_dir, log) = log();
    // Sessions that overlap: each has an entry before all the others, and one after.
    for round in 0..2 {
        for n in 0..9 {
            let method = if round == 0 { "initialize" } else { "tools/call" };
            log.append(line(1, Some(&format!("s{n}")), round * 9 + n, method)).unwrap();
        }
        log.append(line(7, None, round * 9, "tools/call")).unwrap();
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let query = AuditQuery { before, limit: Some(4), ..AuditQuery::default() };
        let (page, next) = sessions(&log, &query, 20);
        assert!(page.iter().all(|session| !session.partial), "{page:?}");
        seen.extend(page.into_iter().map(|session| (session.id, session.calls)));
        let Some(next) = next else { break };
        before = Some(next.parse().unwrap());
    }
    let expected = [("run-10".to_owned(), 2)].into_iter().chain((0..9).rev().map(|n| (format!("s{n}"), 1)));
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

#[test]
fn one_session_is_shown_with_its_entries_and_no_others() {
    let (_dir, log) = log();
    for minute in 0..3 {
        log.append(line(1, Some("aaaa"), minute, "tools/call")).unwrap();
        log.append(line(2, Some("aaaa"), minute, "tools/call")).unwrap();
        log.append(line(1, None, minute, "tools/list")).unwrap();
    }
    let show = |id: &str| {
        let id = ById::parse(id).unwrap();
        log.session(&id, &AuditQuery::default(), Timestamp::from_millis(0)).unwrap().map(|shown| {
            let at = |item: &crate::client::AuditItem| item.position.as_u64().unwrap();
            (shown.session.id.clone(), shown.items.iter().map(at).collect::<Vec<_>>())
        })
    };
    assert_eq!(show("aaaa"), Some(("aaaa".to_owned(), vec![1, 4, 7])));
    assert_eq!(show("run-3"), Some(("run-3".to_owned(), vec![3, 6, 9])));
    assert_eq!(show("run-99"), None);
    assert_eq!(show("zzzz"), None);
    assert_eq!(ById::parse("run-x"), None);
}
