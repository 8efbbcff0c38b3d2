//! An agent that opens a stream and does not read it.
use std::time::Duration;

use mcpctl_api::plane::Denial;
use mcpctl_api::upstream::Era;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fake_plane::token;
use crate::fake_server::FakeServer;
use crate::house::House;

/// More than the system keeps for a connection, in messages of this size.
const MESSAGES: usize = 400;
const MESSAGE_BYTES: usize = 64 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_does_not_read_is_cut_in_time_and_nobody_waits_for_it() {
    let house = House::new(vec![FakeServer::new("b", Era::Legacy, &[])]).await;
    let server = house.server("b");
    let client = house.session("2025-06-18", json!({})).await;
    let mut healthy = client.stream().await;

    let other = format!("Bearer {}", token(2));
    let params =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "slow", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let hello = house.post(&[("authorization", &other)], &hello).await;
    let session = hello.headers["mcp-session-id"].to_str().unwrap();
    let mut slow = TcpStream::connect(&house.address).await.unwrap();
    let head = format!(
        "GET /projects/web/mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: {other}\r\nmcp-session-id: {session}\r\naccept: text/event-stream\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    slow.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");

    house.until("both are listened for", || server.sessions.lock().len() == 2).await;
    let text = "x".repeat(MESSAGE_BYTES);
    for _ in 0..MESSAGES {
        server.say("notifications/message", json!({"level": "error", "data": text}));
        healthy.next().await.expect("whoever reads is told");
    }
    house.plane.revoke(&token(2), Denial::Ended("revoked"));
    assert!(house.plane.emptied(&token(2), Duration::from_secs(1)).await, "its stream goes on after its access ended");
    house.until("it is recorded", || house.plane.lines("session.cut").len() == 1).await;
    assert_eq!(house.plane.lines("session.cut")[0].method, "GET");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.len() < MESSAGES * MESSAGE_BYTES, "{} bytes of the stream were kept", rest.len());
    server.say("notifications/message", json!({"level": "error", "data": "go on"}));
    assert_eq!(healthy.next().await.unwrap()["params"]["data"], "go on");
}
