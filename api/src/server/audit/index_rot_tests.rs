//! Bit rot in the files of the audit index: one bit of each sort of byte is flipped, the file is cut off, emptied, taken away, is
//! another shard's. Every query is answered as if nothing had happened, from the log, and the file is made again, byte for byte.
use std::fs;
use std::path::Path;

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::Uid;
use mcpctl_core::log::journal::{JournalOptions, Sync};
use mcpctl_core::time::Timestamp;

use super::*;
use crate::plane::AuditEntry;

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 64 * 1024, ahead_bytes: 512, sync: Sync::Later };
/// Places of a shard: more than two zones.
const SHARD: u32 = 600;
/// Two whole shards, and some of the next.
const ENTRIES: u64 = 2 * SHARD as u64 + 50;
/// How often the rare tool is called in the first shard: a count that nothing else there has.
const RARE: u64 = 7;

// The layout of a file: `index/file.rs`.
const HEAD: usize = 96;
const TERM: usize = 32;
const ZONE: usize = 16;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n])) as usize
}

/// Where the term of the rare tool stands.
fn rare_term(bytes: &[u8]) -> usize {
    let all = (0..u32_at(bytes, 40)).map(|n| HEAD + n * TERM);
    let rare: Vec<usize> = all.filter(|at| u32_at(bytes, at + 4) as u64 == RARE).collect();
    assert_eq!(rare.len(), 1, "one term comes {RARE} times");
    rare[0]
}

fn zones(bytes: &[u8]) -> usize {
    HEAD + u32_at(bytes, 40) * TERM
}

/// Where the list of the rare tool begins, and where it ends.
fn rare_list(bytes: &[u8]) -> std::ops::Range<usize> {
    let begin = zones(bytes) + u32_at(bytes, 44) * ZONE + u32_at(bytes, rare_term(bytes) + 16);
    begin..begin + u32_at(bytes, rare_term(bytes) + 20)
}

/// Class of bytes, and the place of one.
type Class = (&'static str, fn(&[u8]) -> usize);

const CLASSES: &[Class] = &[
    ("head: magic", |_| 0),
    ("head: format", |_| 8),
    ("head: places of a shard", |_| 12),
    ("head: number of the shard", |_| 16),
    ("head: what binds it to its entries", |_| 30),
    ("head: number of terms", |_| 40),
    ("head: number of zones", |_| 44),
    ("head: check of the terms", |_| 50),
    ("head: check of the zones", |_| 70),
    ("head: its own check", |_| 95),
    ("term: field", |_| HEAD),
    ("term: count", |bytes| rare_term(bytes) + 4),
    ("term: key", |bytes| rare_term(bytes) + 8),
    ("term: place of its list", |bytes| rare_term(bytes) + 16),
    ("term: length of its list", |bytes| rare_term(bytes) + 20),
    ("term: check of its list", |bytes| rare_term(bytes) + 24),
    ("zone: earliest", zones),
    ("zone: latest", |bytes| zones(bytes) + 8),
    ("zone: of entries later", |bytes| zones(bytes) + ZONE),
    ("list: first byte", |bytes| rare_list(bytes).start),
    ("list: last byte", |bytes| rare_list(bytes).end - 1),
];

fn entry(n: u64) -> AuditEntry {
    let rare = n % 80 == 79 && n < 80 * RARE;
    AuditEntry {
        at: Timestamp::from_millis(1_000 + n * 10),
        kind: "call".to_owned(),
        actor: Some(Actor { kind: ActorKind::User, uid: Uid::fixed(1), name: format!("user-{}@example.com", n % 3) }),
        tool: Some(if rare { "rare".to_owned() } else { format!("tool-{}", n % 5) }),
        outcome: "ok".to_owned(),
        allowed: true,
        ..AuditEntry::default()
    }
}

fn queries() -> Vec<AuditQuery> {
    let text = |text: &str| Some(text.to_owned());
    let at = |n: u64| Some(Timestamp::from_millis(1_000 + n * 10));
    let none = AuditQuery::default;
    vec![
        AuditQuery { tool: text("rare"), position: Some(1), ..none() },
        AuditQuery { tool: text("rare"), user_name: text("user-1@example.com"), ..none() },
        AuditQuery { user_name: text("user-2@example.com"), before: Some(500), limit: Some(7), ..none() },
        AuditQuery { from: at(100), to: at(160), limit: Some(1000), ..none() },
        AuditQuery { tool: text("never"), position: Some(1), ..none() },
    ]
}

fn open(dir: &Path) -> AuditLog {
    AuditLog::open_sharded(dir, [4; 32], OPTIONS, SHARD).unwrap()
}

fn answers(log: &AuditLog) -> Vec<Vec<u64>> {
    let positions =
        |query| log.page(query).unwrap().0.into_iter().map(|item| item.position.as_u64().unwrap()).collect();
    queries().iter().map(positions).collect()
}

/// Waits until every whole shard has its file again.
fn settled(log: &AuditLog, what: &str) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        log.sync();
        let index = log.figures().index;
        if index.full == 2 && index.missing + index.waiting == 0 {
            return;
        }
        assert!(std::time::Instant::now() < until, "{what}: {index:?}");
        std::thread::yield_now();
    }
}

#[test]
fn no_flipped_bit_of_an_index_file_leaves_an_entry_out_and_the_file_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for n in 0..ENTRIES {
        log.append(entry(n)).unwrap();
    }
    settled(&log, "made");
    let good = answers(&log);
    assert_eq!(good[0], (0..RARE).map(|n| n * 80 + 80).collect::<Vec<u64>>());
    assert_eq!((good[1].len(), good[2].len(), good[3].len() > 50, good[4].len()), (3, 7, true, 0));
    drop(log);
    let files = [0, 1].map(|shard| dir.path().join(format!("index/{shard:012}.index")));
    let [whole, next] = files.each_ref().map(|file| fs::read(file).unwrap());
    let flipped = CLASSES.iter().map(|(class, place)| {
        let (mut bytes, at) = (whole.clone(), place(&whole));
        bytes[at] ^= 1;
        (*class, Some(bytes))
    });
    let others = [
        ("cut off in its lists", Some(whole[..rare_list(&whole).start + 1].to_vec())),
        ("cut off in its head", Some(whole[..HEAD / 2].to_vec())),
        ("zeros", Some(vec![0; whole.len()])),
        ("empty", Some(Vec::new())),
        ("of the next shard", Some(next.clone())),
        ("taken away", None),
    ];
    for (class, bytes) in flipped.chain(others) {
        match &bytes {
            Some(bytes) => fs::write(&files[0], bytes).unwrap(),
            None => fs::remove_file(&files[0]).unwrap(),
        }
        let log = open(dir.path());
        assert_eq!(answers(&log), good, "{class}: other entries are served");
        settled(&log, class);
        assert!(fs::read(&files[0]).unwrap() == whole, "{class}: it is not made again as it was");
        assert!(fs::read(&files[1]).unwrap() == next, "{class}: the next one was touched");
        assert_eq!(answers(&log), good, "{class}: after it was made again");
    }
}
