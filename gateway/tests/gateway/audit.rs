//! Lines of the audit log: complete, before the answer, and without what they must not hold.
use std::sync::atomic::Ordering;

use mcpctl_api::plane::AuditEntry;
use mcpctl_api::upstream::Era;
use mcpctl_core::ids::{Digest, Seq};
use serde_json::json;

use crate::fake_server::FakeServer;
use crate::house::House;

async fn house() -> House {
    House::new(vec![FakeServer::new("a", Era::Modern, &["fail", "hang"]), FakeServer::new("b", Era::Legacy, &[])]).await
}

#[tokio::test]
async fn a_call_leaves_a_line_that_says_all() {
    let house = house().await;
    let answer = house.modern("tools/call", json!({"name": "a__echo", "arguments": {"canary": "argument"}})).await;
    let line = house.plane.lines("call").pop().unwrap();
    assert_eq!(
        (line.method.as_str(), line.server.as_deref(), line.tool.as_deref()),
        ("tools/call", Some("a"), Some("echo"))
    );
    assert_eq!(
        (line.allowed, line.seq, line.via.as_slice(), line.outcome.as_str()),
        (true, Seq(42), &[Seq(7)][..], "ok")
    );
    assert_eq!(line.actor.as_ref().unwrap().name, "token-1");
    assert_eq!(line.arguments, Some(Digest::blake3(br#"{"canary":"argument"}"#)));
    assert_eq!(line.answer_bytes as usize, answer.body.len());
    assert!(line.request_bytes > 100 && line.project.as_deref() == Some("web"));
    assert!(!format!("{line:?}").contains("canary"), "neither arguments nor results are in it");
}

#[tokio::test]
async fn what_came_of_a_call_is_told_apart() {
    let house = house().await;
    house.modern("tools/call", json!({"name": "a__fail"})).await;
    house.modern("tools/call", json!({"name": "a__nothing"})).await;
    house.server("b").dead.store(true, Ordering::SeqCst);
    house.modern("tools/call", json!({"name": "b__echo"})).await;
    house.modern("tools/list", json!({})).await;
    house.session("2025-06-18", json!({})).await;
    let outcomes: Vec<String> = house.plane.lines("call").into_iter().map(|line| line.outcome).collect();
    assert_eq!(outcomes, ["tool-error", "error", "unavailable"]);
    assert_eq!(house.plane.lines("list").len(), 1);
    assert_eq!(house.plane.lines("session").len(), 1);
}

#[tokio::test]
async fn an_answer_that_can_not_be_recorded_is_withheld() {
    let house = house().await;
    house.plane.audit_broken.store(true, Ordering::SeqCst);
    let answer = house.modern("tools/call", json!({"name": "a__echo", "arguments": {"x": "canary"}})).await;
    assert_eq!(answer.error(), (503, -32603));
    assert!(!answer.body.contains("canary") && answer.body.contains("audit"), "{}", answer.body);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_line_too() {
    let house = house().await;
    let running = tokio::spawn(house.modern_request("tools/call", json!({"name": "a__hang"})).send());
    house.until("the call runs", || house.server("a").asked("tools/call").len() == 1).await;
    running.abort();
    house.until("it is recorded", || house.plane.lines("call").iter().any(|line| line.outcome == "cancelled")).await;
    assert_eq!(house.server("a").cancelled.load(Ordering::SeqCst), 1, "and the server was told");
}

#[tokio::test]
async fn malformed_requests_of_known_callers_are_recorded() {
    let house = house().await;
    assert_eq!(house.post(&[], &json!({"jsonrpc": "2.0", "id": 3, "method": 7})).await.error(), (400, -32600));
    let line = house.plane.lines("refusal").pop().unwrap();
    assert_eq!((line.actor.unwrap().name.as_str(), line.allowed, line.outcome.as_str()), ("token-1", false, "error"));
}

#[tokio::test]
async fn a_call_of_a_strict_project_is_on_record_before_its_server_is_called() {
    let house = house().await;
    house.change(|project| project.strict = true);
    assert_eq!(house.modern("tools/call", json!({"name": "a__echo", "arguments": {"x": 1}})).await.status, 200);
    let client = house.session("2025-06-18", json!({})).await;
    assert_eq!(client.ask("tools/call", json!({"name": "b/echo"})).await.status, 200);
    assert_eq!(*house.plane.asked_when_admitted.lock(), [0, 1], "each was admitted before it was called");
    let lines = house.plane.lines("call.admitted");
    let said = |line: &AuditEntry| (line.server.clone().unwrap(), line.tool.clone().unwrap(), line.outcome.clone());
    let of = |server: &str| (server.to_owned(), "echo".to_owned(), "admitted".to_owned());
    assert_eq!(lines.iter().map(said).collect::<Vec<_>>(), [of("a"), of("b")]);
    assert!(lines[0].allowed && lines[0].arguments.is_some() && lines[0].seq == Seq(42));
    assert_eq!(house.plane.lines("call").len(), 2, "and what came of it is recorded as ever");
    house.modern("tools/list", json!({})).await;
    assert_eq!(house.plane.lines("call.admitted").len(), 2, "lists are not");
}

#[tokio::test]
async fn a_call_of_a_strict_project_that_can_not_be_made_durable_is_refused_and_nobody_is_asked() {
    let house = house().await;
    house.change(|project| project.strict = true);
    house.plane.disk_broken.store(true, Ordering::SeqCst);
    let client = house.session("2025-06-18", json!({})).await;
    let modern = house.modern("tools/call", json!({"name": "a__echo"})).await;
    let legacy = client.ask("tools/call", json!({"name": "b/echo"})).await;
    for answer in [modern, legacy] {
        assert_eq!(answer.error(), (503, -32603));
        assert!(answer.body.contains("audit log") && answer.headers.contains_key("retry-after"), "{answer:?}");
    }
    assert!(house.servers.values().all(|server| server.asked("tools/call").is_empty()), "a server was called");
    let outcomes: Vec<String> = house.plane.lines("call").into_iter().map(|line| line.outcome).collect();
    assert_eq!(outcomes, ["unavailable", "unavailable"]);
    house.change(|project| project.strict = false);
    assert_eq!(house.modern("tools/call", json!({"name": "a__echo"})).await.status, 200, "others do not wait for it");
}
