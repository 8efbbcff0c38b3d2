use mcpctl_core::log::journal::{JournalOptions, Sync};

use super::*;
use crate::plane::AuditEntry;

const KEY: [u8; 32] = [7; 32];

fn entry(tool: &str) -> AuditEntry {
    AuditEntry {
        kind: "call".to_owned(),
        method: "tools/call".to_owned(),
        tool: Some(tool.to_owned()),
        allowed: true,
        outcome: "ok".to_owned(),
        arguments: Some(mcpctl_core::ids::Digest::blake3(b"{}")),
        ..AuditEntry::default()
    }
}

fn tools(log: &AuditLog) -> Vec<String> {
    let query = AuditQuery { limit: Some(LIMIT_MAX), ..AuditQuery::default() };
    log.page(&query).unwrap().0.into_iter().map(|item| item.entry.tool.unwrap()).collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !done() {
        assert!(std::time::Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn entries_get_positions_in_order_and_are_there_after_a_new_open() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), KEY).unwrap();
    assert_eq!([1, 2].map(mcpctl_core::ids::Seq), [log.append(entry("a")).unwrap(), log.append(entry("b")).unwrap()]);
    drop(log);
    let log = AuditLog::open(dir.path(), KEY).unwrap();
    assert_eq!(log.append(entry("c")).unwrap().0, 3);
    assert_eq!(tools(&log), ["a", "b", "c"]);
}

#[test]
fn an_entry_is_in_the_file_when_append_returns_whoever_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), KEY).unwrap();
    log.append(entry("a")).unwrap();
    let seen = mcpctl_core::log::journal::verify(dir.path(), &mut |_| Ok(())).unwrap();
    assert_eq!(seen.0, 1);
}

#[test]
fn entries_become_durable_without_anybody_asking() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), KEY).unwrap();
    for _ in 0..3 {
        let position = log.append(entry("a")).unwrap();
        wait_until("the keeper syncs", || log.figures().durable >= position);
    }
}

#[test]
fn digests_of_arguments_are_stored_under_the_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), KEY).unwrap();
    log.append(entry("a")).unwrap();
    let plain = mcpctl_core::ids::Digest::blake3(b"{}");
    let stored = log.page(&AuditQuery::default()).unwrap().0[0].entry.arguments.unwrap();
    assert_eq!(stored.0, *blake3::keyed_hash(&KEY, &plain.0).as_bytes());
    assert_ne!(stored, plain);
}

#[test]
fn a_log_that_broke_refuses_and_takes_entries_again_when_it_works() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), KEY).unwrap();
    log.append(entry("a")).unwrap();
    log.break_for_tests();
    assert!(log.append(entry("lost")).unwrap_err().to_string().contains("a test broke it"));
    wait_until("the keeper opens it again", || log.append(entry("b")).is_ok());
    assert_eq!(tools(&log).first().map(String::as_str), Some("a"));
    assert!(tools(&log).iter().all(|tool| tool != "lost"));
    assert!(log.figures().failed >= 1);
}

#[test]
fn a_missing_folder_refuses_entries_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("audit");
    let options = JournalOptions { segment_bytes: 4096, ahead_bytes: 1024, sync: Sync::Later };
    let log = AuditLog::open_sharded(&folder, KEY, options, 16).unwrap();
    log.append(entry("a")).unwrap();
    let away = dir.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    wait_until("a new segment is needed", || log.append(entry("b")).is_err());
    assert!(log.append(entry("c")).is_err());
    std::fs::rename(&away, &folder).unwrap();
    wait_until("it takes entries", || log.append(entry("d")).is_ok());
    assert_eq!(tools(&log).last().map(String::as_str), Some("d"));
}

#[test]
fn what_a_caller_may_make_as_long_as_it_likes_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), KEY).unwrap();
    log.append(entry(&"ä".repeat(1_000_000))).unwrap();
    let tool = tools(&log).remove(0);
    assert!(tool.len() < 600 && tool.ends_with('…'), "{}", tool.len());
}

#[test]
fn many_threads_append_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes: 64 * 1024, ahead_bytes: 4096, sync: Sync::Later };
    let log = AuditLog::open_sharded(dir.path(), KEY, options, 16).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || (0..200).for_each(|n| assert!(log.append(entry(&format!("{thread}-{n:03}"))).is_ok())));
        }
    });
    let mut seen = tools(&log);
    assert_eq!(seen.len(), 800);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 800);
}
