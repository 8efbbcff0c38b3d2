//! Sessions of the legacy era: how they are opened, bounded and ended; and batches.
use std::time::Duration;

use mcpctl_api::upstream::Era;
use mcpctl_gateway::Options;
use serde_json::json;

use crate::fake_server::FakeServer;
use crate::house::{House, quick};

async fn house(options: Options) -> House {
    House::with(vec![FakeServer::new("a", Era::Legacy, &["ask"])], Default::default(), options).await
}

#[tokio::test]
async fn the_version_is_negotiated() {
    let house = house(quick()).await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(house.session(version, json!({})).await.hello["protocolVersion"], version);
    }
    assert_eq!(house.session("2031-01-01", json!({})).await.hello["protocolVersion"], "2025-11-25");
}

#[tokio::test]
async fn a_session_that_was_ended_is_not_known_any_more() {
    let house = house(quick()).await;
    let client = house.session("2025-06-18", json!({})).await;
    client.ask("tools/list", json!({})).await;
    let headers = [("mcp-session-id", client.id.as_str())];
    assert_eq!(house.send(house.request("DELETE", &headers)).await.status, 204);
    let ended = house.server("a").ended.lock().clone();
    assert_eq!(ended[0].session.as_deref(), Some(client.id.as_str()), "its conversations end with it");
    assert_eq!(client.ask("tools/list", json!({})).await.error(), (404, 404));
    assert_eq!(house.send(house.request("DELETE", &headers)).await.status, 404);
}

#[tokio::test]
async fn an_idle_session_expires_and_one_that_streams_does_not() {
    let house = house(Options { session_idle: Duration::from_millis(150), ..quick() }).await;
    let streaming = house.session("2025-06-18", json!({})).await;
    let stream = streaming.stream().await;
    let idle = house.session("2025-06-18", json!({})).await;
    let ended = || house.server("a").ended.lock().iter().any(|key| key.session.as_deref() == Some(&idle.id));
    house.until("it expires", ended).await;
    assert_eq!(idle.ask("tools/list", json!({})).await.status, 404);
    assert_eq!(streaming.ask("tools/list", json!({})).await.status, 200);
    drop(stream);
}

#[tokio::test]
async fn sessions_are_bounded_and_the_idlest_of_ones_own_makes_room() {
    let house = house(Options { sessions_of_one_max: 2, ..quick() }).await;
    let first = house.session("2025-06-18", json!({})).await;
    let second = house.session("2025-06-18", json!({})).await;
    second.ask("tools/list", json!({})).await;
    let third = house.session("2025-06-18", json!({})).await;
    assert_eq!(first.ask("tools/list", json!({})).await.status, 404);
    assert_eq!(second.ask("tools/list", json!({})).await.status, 200);
    assert_eq!(third.ask("tools/list", json!({})).await.status, 200);
}

#[tokio::test]
async fn two_sessions_never_share_a_conversation_with_a_legacy_server() {
    let house = house(quick()).await;
    let (one, two) = (house.session("2025-06-18", json!({})).await, house.session("2025-06-18", json!({})).await);
    one.ask("tools/call", json!({"name": "echo"})).await;
    two.ask("tools/call", json!({"name": "echo"})).await;
    let asked = house.server("a").asked("tools/call");
    assert_ne!(asked[0].key, asked[1].key);
}

#[tokio::test]
async fn a_legacy_client_whose_session_header_was_lost_is_served_all_the_same() {
    let house = house(quick()).await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}});
    assert!(house.post(&[("mcp-protocol-version", "2025-06-18")], &body).await.json()["result"].is_object());
    assert_eq!(house.post(&[("mcp-session-id", "unknown")], &body).await.status, 404);
}

#[tokio::test]
async fn batches_are_for_the_one_version_that_has_them() {
    let house = house(quick()).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "two", "method": "ping"},
        {"jsonrpc": "2.0", "id": 3},
        {"jsonrpc": "2.0", "id": 4, "method": "initialize", "params": {}},
    ]);
    let old = house.session("2025-03-26", json!({})).await;
    let answers = old.tell(batch.clone()).await.json();
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!("two"), json!(3), json!(4)]);
    assert!(
        answers[0]["result"].is_object() && answers[2]["error"]["code"] == -32600 && answers[3]["error"].is_object()
    );
    assert_eq!(house.plane.lines("call").len(), 1, "each is recorded by itself");
    let new = house.session("2025-06-18", json!({})).await;
    assert_eq!(new.tell(batch).await.error(), (400, -32600));
}
