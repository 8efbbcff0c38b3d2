use mcpctl_core::access::{Asked, Rule, Verdict};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::time::Timestamp;

use super::*;
use crate::plane::AuditEntry;

fn actor(kind: ActorKind, name: &str) -> Actor {
    Actor { kind, uid: Uid::fixed(1), name: name.to_owned() }
}

fn log_of(count: u64) -> (tempfile::TempDir, AuditLog) {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), [1; 32]).unwrap();
    for n in 0..count {
        log.append(AuditEntry { tool: Some(format!("t{}", n % 10)), at: Timestamp::from_millis(n), ..one() }).unwrap();
    }
    (dir, log)
}

fn one() -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_millis(50),
        kind: "call".to_owned(),
        actor: Some(actor(ActorKind::McpToken, "ci")),
        owner: Some(actor(ActorKind::User, "alice@example.com")),
        token_sha: Some(Digest([0xab; 32])),
        project: Some("web".to_owned()),
        server: Some("everything".to_owned()),
        tool: Some("echo".to_owned()),
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    }
}

fn query(text: &str) -> AuditQuery {
    let fields = url::form_urlencoded::parse(text.as_bytes()).map(|(k, v)| {
        let number = matches!(&*k, "position" | "limit");
        (k.into_owned(), if number { serde_json::json!(v.parse::<u64>().unwrap()) } else { serde_json::json!(v) })
    });
    serde_json::from_value(serde_json::Value::Object(fields.collect())).unwrap()
}

#[test]
fn each_filter_lets_through_what_it_names_and_nothing_else() {
    for (good, bad) in [
        ("project=web", "project=we"),
        ("kind=call", "kind=login"),
        ("userName=alice@example.com", "userName=bob@example.com"),
        ("tokenName=ci", "tokenName=alice@example.com"),
        ("tokenSha=ABAB", "tokenSha=abc"),
        ("server=everything", "server="),
        ("tool=echo", "tool=ECHO"),
        ("outcome=ok", "outcome=denied"),
        ("from=1970-01-01T00:00:00.050Z", "from=1970-01-01T00:00:00.051Z"),
        ("to=1970-01-01T00:00:00.050Z", "to=1970-01-01T00:00:00.049Z"),
    ] {
        assert!(query(good).matches(&one()), "{good}");
        assert!(!query(bad).matches(&one()), "{bad}");
    }
}

#[test]
fn a_person_is_found_as_actor_and_as_owner() {
    let person = AuditEntry { actor: Some(actor(ActorKind::User, "bob@example.com")), owner: None, ..one() };
    assert!(query("userName=bob@example.com").matches(&person));
    assert!(!query("tokenName=bob@example.com").matches(&person));
}

#[test]
fn without_a_position_the_newest_come_with_the_newest_last() {
    let (_dir, log) = log_of(20_000);
    let (items, next) = log.page(&query("tool=t3&limit=3")).unwrap();
    let positions: Vec<u64> = items.iter().map(|item| item.position.as_u64().unwrap()).collect();
    assert_eq!((positions, next), (vec![19_974, 19_984, 19_994], None));
    let (all, _) = log.page(&query("to=1970-01-01T00:00:00.004Z")).unwrap();
    assert_eq!(all.len(), 5, "found behind more than one step");
}

#[test]
fn pages_from_a_position_hold_everything_once() {
    let (_dir, log) = log_of(2_500);
    let (mut position, mut seen) = (Some("1".to_owned()), Vec::new());
    while let Some(from) = position {
        let page = AuditQuery { position: Some(from.parse().unwrap()), limit: Some(5_000), ..AuditQuery::default() };
        let (items, next) = log.page(&page).unwrap();
        assert!(items.len() <= LIMIT_MAX);
        seen.extend(items.into_iter().map(|item| item.position.as_u64().unwrap()));
        position = next;
    }
    assert!(seen.into_iter().eq(1..=2_500));
}

#[test]
fn an_empty_log_has_an_empty_page() {
    let (_dir, log) = log_of(0);
    assert!(log.page(&AuditQuery::default()).unwrap().0.is_empty());
    assert!(log.page(&query("position=7")).unwrap().0.is_empty());
}

#[test]
fn control_characters_are_escaped_on_the_way_out() {
    let (_dir, log) = log_of(0);
    let evil = AuditEntry { tool: Some("a\u{1b}[2J\n\u{202e}b\u{85}".to_owned()), ..one() };
    log.append(evil).unwrap();
    let item = log.page(&AuditQuery::default()).unwrap().0.remove(0);
    assert_eq!(item.entry.tool.as_deref(), Some("a\\u{001b}[2J\\u{000a}\\u{202e}b\\u{0085}"));
}

#[test]
fn a_look_at_the_log_is_an_entry_that_says_what_was_looked_for() {
    let reader = actor(ActorKind::User, "eve@example.com");
    let verdict = Verdict { allowed: false, rule: Rule::NoGrant, at: Seq(9), via: Vec::new() };
    let entry =
        read_entry(&reader, "GET /audit/events", &query("tokenName=ci&limit=5"), &verdict, Timestamp::from_millis(1));
    assert_eq!((&*entry.kind, entry.allowed, &*entry.outcome), ("audit-read", false, "denied"));
    assert_eq!((entry.seq, entry.rule.as_deref()), (Seq(9), Some("no-grant")));
    assert_eq!(entry.asked, Some(Asked::Operation { operation: "audit".to_owned() }));
    assert_eq!(entry.reason.as_deref(), Some(r#"{"tokenName":"ci","limit":5}"#));
    assert_eq!(entry.actor, Some(reader));
}

#[test]
fn unknown_filters_are_refused() {
    assert!(serde_json::from_str::<AuditQuery>(r#"{"tokenname":"x"}"#).is_err());
}
