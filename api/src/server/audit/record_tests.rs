//! What the form of audit records promises: whole records come back, erased ones tell of nobody, no leaf ever changes.
use mcpctl_core::access::Asked;
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::time::Timestamp;
use mcpctl_tlog::commitment::NONCE_BYTES;

use super::record::*;
use crate::plane::AuditEntry;

const NONCE: [u8; NONCE_BYTES] = [9; NONCE_BYTES];

/// Every field has a text that can be looked for.
fn telling() -> AuditEntry {
    let actor = |name: &str| Some(Actor { kind: ActorKind::User, uid: Uid::fixed(7), name: name.to_owned() });
    let text = |text: &str| Some(text.to_owned());
    AuditEntry {
        id: Some("00112233445566778899aabbccddeeff".to_owned()),
        at: Timestamp::from_millis(1_700_000_000_000),
        kind: "call".to_owned(),
        method: "tools/call".to_owned(),
        actor: actor("alice@example.com"),
        on_behalf_of: actor("robot"),
        owner: actor("bob@example.com"),
        token_sha: Some(Digest([0xab; 32])),
        project: text("web"),
        session: text("s-1"),
        server: text("files"),
        tool: text("read"),
        allowed: true,
        seq: Seq(41),
        via: vec![Seq(3), Seq(17)],
        asked: Some(Asked::Operation { operation: "logs".to_owned() }),
        rule: text("rbac"),
        outcome: "ok".to_owned(),
        reason: text("because"),
        duration_us: 1234,
        request_bytes: 55,
        answer_bytes: 66,
        definition: Some(Digest([8; 32])),
        arguments: Some(Digest([0xcd; 32])),
        answer: Some(Digest([0xef; 32])),
        redacted: vec!["tool: GitHub token".to_owned()],
    }
}

#[test]
fn an_entry_comes_back_whole_and_erased_only_what_names_nobody() {
    let stored = encode(telling(), &NONCE).unwrap();
    let record = AuditRecord::read(&stored).unwrap();
    record.check().unwrap();
    assert_eq!(record.entry().unwrap(), telling());
    let erased = record.erased();
    let kept = AuditEntry {
        at: telling().at,
        kind: "call".to_owned(),
        allowed: true,
        seq: Seq(41),
        via: vec![Seq(3), Seq(17)],
        rule: Some("rbac".to_owned()),
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    };
    assert_eq!(decode(&erased).unwrap(), kept);
    let text = String::from_utf8_lossy(&erased);
    for told in ["alice", "bob", "robot", "web", "files", "read", "because", "tools", "abab", "cdcd", "s-1", "logs"] {
        assert!(!text.contains(told), "{told}: {text}");
    }
}

/// What a caller made up has no place in what stays for ever.
#[test]
fn a_text_that_is_no_word_of_ours_is_erased_too() {
    let strange = AuditEntry {
        kind: "Alice Smith".to_owned(),
        outcome: "alice@example.com".to_owned(),
        rule: Some("x".repeat(33)),
        ..telling()
    };
    let stored = encode(strange.clone(), &NONCE).unwrap();
    let record = AuditRecord::read(&stored).unwrap();
    assert_eq!(record.entry().unwrap(), strange);
    let erased = String::from_utf8_lossy(&record.erased()).into_owned();
    assert!(!erased.contains("Alice") && !erased.contains("alice") && !erased.contains("xxx"), "{erased}");
}

#[test]
fn the_leaf_is_the_same_before_and_after_erasing_in_every_version() {
    let version1 = rmp_serde::to_vec_named(&telling()).unwrap();
    for stored in [encode(telling(), &NONCE).unwrap(), version1] {
        let record = AuditRecord::read(&stored).unwrap();
        assert_eq!(record.entry().unwrap(), telling());
        let erased = record.erased();
        let after = AuditRecord::read(&erased).unwrap();
        assert!(after.is_erased() && !record.is_erased());
        assert_eq!(after.leaf_hash(), record.leaf_hash());
        assert_eq!(after.erased(), erased, "erasing twice is erasing once");
        assert!(after.leaf().is_none_or(|leaf| Some(leaf) == record.leaf()));
        after.entry().unwrap();
    }
}

#[test]
fn no_changed_byte_of_a_record_goes_unnoticed() {
    let stored = encode(telling(), &NONCE).unwrap();
    let leaf = AuditRecord::read(&stored).unwrap().leaf_hash();
    for index in 0..stored.len() {
        let mut changed = stored.clone();
        changed[index] ^= 1;
        let noticed = match AuditRecord::read(&changed) {
            Ok(record) => record.leaf_hash() != leaf || record.check().is_err(),
            Err(_) => true,
        };
        assert!(noticed, "byte {index}");
    }
    for length in [0, 1, 2, 3, 10] {
        assert!(decode(&stored[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn a_later_version_is_named_and_not_guessed_at() {
    let stored = encode(telling(), &NONCE).unwrap();
    let at = stored.windows(5).position(|bytes| bytes == br#""v":2"#).unwrap();
    let mut later = stored;
    later[at + 4] = b'3';
    assert!(matches!(decode(&later), Err(RecordError::Newer(3))));
}

#[test]
fn an_id_is_read_as_the_whole_entry_says_it() {
    let with =
        |id: Option<&str>, kind: &str| AuditEntry { id: id.map(str::to_owned), kind: kind.to_owned(), ..telling() };
    for id in [Some("00112233445566778899aabbccddeeff"), Some(""), Some("with \"quotes\""), Some("é"), None] {
        for kind in ["call", "no word of ours"] {
            let stored = encode(with(id, kind), &NONCE).unwrap();
            assert_eq!(id_of(&stored).as_deref(), id, "{kind}");
        }
    }
    let version1 = rmp_serde::to_vec_named(&telling()).unwrap();
    assert_eq!(id_of(&version1), telling().id);
    let stored = encode(telling(), &NONCE).unwrap();
    assert_eq!(id_of(&AuditRecord::read(&stored).unwrap().erased()), None);
    assert_eq!(id_of(&stored[..10]), None);
}
