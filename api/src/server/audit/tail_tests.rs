use axum::response::Response;
use http_body_util::BodyExt as _;
use mcpctl_core::command::Deed;
use mcpctl_core::kinds::Kind;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::tail::{Sources, open_tails, stream};
use super::*;
use crate::plane::AuditEntry;
use crate::server::auth::{Authenticated, by_digest};
use crate::server::clock;
use crate::server::testing::{ADMIN, MEMBER, Tried};

async fn login(tried: &Tried, user: &str) -> Authenticated {
    let digest = tried.login(user).await.digest();
    by_digest(&tried.published.load(), digest, clock::now()).unwrap()
}

fn sources(tried: &Tried) -> Sources {
    let stop = CancellationToken::new();
    Sources { audit: tried.audit.clone(), published: tried.published.clone(), stop }
}

fn called(n: u64) -> AuditEntry {
    AuditEntry {
        kind: "call".to_owned(),
        reason: Some("x".repeat(400)),
        tool: Some(format!("t{n}")),
        ..AuditEntry::default()
    }
}

/// The lines of the next piece; nothing at the end.
async fn piece(response: &mut Response) -> Option<Vec<Value>> {
    let frame = response.body_mut().frame().await?.unwrap().into_data().unwrap();
    Some(
        frame
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect(),
    )
}

async fn rest(response: &mut Response) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some(lines) = piece(response).await {
        all.extend(lines);
    }
    all
}

fn from_position(position: u64) -> AuditQuery {
    AuditQuery { position: Some(position), ..AuditQuery::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_is_cut_and_told_where_to_go_on() {
    let tried = Tried::new().await;
    let admin = login(&tried, ADMIN).await;
    let first = tried.audit.figures().head.0 + 1;
    (0..3_000).for_each(|n| assert!(tried.audit.append(called(n)).is_ok()));
    let mut response = stream(sources(&tried), &admin, from_position(first), true).unwrap();
    while open_tails() > 0 {
        tokio::task::yield_now().await;
    }
    let mut lines = rest(&mut response).await;
    let last = lines.pop().unwrap();
    assert_eq!(last["end"], "slow");
    assert!(!lines.is_empty() && lines.len() < 3_000, "{}", lines.len());
    assert_eq!(last["next"].as_u64().unwrap(), first + lines.len() as u64);
    // Nothing is lost and nothing comes twice.
    let mut response = stream(sources(&tried), &admin, from_position(last["next"].as_u64().unwrap()), false).unwrap();
    let later = rest(&mut response).await;
    assert_eq!(later.last().unwrap()["end"], "level");
    assert_eq!(lines.len() + later.len() - 1, 3_000);
    assert_eq!(later[0]["tool"], format!("t{}", lines.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_entries_are_told_as_they_are_written_until_the_right_ends() {
    let tried = Tried::new().await;
    tried
        .apply(json!({ "kind": "rbac", "name": "auditors", "subjects": [{ "kind": "User", "name": MEMBER }],
            "roleBindings": [{ "role": "run", "action": "audit" }] }))
        .await;
    let member = login(&tried, MEMBER).await;
    let query = AuditQuery { tool: Some("t1".to_owned()), limit: Some(0), ..AuditQuery::default() };
    tried.audit.append(called(1)).unwrap();
    let mut response = stream(sources(&tried), &member, query, true).unwrap();
    let word = piece(&mut response).await.unwrap().remove(0);
    assert_eq!((word["end"].as_str(), word["next"].as_u64()), (None, Some(tried.audit.figures().head.0 + 1)));
    for n in [0, 1, 2] {
        tried.audit.append(called(n)).unwrap();
    }
    let told = loop {
        let line = piece(&mut response).await.unwrap().remove(0);
        if line["tool"].is_string() {
            break line;
        }
    };
    assert_eq!(told["tool"], "t1");
    tried.give(Kind::Rbac, None, "auditors", Deed::Delete { expected: None }).await;
    assert_eq!(rest(&mut response).await.last().unwrap()["end"], "refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_leaves_nothing_behind() {
    let tried = Tried::new().await;
    let admin = login(&tried, ADMIN).await;
    let response = stream(sources(&tried), &admin, AuditQuery::default(), true).unwrap();
    assert_eq!(open_tails(), 1);
    drop(response);
    while open_tails() > 0 {
        tokio::task::yield_now().await;
    }
}
