//! HTTP/1.1 byte for byte, as clients and those who stand between write it.
use mcpctl_api::upstream::Era;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake_plane::token;
use crate::fake_server::FakeServer;
use crate::house::{House, LIMIT};

async fn house() -> House {
    House::new(vec![FakeServer::new("a", Era::Modern, &[])]).await
}

fn head(more: &str) -> String {
    let token = token(1);
    format!(
        "POST /projects/web/mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{more}\r\n\r\n"
    )
}

fn ping(id: u32) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string()
}

/// Sends, says that nothing more will be sent when `ends` is set, and reads to the end of the connection.
async fn talk(house: &House, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(&house.address).await.unwrap();
    for piece in pieces {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_their_order() {
    let house = house().await;
    let one = |id, more: &str| {
        let body = ping(id);
        format!("{}{body}", head(&format!("Content-Length: {}{more}", body.len())))
    };
    let all = format!("{}{}{}", one(1, ""), one(2, ""), one(3, "\r\nConnection: close"));
    let answer = talk(&house, &[all.as_bytes()]).await;
    let ids: Vec<_> = answer.match_indices("\"id\":").map(|(at, _)| &answer[at + 5..at + 6]).collect();
    assert_eq!(ids, ["1", "2", "3"], "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 3);
    assert_eq!(answer.matches("connection: close\r\n").count(), 1);
    assert_eq!(answer.matches("date: ").count(), 3);
}

#[tokio::test]
async fn a_head_and_a_body_in_pieces_are_a_request() {
    let house = house().await;
    let body = ping(7);
    let text = format!("{}{body}", head(&format!("Content-Length: {}\r\nConnection: close", body.len())));
    let pieces: Vec<&[u8]> = text.as_bytes().chunks(37).collect();
    assert!(talk(&house, &pieces).await.contains("\"id\":7"));
    let chunked = format!("{}5;x=y\r\n{}\r\n", head("Transfer-Encoding: chunked\r\nConnection: close"), &body[..5]);
    let rest = format!("{:x}\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n", body.len() - 5, &body[5..]);
    assert!(talk(&house, &[chunked.as_bytes(), rest.as_bytes()]).await.contains("\"id\":7"));
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_served() {
    let house = house().await;
    let body = ping(8);
    let behind = format!("{}{body}", head(&format!("Content-Length: {}", body.len())));
    for lines in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Content-Length: 6\r\nContent-Length: 7",
        "Content-Length: 6, 6",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: xchunked",
        "Content-Length: 6\r\n folded: x",
    ] {
        let text = format!("{}0\r\n\r\nG{behind}", head(lines));
        let answer = talk(&house, &[text.as_bytes()]).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{lines:?}: {answer}");
        assert!(!answer.contains("\"id\":8"), "{lines:?}: {answer}");
    }
}

#[tokio::test]
async fn who_waits_for_a_word_gets_it_and_who_is_refused_does_not() {
    let house = house().await;
    let body = ping(9);
    let length = format!("Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close", body.len());
    let mut stream = TcpStream::connect(&house.address).await.unwrap();
    stream.write_all(head(&length).as_bytes()).await.unwrap();
    let mut word = [0; 25];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut word)).await.unwrap().unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"id\":9"), "{answer}");
    let refused = head(&length).replace("application/json\r\n", "text/plain\r\n");
    assert!(talk(&house, &[refused.as_bytes()]).await.starts_with("HTTP/1.1 415 "));
}

#[tokio::test]
async fn a_head_has_no_body_and_an_old_client_gets_one_answer() {
    let house = house().await;
    let health = talk(&house, &[b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]).await;
    assert!(health.starts_with("HTTP/1.1 200 OK") && health.ends_with("\r\n\r\n"), "{health}");
    assert!(!health.contains("content-length: 0"), "it says what GET would bring: {health}");
    let old = talk(&house, &[b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"]).await;
    assert!(old.contains("connection: close") && old.contains("\"status\":\"ok\""), "{old}");
    let nonsense =
        talk(&house, &[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS to a port without it\r\n\r\n"]).await;
    assert!(nonsense.starts_with("HTTP/1.1 400 "), "{nonsense}");
    let many = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert!(talk(&house, &[many.as_bytes()]).await.starts_with("HTTP/1.1 431 "));
}
