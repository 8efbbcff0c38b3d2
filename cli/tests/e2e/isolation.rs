//! Two hundred clients of both eras, of four tokens, with the same ids, through one process that answers in any order: each
//! answer belongs to its question, and no process, descriptor or memory is left behind.
//!
//! `MCPCTL_ISOLATION_CALLS` says how many calls, 100,000 without it; `.ci/nightly isolation` makes a million.
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::up::Up;

const CLIENTS: u64 = 200;
const TOKENS: usize = 4;
/// Looks at the process during the run.
const LOOKS: u64 = 20;
/// Most bytes of resident memory that a call may leave behind, beyond what is there after the first part of the run: the index
/// of the audit log keeps a little of each.
const BYTES_A_CALL_MAX: f64 = 512.0;

/// Most descriptors, and processes, that a call may leave behind: one in so many calls as the shortest run makes.
const LEFT_A_CALL_MAX: f64 = 1.0 / 10_000.0;

fn calls() -> u64 {
    std::env::var("MCPCTL_ISOLATION_CALLS").ok().map_or(100_000, |text| text.parse().unwrap())
}

/// One client on one connection.
struct Client {
    number: u64,
    stream: TcpStream,
    host: String,
    path: String,
    token: String,
    /// A legacy client's session.
    session: Option<String>,
    input: Vec<u8>,
}

impl Client {
    async fn connect(number: u64, endpoint: &str, token: &str) -> Self {
        let (host, path) = endpoint.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let (host, path) = (host.to_owned(), format!("/{path}"));
        let stream = TcpStream::connect(&host).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (token, input) = (token.to_owned(), Vec::new());
        let mut client = Self { number, stream, host, path, token, session: None, input };
        if number.is_multiple_of(2) {
            client.initialize().await;
        }
        client
    }

    async fn initialize(&mut self) {
        let info = json!({"name": "isolation", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info});
        let (head, _) =
            self.exchange("", &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
        let line = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        self.session = Some(line.expect("a session").to_owned());
    }

    /// The head and the message of an answer.
    async fn exchange(&mut self, headers: &str, body: &Value) -> (String, Value) {
        let (body, Self { host, path, token, .. }) = (body.to_string(), &*self);
        let session = self.session.as_ref().map_or_else(String::new, |id| format!("mcp-session-id: {id}\r\n"));
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{session}{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let head = self.until(|input| input.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)).await;
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        let length = length.unwrap_or_else(|| panic!("an answer of a known length: {head}"));
        let body = self.until(|input| (input.len() >= length).then_some(length)).await;
        let message = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {head}"));
        (head, message)
    }

    async fn until(&mut self, end: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
        loop {
            if let Some(end) = end(&self.input) {
                let rest = self.input.split_off(end);
                return std::mem::replace(&mut self.input, rest);
            }
            let read = self.stream.read_buf(&mut self.input).await.unwrap();
            assert!(read > 0, "the connection was closed");
        }
    }

    /// One call; the ids of all clients are the same, and some are texts.
    async fn call(&mut self, number: u64) {
        let id = if number.is_multiple_of(3) { json!(format!("id-{}", number % 7)) } else { json!(number % 7) };
        let arguments =
            json!({"client": self.number, "call": number, "canary": format!("{:x}", self.number * 1_000_003 + number)});
        let mut params = json!({"name": "echo", "arguments": arguments});
        let mut headers = "";
        if self.session.is_none() {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
            });
            headers = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: echo\r\n";
        }
        let question = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let (_, answer) = self.exchange(headers, &question).await;
        assert_eq!(answer["id"], id, "an answer to another question: {answer}");
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no answer: {answer}"));
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), arguments, "somebody else's answer");
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    calls: u64,
    resident_bytes: u64,
    descriptors: usize,
    processes: usize,
}

