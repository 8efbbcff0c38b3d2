//! What the client does when the other side says later, elsewhere, no, or nothing.
use std::time::Duration;

use mcpctl_core::kinds::Kind;
use mcpctl_core::plaintext::Plaintext;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::client::{Client, ClientError, Target, Write};

const BEARER: &str = "mcpctl_login_canary";

/// Answers one connection after the other with the given texts, and gives back what was asked.
async fn scripted(answers: Vec<String>) -> (Client, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let client = Client::new(address, Some(Plaintext::new(BEARER.to_owned()))).unwrap();
    let served = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                let mut piece = [0; 1024];
                let read = socket.read(&mut piece).await.unwrap();
                head.extend_from_slice(&piece[..read]);
            }
            asked.push(String::from_utf8_lossy(&head).into_owned());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (client, served)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

fn header<'a>(asked: &'a str, name: &str) -> Option<&'a str> {
    asked.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
}

fn server_x() -> Target {
    Target { kind: Kind::Server, name: "x".into(), project: None }
}

#[tokio::test]
async fn a_rate_limited_change_is_sent_again_under_the_same_request_id() {
    let later = answer("429 Too Many Requests", "retry-after: 0\r\n", "{}");
    let done = answer("200 OK", "mcpctl-outcome: changed\r\n", r#"{"kind":"server","name":"x"}"#);
    let (client, served) = scripted(vec![later, done]).await;
    let changed = client.apply(&server_x(), serde_json::Map::new(), None, Write::Real).await.unwrap();
    assert_eq!(changed.outcome, "changed");
    let asked = served.await.unwrap();
    let id = header(&asked[0], "mcpctl-request-id").expect("a change carries a request id");
    assert_eq!(header(&asked[1], "mcpctl-request-id"), Some(id));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, tempted) = scripted(vec![answer("200 OK", "", "{}")]).await;
    let there = answer("307 Temporary Redirect", &format!("location: {}\r\n", elsewhere.address()), "");
    let (client, served) = scripted(vec![there]).await;
    let refused = client.get(&server_x()).await.unwrap_err();
    assert!(matches!(refused, ClientError::Redirected { .. }), "{refused}");
    assert_eq!(header(&served.await.unwrap()[0], "authorization"), Some(format!("Bearer {BEARER}").as_str()));
    assert!(!tempted.is_finished(), "the bearer went elsewhere");
    tempted.abort();
}

#[tokio::test]
async fn a_problem_keeps_its_hint_and_its_fields() {
    let body = r#"{"type":"t","title":"Invalid","status":422,"detail":"no","hint":"do this","errors":[{"field":"env","message":"m"}]}"#;
    let refusal = answer("422 Unprocessable Content", "content-type: application/problem+json\r\n", body);
    let (client, _) = scripted(vec![refusal]).await;
    let refused = client.get(&server_x()).await.unwrap_err();
    assert_eq!((refused.status(), refused.hint().as_deref(), refused.fields().len()), (Some(422), Some("do this"), 1));
}

#[tokio::test]
async fn what_is_no_control_plane_is_said_to_be_none() {
    let (client, _) = scripted(vec![answer("200 OK", "content-type: text/html\r\n", "<html>")]).await;
    assert!(matches!(client.get(&server_x()).await, Err(ClientError::NotOurs { .. })));
    let (client, _) = scripted(vec![answer("502 Bad Gateway", "content-type: text/html\r\n", "<html>")]).await;
    assert!(matches!(client.get(&server_x()).await, Err(ClientError::NotOurs { .. })));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let client = Client::new(address, None).unwrap().with_answer_limit(Duration::from_millis(50));
    assert!(matches!(client.get(&server_x()).await, Err(ClientError::TimedOut { .. })));
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_then_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(format!("http://{address}").parse().unwrap(), None).unwrap();
    let refused = client.get(&server_x()).await.unwrap_err().to_string();
    assert!(refused.contains(&address.to_string()) && refused.contains("refused"), "{refused}");
}

#[tokio::test]
async fn no_error_holds_the_bearer() {
    let (client, _) = scripted(vec![answer("200 OK", "", "nonsense")]).await;
    let error = client.get(&server_x()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(BEARER), "{error:?}");
}
