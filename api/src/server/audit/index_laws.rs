//! The law of the index: it answers what reading everything answers, whatever became of its files, at any moment.
use std::path::Path;

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::log::journal::{JournalOptions, Sync};
use mcpctl_core::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::plane::AuditEntry;

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 8 * 1024, ahead_bytes: 512, sync: Sync::Later };
/// Not the step of anything else, so that the ends of shards, segments and zones fall apart.
const SHARD: u32 = 300;

fn open(dir: &Path) -> AuditLog {
    AuditLog::open_sharded(dir, [4; 32], OPTIONS, SHARD).unwrap()
}

fn wait_for_index(log: &AuditLog) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let figures = log.figures();
        if figures.index.missing == 0 && figures.index.waiting == 0 && figures.durable == figures.head {
            return;
        }
        assert!(std::time::Instant::now() < until, "{figures:?}");
        log.sync();
        std::thread::yield_now();
    }
}

fn some(text: &'static str) -> impl Strategy<Value = Option<String>> {
    let words = text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    prop::option::weighted(0.8, prop::sample::select(words))
}

fn entry() -> impl Strategy<Value = AuditEntry> {
    let names = (some("a@x b@x c@x"), some("ci cd"), some("a@x b@x"), 0u8..4, some("web api"));
    let call = (some("s1 s2 s3"), some("everything time"), some("echo add now rare"), some("ok denied tool-error"));
    (names, call, 0u64..5_000, any::<bool>()).prop_map(|((user, token, owner, sha, project), call, at, is_token)| {
        let (session, server, tool, outcome) = call;
        let actor = |kind, name: String| Actor { kind, uid: Uid::fixed(1), name };
        let acts = if is_token {
            token.map(|name| actor(ActorKind::McpToken, name))
        } else {
            user.map(|name| actor(ActorKind::User, name))
        };
        AuditEntry {
            at: Timestamp::from_millis(at),
            kind: if session.is_some() { "call" } else { "refusal" }.to_owned(),
            actor: acts,
            owner: owner.map(|name| actor(ActorKind::User, name)),
            token_sha: is_token.then_some(Digest([0xa0 | sha; 32])),
            outcome: outcome.unwrap_or_default(),
            project,
            session,
            server,
            tool,
            ..AuditEntry::default()
        }
    })
}

fn moment() -> impl Strategy<Value = Option<Timestamp>> {
    prop::option::weighted(0.3, (0u64..5_000).prop_map(Timestamp::from_millis))
}

fn query() -> impl Strategy<Value = AuditQuery> {
    let rarely = |text| prop::option::weighted(0.25, some(text)).prop_map(Option::flatten);
    let who =
        (rarely("a@x b@x nobody@x"), rarely("ci cd no"), rarely("web api "), rarely("a a0 A1 a2a2a2a2a2a2a2a2a2 a4 x"));
    let what =
        (rarely("s1 s2 no"), rarely("everything no"), rarely("echo rare no"), rarely("ok denied "), rarely("call"));
    let places = (prop::option::weighted(0.3, 0u64..1500), prop::option::weighted(0.3, 0u64..1500));
    let limit = prop::option::of(prop_oneof![Just(1usize), Just(7), Just(100), Just(1000)]);
    (who, what, moment(), moment(), places, limit).prop_map(|(who, what, from, to, (position, before), limit)| {
        let (user_name, token_name, project, token_sha) = who;
        let (session, server, tool, outcome, kind) = what;
        let before = before.filter(|_| position.is_none());
        AuditQuery {
            project,
            kind,
            user_name,
            token_name,
            token_sha,
            session,
            server,
            tool,
            outcome,
            from,
            to,
            position,
            before,
            limit,
        }
    })
}

/// Reads everything.
fn scanned(log: &AuditLog, query: &AuditQuery) -> Vec<u64> {
    let mut all = Vec::new();
    log.each(&mut |position, entry| {
        all.extend(entry.filter(|entry| query.matches(entry)).map(|_| position.0));
        true
    })
    .unwrap();
    let limit = query.limit.unwrap_or(100);
    match query.position {
        Some(from) => all.into_iter().filter(|position| *position >= from).take(limit).collect(),
        None => {
            all.retain(|position| query.before.is_none_or(|before| *position < before));
            all.split_off(all.len().saturating_sub(limit))
        }
    }
}

fn indexed(log: &AuditLog, query: &AuditQuery) -> Vec<u64> {
    log.page(query).unwrap().0.into_iter().map(|item| item.position.as_u64().unwrap()).collect()
}

fn same(log: &AuditLog, queries: &[AuditQuery]) -> Result<(), TestCaseError> {
    for query in queries {
        prop_assert_eq!(indexed(log, query), scanned(log, query), "{:?}", query);
    }
    Ok(())
}