fn held(pid: u32, calls: u64) -> Held {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident_kib: u64 = resident.trim().split(' ').next().unwrap().parse().unwrap();
    let parent = |entry: &fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    Held {
        calls,
        resident_bytes: resident_kib * 1024,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
        processes: fs::read_dir("/proc").unwrap().flatten().filter(|entry| parent(entry) == Some(pid)).count(),
    }
}

/// How much of something each call leaves behind: the slope of the line through what was seen.
#[expect(clippy::cast_precision_loss, reason = "a figure for a bound")]
fn slope(seen: &[Held], of: impl Fn(&Held) -> f64) -> f64 {
    let mean = |of: &dyn Fn(&Held) -> f64| seen.iter().map(of).sum::<f64>() / seen.len() as f64;
    let (x, y) = (mean(&|held| held.calls as f64), mean(&of));
    let above: f64 = seen.iter().map(|held| (held.calls as f64 - x) * (of(held) - y)).sum();
    let below: f64 = seen.iter().map(|held| (held.calls as f64 - x).powi(2)).sum();
    assert!(seen.len() > 2 && below > 0.0);
    above / below
}

#[test]
fn two_hundred_clients_get_their_own_answers_and_nothing_is_left_behind() {
    let up = Up::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/scripts/shuffle_server.py");
    up.apply(&[
        json!({"kind": "server", "name": "shuffle", "command": ["python3", script]}),
        json!({"kind": "project", "name": "web", "servers": ["shuffle"], "toolNames": "unprefixed"}),
    ]);
    let tokens: Vec<String> = (0..TOKENS).map(|n| up.create_token(&format!("t{n}"), "web")).collect();
    let (pid, endpoint, calls) = (up.pid(), up.endpoint_of("web"), calls());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (before, seen) = runtime.block_on(async {
        // The server runs, and every part has been used once.
        Client::connect(CLIENTS, &endpoint, &tokens[0]).await.call(0).await;
        let before = held(pid, 0);
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            clients.push(Client::connect(number, &endpoint, &tokens[number as usize % TOKENS]).await);
        }
        let (made, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let mut running = tokio::task::JoinSet::new();
        for mut client in clients {
            let made = made.clone();
            running.spawn(async move {
                for number in 0..calls.div_ceil(CLIENTS) {
                    client.call(number).await;
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut seen = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !running.is_empty() {
            tokio::select! {
                ended = running.join_next() => ended.expect("one is left").unwrap(),
                _ = ticks.tick() => {}
            }
            let made = made.load(Ordering::Relaxed);
            if made >= (seen.len() as u64 + 1) * calls / LOOKS {
                seen.push(held(pid, made));
            }
        }
        let took = begun.elapsed().as_secs_f64();
        println!("{calls} calls of {CLIENTS} clients in {took:.1} s");
        (before, seen)
    });
    // The first part of the run fills pools and caches.
    let later: Vec<Held> = seen.iter().copied().filter(|held| held.calls * 4 >= calls).collect();
    #[expect(clippy::cast_precision_loss, reason = "figures for a bound")]
    let [leaves, descriptors, processes] = [
        slope(&later, |held| held.resident_bytes as f64),
        slope(&later, |held| held.descriptors as f64),
        slope(&later, |held| held.processes as f64),
    ];
    let after = *seen.last().unwrap();
    println!("before {before:?}\nafter  {after:?}");
    println!(
        "left behind by 1,000 calls: {leaves:.0} KB of memory, {:.3} descriptors, {:.3} processes",
        descriptors * 1e3,
        processes * 1e3
    );
    assert!(leaves < BYTES_A_CALL_MAX, "{leaves:.0} bytes a call: {later:#?}");
    // A connection that ends is one less; none is one more.
    assert!(descriptors < LEFT_A_CALL_MAX && processes < LEFT_A_CALL_MAX, "{descriptors} {processes}: {later:#?}");
    assert_eq!(after.processes, before.processes, "one process for all of them, before and after");
    let begun = Instant::now();
    loop {
        let now = held(pid, calls);
        if now.descriptors <= before.descriptors + 8 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{now:?} and before {before:?}");
        std::thread::yield_now();
    }
}
