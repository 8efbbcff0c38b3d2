//! A gateway that opens its stream, pings, and never reads: cut within bounds, and nobody else waits for it.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::JoinHandle;

use crate::revocations::Rig;

/// A process that speaks and does not listen; the test plays it on a plain socket.
struct Deaf {
    pings: JoinHandle<()>,
    // Kept open and never read.
    _unread: OwnedReadHalf,
}

impl Deaf {
    /// Introspects with a token, and opens a stream with the handle that it was told.
    async fn open(control: SocketAddr, token: &str) -> Self {
        let view = format!("http://{control}/api/v1/projects/default/view");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let told: Value = client.get(view).bearer_auth(token).send().await.unwrap().json().await.unwrap();
        let holds = json!([{ "handle": told["watchHandle"], "rev": told["seq"] }]);
        let mut socket = TcpStream::connect(control).await.unwrap();
        let head = "POST /api/v1/gateways/stream HTTP/1.1\r\nhost: mcpd\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&chunk(&json!({ "open": { "version": "deaf", "holds": holds } }))).await.unwrap();
        let mut status = [0; 12];
        socket.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        let (unread, mut speaks) = socket.into_split();
        // As fast as it can: a stream that is pinged five times a second would be full in minutes.
        let pings = tokio::spawn(async move {
            let mut ping = 0_u64;
            while speaks.write_all(&chunk(&json!({ "ping": { "ping": ping } }))).await.is_ok() {
                ping += 1;
            }
        });
        Self { pings, _unread: unread }
    }

    /// Waits until the control plane has ended the connection.
    async fn until_cut(self) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.pings).await;
        ended.expect("the connection of a gateway that does not read is kept").unwrap();
    }
}

fn chunk(line: &Value) -> Vec<u8> {
    let line = format!("{line}\n");
    format!("{:x}\r\n{line}\r\n", line.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_does_not_read_is_cut_and_nobody_else_waits_for_it() {
    let mut rig = Rig::start().await;
    let loads = rig.load("s", None, 6).await;
    let token = rig.control.tokens(["deaf".to_owned()].into_iter(), None).await.remove(0);
    let deaf = Deaf::open(rig.control.address, &token).await;
    let began = Instant::now();
    for (n, load) in loads.into_iter().enumerate() {
        let said = rig.control.revoke(&format!("s-{n}")).await;
        let answered = Instant::now();
        assert_eq!(said["revocation"]["acked"], 1, "{said}");
        rig.answered(&said);
        rig.check(load.refused().await, &said, answered);
    }
    let said = rig.control.revoke("deaf").await;
    let took = said["revocation"]["tookMs"].as_u64().unwrap();
    assert!(said["revocation"]["acked"] == 0 && took < 1_000, "its lease is waited for and no longer: {said}");
    deaf.until_cut().await;
    println!("a gateway that does not read: cut {:?} after it began, its revocation took {took} ms", began.elapsed());
    assert!(rig.control.figure("mcpctl_revocation_slow_streams_total").await >= 1.0);
    rig.report("beside a gateway that does not read");
}
