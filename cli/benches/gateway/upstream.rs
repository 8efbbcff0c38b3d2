//! The upstream of the benchmark: as little work as an MCP server can do, in a process of its own, for both eras.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::LISTED;
use crate::load::{find, header};

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<String>,
    #[serde(rename = "protocolVersion")]
    version: Option<String>,
}

/// Listens on a port that the system chooses, prints its address, serves until it is killed.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let small: &'static str = result_of(100).leak();
        let large: &'static str = result_of(64 * 1024).leak();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(stream, small, large));
        }
    });
}

/// A tool's result whose text has so many bytes.
fn result_of(bytes: usize) -> String {
    let text = "0123456789abcdef".repeat(bytes.div_ceil(16));
    json!({"content": [{"type": "text", "text": text[..bytes]}], "resultType": "complete"}).to_string()
}

async fn connection(mut stream: TcpStream, small: &str, large: &str) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let Some((body, end)) = request_in(&buffer) else {
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        let reply = match buffer.split(|byte| *byte == b' ').next() {
            Some(b"POST") => reply(path(&buffer), &buffer[body..end], small, large),
            Some(b"DELETE") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ => refused(),
        };
        if stream.write_all(&reply).await.is_err() {
            return;
        }
        buffer.drain(..end);
    }
}

/// Where the body of the first whole request begins and ends.
fn request_in(buffer: &[u8]) -> Option<(usize, usize)> {
    let body = find(buffer, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..body]).ok()?;
    let length = header(head, "content-length").map_or(0, |l| l.parse().unwrap_or(0));
    (buffer.len() >= body + length).then_some((body, body + length))
}

fn path(request: &[u8]) -> &str {
    request.split(|byte| *byte == b' ').nth(1).and_then(|path| std::str::from_utf8(path).ok()).unwrap_or_default()
}

fn refused() -> Vec<u8> {
    b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n".to_vec()
}

fn reply(path: &str, body: &[u8], small: &str, large: &str) -> Vec<u8> {
    let request: Request = serde_json::from_slice(body).expect("the gateway sends JSON-RPC");
    let Some(id) = request.id else {
        return b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec();
    };
    let (tool, version) = request.params.map_or((None, None), |p| (p.name, p.version));
    let other = match request.method {
        "tools/call" => None,
        "tools/list" => Some(Cow::Borrowed(list(path))),
        method => Some(Cow::Owned(describe(method, version).to_string())),
    };
    let result = other.as_deref().unwrap_or(if tool.as_deref() == Some("large") { large } else { small });
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}", id.get());
    if tool.as_deref() == Some("stream") {
        let event = format!("event: message\r\ndata: {body}\r\n\r\n");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
        return format!("{head}\r\n{:x}\r\n{event}\r\n0\r\n\r\n", event.len()).into_bytes();
    }
    let session = if request.method == "initialize" { "mcp-session-id: a-session\r\n" } else { "" };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    format!("{head}{session}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The list of a path, written once: what it costs to write one is not what is measured.
fn list(path: &str) -> &'static str {
    static LISTS: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());
    let write = || {
        let result = json!({"tools": tools(path), "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"});
        &*result.to_string().leak()
    };
    LISTS.lock().unwrap().entry(path.to_owned()).or_insert_with(write)
}

/// The tools of a path: those that are called, some of a long list, or all of it.
fn tools(path: &str) -> Vec<Value> {
    let tool = |name: &str| json!({"name": name, "description": name, "inputSchema": {"type": "object"}});
    let (servers, each) = LISTED;
    let listed = |server: usize| (0..each).map(move |number| format!("tool-{server}-{number}"));
    match path.strip_prefix("/mcp/") {
        None => ["large", "small", "stream"].map(tool).to_vec(),
        Some(part) => match part.strip_prefix("list/").and_then(|server| server.parse().ok()) {
            Some(server) => listed(server).map(|name| tool(&name)).collect(),
            None => (0..servers).flat_map(listed).map(|name| tool(&name)).collect(),
        },
    }
}

/// Answers to everything that is neither a call nor a list.
fn describe(method: &str, version: Option<String>) -> Value {
    match method {
        "initialize" => json!({
            "protocolVersion": version.unwrap_or_else(|| "2025-06-18".into()),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bench", "version": "1"},
        }),
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete", "ttlMs": 60_000,
            "cacheScope": "public", "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "bench", "version": "1"}},
        }),
        _ => json!({"resultType": "complete"}),
    }
}
