//! Conversations over the transport of 2024-11-05.
use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::upstream::NoSink;
use crate::upstream::testing::fake_http::{Answer, FakeHttp, events};

const LIMIT: Duration = Duration::from_secs(20);

async fn open(url: &str) -> Result<SseSession, UpstreamError> {
    let (server, url): (Arc<str>, Url) = ("fake".into(), url.parse().unwrap());
    let endpoint = Endpoint::new(&server, &url, &BTreeMap::new(), true).await?;
    SseSession::open(server, endpoint, &url, None, LIMIT).await
}

/// Answers POSTs on the stream of the GET, as the transport has it.
async fn server() -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sse", listener.local_addr().unwrap());
    let stream: Arc<tokio::sync::Mutex<Option<TcpStream>>> = Arc::default();
    let posts = Arc::new(Mutex::new(0));
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.spawn(serve(connection, stream.clone(), posts.clone()));
        }
    });
    (url, AbortOnDropHandle::new(task))
}

async fn serve(mut connection: TcpStream, stream: Arc<tokio::sync::Mutex<Option<TcpStream>>>, posts: Arc<Mutex<u32>>) {
    let mut bytes = Vec::new();
    loop {
        let Some(head) = memchr::memmem::find(&bytes, b"\r\n\r\n").map(|at| at + 4) else {
            if connection.read_buf(&mut bytes).await.unwrap() == 0 {
                return;
            }
            continue;
        };
        if bytes.starts_with(b"GET") {
            connection.write_all(&events("event: endpoint\ndata: /post?id=1\n\n")).await.unwrap();
            *stream.lock().await = Some(connection);
            return;
        }
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap().to_lowercase();
        assert!(text.starts_with("post /post?id=1 "), "{text}");
        let length: usize =
            text.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap().parse().unwrap();
        while bytes.len() < head + length {
            connection.read_buf(&mut bytes).await.unwrap();
        }
        let body: serde_json::Value = serde_json::from_slice(&bytes[head..head + length]).unwrap();
        bytes.drain(..head + length);
        connection.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted").await.unwrap();
        *posts.lock() += 1;
        if body["method"] == "hang up" {
            *stream.lock().await = None;
        } else if let Some(id) = body.get("id") {
            let result =
                serde_json::json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "posts": *posts.lock() });
            let answer = serde_json::json!({ "jsonrpc": "2.0", "id": id, "result": result });
            let event = format!("event: message\ndata: {answer}\n\n");
            stream.lock().await.as_mut().unwrap().write_all(event.as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn answers_to_posts_come_on_the_stream() {
    let (url, _server) = server().await;
    let session = open(&url).await.unwrap();
    assert_eq!(session.handshake().version, "2024-11-05");
    for _ in 0..5 {
        let reply = session.request(Call::new("tools/list", None, LIMIT), Arc::new(NoSink)).await;
        assert!(matches!(reply, Ok(Reply::Result(_))), "{reply:?}");
    }
    let gone = session.request(Call::new("hang up", None, LIMIT), Arc::new(NoSink)).await.unwrap_err();
    assert!(matches!(gone, UpstreamError::Gone { .. }), "{gone}");
    assert_eq!(session.closed().await, "it closed its event stream");
    session.close().await;
}

#[tokio::test]
async fn an_endpoint_of_another_origin_is_refused() {
    for endpoint in ["http://example.com/post", "https://127.0.0.1/post", "http://127.0.0.1:1/post"] {
        let text = format!("event: endpoint\ndata: {endpoint}\n\n");
        let fake = FakeHttp::start(move |_| Answer::BytesAndHang(events(&text))).await;
        let error = open(&fake.url).await.err().unwrap().to_string();
        assert!(error.contains("another origin"), "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_begins_otherwise_is_refused() {
    for (text, word) in [("data: hello\n\n", "does not begin"), ("", "closed its event stream")] {
        let fake = FakeHttp::start(move |_| Answer::BytesAndClose(events(text))).await;
        let error = open(&fake.url).await.err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
}
