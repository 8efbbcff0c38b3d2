//! An HTTP server for tests that answers byte for byte what it is told, however wrong.
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Received {
    pub(in crate::upstream) method: String,
    /// Names in lower case.
    pub(in crate::upstream) headers: Vec<(String, String)>,
    pub(in crate::upstream) body: serde_json::Value,
}

impl Received {
    pub(in crate::upstream) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The JSON-RPC method, or the HTTP one where there is no body.
    pub(in crate::upstream) fn says(&self) -> &str {
        self.body["method"].as_str().unwrap_or(&self.method)
    }
}

/// What is sent back.
pub(in crate::upstream) enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and then the connection is closed without a word.
    BytesAndClose(Vec<u8>),
    /// These bytes, and then nothing until the client closes.
    BytesAndHang(Vec<u8>),
}

/// `200 OK` with a JSON body.
pub(in crate::upstream) fn json(body: &serde_json::Value) -> Answer {
    status("200 OK", "application/json", &body.to_string())
}

/// Any status with a body.
pub(in crate::upstream) fn status(status: &str, media_type: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n");
    Answer::Bytes((head + body).into_bytes())
}

/// The head of an event stream without a stated length, and its beginning.
pub(in crate::upstream) fn events(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{text}").into_bytes()
}

/// The result of a request.
pub(in crate::upstream) fn result(request: &Received, result: serde_json::Value) -> serde_json::Value {
    serde_json::json!({ "jsonrpc": "2.0", "id": request.body["id"], "result": result })
}

type Handler = dyn Fn(&Received) -> Answer + Send + Sync;

/// A listening server.
pub(in crate::upstream) struct FakeHttp {
    pub(in crate::upstream) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    /// Requests received, and hung connections that the client closed.
    seen: watch::Receiver<(usize, usize)>,
    _accepting: AbortOnDropHandle<()>,
}

impl FakeHttp {
    pub(in crate::upstream) async fn start(handler: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (seen_by, seen) = watch::channel((0, 0));
        let (handler, log): (Arc<Handler>, _) = (Arc::new(handler), received.clone());
        let seen_by = Arc::new(seen_by);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, handler.clone(), log.clone(), seen_by.clone()));
            }
        });
        Self { url, received, seen, _accepting: AbortOnDropHandle::new(accepting) }
    }

    pub(in crate::upstream) fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    /// What was said to it, in order.
    pub(in crate::upstream) fn said(&self) -> Vec<String> {
        self.received().iter().map(|request| request.says().to_owned()).collect()
    }

    /// Waits until a request of this JSON-RPC or HTTP method was received.
    pub(in crate::upstream) async fn hears(&self, method: &str) -> Received {
        let mut seen = self.seen.clone();
        let wait = async {
            loop {
                if let Some(found) = self.received().into_iter().find(|request| request.says() == method) {
                    return found;
                }
                seen.changed().await.unwrap();
            }
        };
        let heard = tokio::time::timeout(std::time::Duration::from_secs(20), wait).await;
        heard.unwrap_or_else(|_| panic!("never heard {method}, but {:?}", self.said()))
    }

    /// Waits until the client has closed a connection that hung.
    pub(in crate::upstream) async fn sees_a_hung_connection_close(&self) {
        let mut seen = self.seen.clone();
        let wait = tokio::time::timeout(std::time::Duration::from_secs(20), seen.wait_for(|(_, closed)| *closed > 0));
        wait.await.expect("the connection was never closed").unwrap();
    }
}

async fn serve(
    mut stream: TcpStream,
    handler: Arc<Handler>,
    log: Arc<Mutex<Vec<Received>>>,
    seen: Arc<watch::Sender<(usize, usize)>>,
) {
    while let Some(request) = read(&mut stream).await {
        let answer = handler(&request);
        log.lock().push(request);
        seen.send_modify(|(received, _)| *received += 1);
        match answer {
            Answer::Bytes(bytes) => stream.write_all(&bytes).await.unwrap(),
            Answer::BytesAndClose(bytes) => return stream.write_all(&bytes).await.unwrap(),
            Answer::BytesAndHang(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
                return seen.send_modify(|(_, closed)| *closed += 1);
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_owned())).collect();
    let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
    while bytes.len() < head_end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&bytes[head_end + 4..]).unwrap_or(serde_json::Value::Null);
    Some(Received { method: first.next()?, headers, body })
}
