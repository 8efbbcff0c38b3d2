//! What every request must keep, whoever sends it.
use mcpctl_api::upstream::Era;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake_plane::token;
use crate::fake_server::FakeServer;
use crate::house::{House, LIMIT, quick};

async fn house() -> House {
    House::new(vec![FakeServer::new("a", Era::Modern, &[])]).await
}

fn ping() -> serde_json::Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})
}

#[tokio::test]
async fn what_is_no_token_is_refused_with_a_challenge() {
    let house = house().await;
    for bearer in ["", "Bearer", "Bearer mcpctl_pat_wrong", "Basic abc", "Bearer sk-somebody-elses"] {
        let answer = house.post(&[("authorization", bearer)], &ping()).await;
        assert_eq!(answer.status, 401, "{bearer}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"mcpctl\"");
        assert!(answer.body.contains("mcpctl create mcptoken"), "{}", answer.body);
    }
    let unknown = format!("Bearer {}", token(9));
    let answer = house.post(&[("authorization", &unknown)], &ping()).await;
    assert_eq!((answer.status, answer.headers["www-authenticate"].to_str().unwrap()), (401, "Bearer realm=\"mcpctl\""));
    assert!(answer.body.contains("unknown"), "{}", answer.body);
    assert_eq!(house.plane.lines("refusal").len(), 6);
}

#[tokio::test]
async fn types_sizes_and_methods_are_checked() {
    let house = house().await;
    let post = |content: &str, accept: &str, body: String| {
        house.send(house.request("POST", &[]).header("content-type", content).header("accept", accept).body(body))
    };
    let both = "application/json, text/event-stream";
    assert_eq!(post("text/plain", both, ping().to_string()).await.status, 415);
    assert_eq!(post("application/json", "application/json", ping().to_string()).await.status, 406);
    assert_eq!(post("application/json", "*/*", ping().to_string()).await.status, 200);
    assert_eq!(post("application/json", both, " ".repeat((4 << 20) + 1)).await.status, 413);
    assert_eq!(house.send(house.request("PUT", &[])).await.status, 405);
    assert_eq!(post("application/json", both, "{\"jsonrpc\":".into()).await.error(), (400, -32700));
    assert_eq!(post("application/json", both, "[]".into()).await.error(), (400, -32600));
}

#[tokio::test]
async fn a_chunked_body_can_not_get_around_the_limit() {
    let house = house().await;
    let mut stream = TcpStream::connect(&house.address).await.unwrap();
    let head = format!(
        "POST /projects/web/mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        token(1)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut answer = String::new();
    for _ in 0..80 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let _ = tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") || answer.is_empty(), "{answer}");
    assert!(house.plane.lines("refusal").iter().any(|line| line.reason.as_deref().unwrap().contains("larger")));
}

#[tokio::test]
async fn foreign_names_and_pages_are_refused() {
    let house = house().await;
    assert_eq!(house.post(&[("host", "evil.example")], &ping()).await.status, 403);
    assert_eq!(house.post(&[("origin", "https://evil.example")], &ping()).await.status, 403);
    assert_eq!(house.post(&[("origin", "http://localhost:6274")], &ping()).await.status, 200);
    let health = house.http.get(format!("http://{}/healthz", house.address)).header("host", "evil.example");
    assert_eq!(health.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn who_looks_for_oauth_is_told_how_it_is_done_here() {
    let house = house().await;
    for path in ["/.well-known/oauth-protected-resource/projects/web/mcp", "/register", "/elsewhere"] {
        let answer = house.send(house.http.get(format!("http://{}{path}", house.address))).await;
        assert_eq!(answer.status, 404);
        assert!(answer.json()["error_description"].as_str().unwrap().contains("mcpctl"), "{}", answer.body);
    }
}

#[tokio::test]
async fn health_and_metrics_need_no_token() {
    let house = house().await;
    house.modern("tools/call", json!({"name": "echo"})).await;
    let health = house.send(house.http.get(format!("http://{}/healthz", house.address))).await;
    assert_eq!((health.status, health.headers["mcpctl-revision"].to_str().unwrap()), (200, "42"));
    let metrics = house.send(house.http.get(format!("http://{}/metrics", house.address))).await;
    assert!(
        metrics.body.contains("mcpctl_gateway_requests_total{method=\"tools/call\",outcome=\"ok\"} 1"),
        "{}",
        metrics.body
    );
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let options = mcpctl_gateway::Options { header_read: std::time::Duration::from_millis(100), ..quick() };
    let house = House::with(vec![FakeServer::new("a", Era::Modern, &[])], Default::default(), options).await;
    let mut stream = TcpStream::connect(&house.address).await.unwrap();
    stream.write_all(b"POST /projects/web/mcp HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    assert!(read.is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
}

#[tokio::test]
async fn a_gateway_that_is_stopped_lets_calls_finish_and_ends_streams() {
    let house = House::new(vec![FakeServer::new("a", Era::Legacy, &["ask"])]).await;
    let client = house.session("2025-06-18", json!({"sampling": {}})).await;
    let mut stream = client.stream().await;
    let mut call = crate::house::Stream::new(client.asking("tools/call", json!({"name": "ask"})).send().await.unwrap());
    let question = call.next().await.unwrap();
    house.stop.cancel();
    assert_eq!(stream.next().await, None, "the stream of the session ends");
    let late = TcpStream::connect(&house.address).await;
    drop(late);
    // The call is still there: its question can't be answered over a new connection any more, so its client goes.
    assert_eq!(question["method"], "sampling/createMessage");
    drop(call);
    tokio::time::timeout(LIMIT, house.served).await.expect("it stops within the drain limit").unwrap().unwrap();
    assert!(house.plane.audit.lock().iter().any(|line| line.method == "tools/call"), "the call was recorded");
}
