//! The bridge: the same endpoint over two pipes.
use mcpctl_api::plane::{CallerBearer, Denial};
use mcpctl_api::upstream::Era;
use mcpctl_gateway::serve_stdio;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, split};
use tokio_util::sync::CancellationToken;

use crate::fake_plane::{FakePlane, token};
use crate::fake_server::FakeServer;
use crate::house::{LIMIT, plane_of, until};

struct Pipe {
    plane: std::sync::Arc<FakePlane>,
    server: std::sync::Arc<FakeServer>,
    write: WriteHalf<DuplexStream>,
    read: Lines<BufReader<ReadHalf<DuplexStream>>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Pipe {
    fn new(era: Era) -> Self {
        let (plane, servers) =
            plane_of(vec![FakeServer::new("a", era, &["ask", "hang", "progress"])], Default::default());
        let (near, far) = tokio::io::duplex(1 << 20);
        let (input, output) = split(far);
        let bearer = CallerBearer::new(token(1));
        let of = plane.clone();
        let served =
            tokio::spawn(async move { serve_stdio(of, bearer, "web", input, output, CancellationToken::new()).await });
        let (read, write) = split(near);
        Self { plane, server: servers["a"].clone(), write, read: BufReader::new(read).lines(), served }
    }

    async fn say(&mut self, message: Value) {
        self.write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(LIMIT, self.read.next_line()).await.expect("a line in time").unwrap();
        serde_json::from_str(&line.expect("the pipe is open")).unwrap()
    }

    async fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        self.hear().await
    }

    async fn hello(&mut self) -> Value {
        self.ask(0, "initialize", json!({"protocolVersion": "2025-06-18", "capabilities": {"sampling": {}}, "clientInfo": {"name": "t", "version": "1"}})).await
    }
}

#[tokio::test]
async fn a_legacy_client_is_served_line_by_line() {
    let mut pipe = Pipe::new(Era::Legacy);
    assert_eq!(pipe.hello().await["result"]["protocolVersion"], "2025-06-18");
    pipe.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(pipe.ask(1, "tools/list", json!({})).await["result"]["tools"][0]["name"], "echo");
    pipe.say(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "ask"}})).await;
    let question = pipe.hear().await;
    assert_eq!(question["method"], "sampling/createMessage");
    pipe.say(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"ok": 1}})).await;
    assert_eq!(pipe.hear().await["result"]["content"][0]["text"], r#"{"ok":1}"#);
    pipe.server.say("notifications/tools/list_changed", json!({}));
    assert_eq!(pipe.hear().await["method"], "notifications/tools/list_changed");
    assert_eq!(pipe.plane.lines("call").len(), 1);
}

#[tokio::test]
async fn a_modern_client_needs_no_headers_and_cancels_by_id() {
    let mut pipe = Pipe::new(Era::Modern);
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}, "progressToken": 5});
    assert_eq!(pipe.ask(1, "server/discover", json!({"_meta": meta})).await["result"]["resultType"], "complete");
    let first = pipe.ask(2, "tools/call", json!({"name": "progress", "_meta": meta})).await;
    assert_eq!(first["params"]["progressToken"], 5);
    pipe.hear().await;
    assert!(pipe.hear().await["result"].is_object());
    pipe.say(json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "hang", "_meta": meta}}))
        .await;
    let server = pipe.server.clone();
    until("the call runs", || server.asked("tools/call").len() == 2).await;
    pipe.say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3, "_meta": meta}}))
        .await;
    until("it is cancelled", || server.cancelled.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    let wrong = json!({"io.modelcontextprotocol/protocolVersion": "1900-01-01"});
    assert_eq!(pipe.ask(4, "tools/list", json!({"_meta": wrong})).await["error"]["code"], -32022);
}

#[tokio::test]
async fn the_bridge_ends_with_its_input_and_answers_what_was_asked_before() {
    let mut pipe = Pipe::new(Era::Legacy);
    pipe.hello().await;
    pipe.say(json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "echo"}})).await;
    pipe.write.shutdown().await.unwrap();
    assert_eq!(pipe.hear().await["id"], 9);
    tokio::time::timeout(LIMIT, pipe.served).await.expect("it ends").unwrap().unwrap();
    assert_eq!(pipe.server.ended.lock().len(), 1, "and its conversation with it");
}

#[tokio::test]
async fn a_subscription_ends_with_its_result_when_the_input_ends() {
    let mut pipe = Pipe::new(Era::Modern);
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let first = pipe.ask(1, "subscriptions/listen", json!({"notifications": {}, "_meta": meta})).await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let begun = std::time::Instant::now();
    pipe.write.shutdown().await.unwrap();
    assert_eq!(pipe.hear().await["result"]["resultType"], "complete");
    tokio::time::timeout(LIMIT, pipe.served).await.expect("it ends").unwrap().unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "nobody waits for the drain limit");
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_the_bridge_goes_on() {
    let mut pipe = Pipe::new(Era::Legacy);
    pipe.write.write_all(b"nonsense\n\n").await.unwrap();
    assert_eq!(pipe.hear().await["error"]["code"], -32700);
    pipe.write.write_all(&vec![b'x'; (4 << 20) + 10]).await.unwrap();
    pipe.write.write_all(b"\n").await.unwrap();
    assert_eq!(pipe.hear().await["error"]["code"], -32600);
    assert_eq!(pipe.ask(1, "ping", json!({})).await["result"], json!({}));
}

#[tokio::test]
async fn access_that_was_taken_away_is_told_in_each_answer() {
    let mut pipe = Pipe::new(Era::Legacy);
    pipe.hello().await;
    pipe.plane.revoke(&token(1), Denial::Ended("revoked"));
    pipe.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    let answer = pipe.ask(1, "tools/list", json!({})).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(401)));
}