/// What becomes of a file of the index while nobody looks.
#[derive(Clone, Debug)]
enum Harm {
    Gone,
    CutAt(usize),
    Flipped(usize),
    OfAnother,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        Just(Harm::Gone),
        any::<usize>().prop_map(Harm::CutAt),
        any::<usize>().prop_map(Harm::Flipped),
        Just(Harm::OfAnother)
    ]
}

fn index_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(files) = std::fs::read_dir(dir.join("index")) else { return Vec::new() };
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

impl Harm {
    fn happens(&self, dir: &Path, which: usize) {
        let files = index_files(dir);
        if files.is_empty() {
            return;
        }
        let path = &files[which % files.len()];
        let mut bytes = std::fs::read(path).unwrap();
        match self {
            Self::Gone => return std::fs::remove_file(path).unwrap(),
            Self::CutAt(at) => bytes.truncate(at % bytes.len()),
            Self::Flipped(at) => {
                let at = at % bytes.len();
                bytes[at] ^= 1 << (at % 8);
            }
            Self::OfAnother => bytes = std::fs::read(&files[(which + 1) % files.len()]).unwrap(),
        }
        std::fs::write(path, bytes).unwrap();
    }
}

/// What a kill leaves: the files as they are in this moment.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("index")).unwrap();
    for (from, to) in [(dir.to_owned(), copy.path().to_owned()), (dir.join("index"), copy.path().join("index"))] {
        let Ok(files) = std::fs::read_dir(from) else { continue };
        for file in files.map(Result::unwrap).filter(|file| file.file_type().unwrap().is_file()) {
            // One that is being renamed may be gone again.
            let _ = std::fs::copy(file.path(), to.join(file.file_name()));
        }
    }
    copy
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("MCPCTL_CASES").map_or(8, |n| n.parse().unwrap())))]

    #[test]
    fn the_index_answers_what_reading_everything_answers(
        first in prop::collection::vec(entry(), 0..1200),
        then in prop::collection::vec(entry(), 0..400),
        queries in prop::collection::vec(query(), 12),
        harms in prop::collection::vec((harm(), any::<usize>()), 0..4),
        settled in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        for entry in first {
            log.append(entry).unwrap();
        }
        if settled {
            wait_for_index(&log);
        }
        same(&log, &queries)?;
        for (harm, which) in &harms {
            // Beneath a log that has the files open, and has looked at them.
            harm.happens(dir.path(), *which);
        }
        same(&log, &queries)?;
        let copy = killed(dir.path());
        for (harm, which) in harms.iter().rev() {
            harm.happens(copy.path(), *which);
        }
        drop(log);
        let log = open(copy.path());
        same(&log, &queries)?;
        for entry in then {
            log.append(entry).unwrap();
        }
        same(&log, &queries)?;
        wait_for_index(&log);
        same(&log, &queries)?;
    }
}

fn called(tool: &str) -> AuditEntry {
    AuditEntry {
        kind: "call".to_owned(),
        tool: Some(tool.to_owned()),
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    }
}

#[test]
fn what_the_index_does_not_name_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for n in 0..5_000 {
        log.append(called(if n == 700 { "rare" } else { "common" })).unwrap();
    }
    wait_for_index(&log);
    let before = log.figures().looked;
    let query = AuditQuery { tool: Some("rare".to_owned()), ..AuditQuery::default() };
    assert_eq!(indexed(&log, &query), [701]);
    assert_eq!(log.figures().looked - before, 1);
}

#[test]
fn a_log_without_any_index_is_read_through_and_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for n in 0..1_000 {
        log.append(called(&format!("t{n}"))).unwrap();
    }
    wait_for_index(&log);
    drop(log);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let log = open(dir.path());
    let query = AuditQuery { tool: Some("t5".to_owned()), ..AuditQuery::default() };
    assert_eq!(indexed(&log, &query), [6]);
    wait_for_index(&log);
    assert_eq!(index_files(dir.path()).len(), 3);
}

/// The journal of a copy may have been cut and gone on otherwise: the files of the index that went with it are of entries
/// that are not there any more.
#[test]
fn a_file_of_entries_that_were_replaced_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for _ in 0..400 {
        log.append(called("before")).unwrap();
    }
    wait_for_index(&log);
    drop(log);
    let index = std::fs::read(&index_files(dir.path())[0]).unwrap();
    let other = tempfile::tempdir().unwrap();
    let log = open(other.path());
    for _ in 0..400 {
        log.append(called("after")).unwrap();
    }
    wait_for_index(&log);
    drop(log);
    std::fs::write(&index_files(other.path())[0], index).unwrap();
    let log = open(other.path());
    let query = |tool: &str| AuditQuery { tool: Some(tool.to_owned()), position: Some(1), ..AuditQuery::default() };
    assert_eq!(indexed(&log, &query("before")), Vec::<u64>::new());
    assert_eq!(indexed(&log, &query("after")).len(), 100);
    assert_eq!(log.figures().head, Seq(400));
}
