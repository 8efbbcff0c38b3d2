//! The load generator: keep-alive connections on one thread, each with one request in flight, straight on TCP.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::targets::cpu;

/// What to do, where, and on how many connections.
pub struct Load {
    pub address: SocketAddr,
    pub work: Work,
    pub connections: usize,
}

/// What is done again and again, and timed.
#[derive(Clone)]
pub enum Work {
    /// One request.
    Ask(Vec<u8>),
    /// A session of a legacy client: `initialize`, `notifications/initialized` and DELETE, in which [`SESSION`] stands for
    /// its id.
    Session([String; 3]),
}

/// Stands for the id of a session that is not there yet.
pub const SESSION: &str = "{session}";

/// What one measurement found.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub took: Duration,
    /// Nanoseconds of each call, ascending.
    pub latencies_ns: Vec<u64>,
    /// CPU that the process under test spent meanwhile.
    pub cpu: Duration,
    pub resident_kib: u64,
}

impl Sample {
    pub fn calls_per_second(&self) -> f64 {
        self.latencies_ns.len() as f64 / self.took.as_secs_f64()
    }

    pub fn cpu_us_per_call(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies_ns.len() as f64
    }

    /// A quantile in microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        let last = self.latencies_ns.len() - 1;
        self.latencies_ns[(last as f64 * quantile) as usize] as f64 / 1e3
    }
}

impl Load {
    /// Runs for a while.
    ///
    /// # Panics
    /// When an answer is anything but a tool's result: a figure for failed calls is worth nothing.
    pub fn run(&self, long: Duration, pid: u32) -> Sample {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let before = cpu(pid);
        let begun = Instant::now();
        let mut latencies_ns = runtime.block_on(async {
            let until = begun + long;
            let one = |_| tokio::spawn(connection(self.address, self.work.clone(), until));
            let running: Vec<_> = (0..self.connections).map(one).collect();
            let mut all = Vec::new();
            for connection in running {
                all.extend(connection.await.expect("a connection failed"));
            }
            all
        });
        let took = begun.elapsed();
        latencies_ns.sort_unstable();
        Sample { took, latencies_ns, cpu: cpu(pid) - before, resident_kib: 0 }
    }
}

/// Sends one request and reads its answer.
pub async fn once(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut buffer = Vec::new();
    stream.write_all(request).await.unwrap();
    let end = answer(&mut stream, &mut buffer).await;
    buffer.truncate(end);
    buffer
}

async fn connection(address: SocketAddr, work: Work, until: Instant) -> Vec<u64> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut latencies = Vec::with_capacity(16 * 1024);
    let mut buffer = Vec::with_capacity(128 * 1024);
    while Instant::now() < until {
        let begun = Instant::now();
        match &work {
            Work::Ask(request) => {
                stream.write_all(request).await.unwrap();
                let end = answer(&mut stream, &mut buffer).await;
                assert_result(&buffer[..end]);
                buffer.drain(..end);
            }
            Work::Session(requests) => session(&mut stream, &mut buffer, requests).await,
        }
        latencies.push(begun.elapsed().as_nanos() as u64);
    }
    latencies
}

async fn session(stream: &mut TcpStream, buffer: &mut Vec<u8>, requests: &[String; 3]) {
    let mut id = String::new();
    for (request, statuses) in requests.iter().zip([&["200"][..], &["202"], &["200", "202", "204"]]) {
        stream.write_all(request.replace(SESSION, &id).as_bytes()).await.unwrap();
        let end = answer(stream, buffer).await;
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        assert!(statuses.iter().any(|status| head[9..].starts_with(status)), "no session: {head}");
        if id.is_empty() {
            header(&head, "mcp-session-id").expect("a session has an id").clone_into(&mut id);
        }
        buffer.drain(..end);
    }
}

/// Looks only where it must: searching 64 KiB for a word would measure the search.
fn assert_result(answer: &[u8]) {
    let good = answer.starts_with(b"HTTP/1.1 200")
        && (find(answer, b"\"content\"").is_some() || find(answer, b"\"tools\"").is_some());
    assert!(good, "not a tool's result: {}", String::from_utf8_lossy(&answer[..answer.len().min(600)]));
}

/// Reads until the buffer holds one whole answer, and says where it ends.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> usize {
    loop {
        if let Some(end) = end_of_answer(buffer) {
            return end;
        }
        let read = stream.read_buf(buffer).await.unwrap();
        assert!(read > 0, "the server closed the connection: {}", String::from_utf8_lossy(buffer));
    }
}

fn end_of_answer(buffer: &[u8]) -> Option<usize> {
    let body = find(buffer, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..body]).expect("a head is ASCII");
    if let Some(length) = header(head, "content-length") {
        let end = body + length.parse::<usize>().expect("a length is a number");
        return (buffer.len() >= end).then_some(end);
    }
    if header(head, "transfer-encoding").is_some() {
        // The bodies here never contain the bytes of the last chunk.
        return buffer[body..].ends_with(b"0\r\n\r\n").then_some(buffer.len());
    }
    Some(body)
}

/// A header's value, whatever the case of its name.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
