//! HTTP conversations, byte for byte.
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json as value};
use zeroize::Zeroizing;

use super::*;
use crate::upstream::testing::fake_http::{Answer, FakeHttp, Received, events, json, result, status};

const LIMIT: Duration = Duration::from_secs(20);

async fn try_open(url: &str) -> Result<HttpSession, UpstreamError> {
    let server: Arc<str> = "fake".into();
    let declared: BTreeMap<_, _> =
        [("Authorization".to_owned(), Zeroizing::new("Bearer of-the-server".to_owned()))].into();
    let endpoint = Endpoint::new(&server, &url.parse().unwrap(), &declared, true).await?;
    HttpSession::open(server, endpoint, Uri::from_static("/mcp"), None, None, LIMIT).await
}

async fn open(fake: &FakeHttp) -> HttpSession {
    try_open(&fake.url).await.unwrap()
}

fn call(method: &str) -> Call {
    let params = RawValue::from_string(r#"{"name":"echo"}"#.into()).unwrap();
    Call { target: Some("echo".into()), ..Call::new(method, Some(params), LIMIT) }
}

async fn ask(session: &HttpSession, method: &str) -> Result<Value, UpstreamError> {
    match session.request(call(method), no_sink()).await? {
        Reply::Result(raw) => Ok(serde_json::from_str(raw.get()).unwrap()),
        Reply::Error(raw) => Ok(value!({ "error": serde_json::from_str::<Value>(raw.get()).unwrap() })),
    }
}

/// Answers as a modern server; `work` answers all but the discovery.
async fn modern(work: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> FakeHttp {
    FakeHttp::start(move |request| match request.says() {
        "server/discover" => {
            json(&result(request, value!({ "supportedVersions": ["2026-07-28"], "capabilities": {} })))
        }
        _ => work(request),
    })
    .await
}

/// Answers as a legacy server with sessions; `work` answers what comes within one.
async fn legacy(work: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> FakeHttp {
    let sessions = AtomicUsize::new(0);
    FakeHttp::start(move |request| match request.says() {
        "server/discover" => status("400 Bad Request", "text/plain", "no session"),
        "initialize" => {
            let n = sessions.fetch_add(1, Ordering::Relaxed);
            let body = result(request, value!({ "protocolVersion": "2025-06-18", "capabilities": {} })).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s{n}\r\n");
            Answer::Bytes(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
        }
        text if text.starts_with("notifications/") => status("202 Accepted", "text/plain", ""),
        "GET" => status("405 Method Not Allowed", "text/plain", ""),
        "DELETE" => status("200 OK", "text/plain", ""),
        _ => work(request),
    })
    .await
}

fn done(request: &Received) -> Answer {
    json(&result(request, value!({ "ok": true })))
}

#[derive(Default)]
struct Seen(Mutex<Vec<ServerMessage>>);
impl CallSink for Seen {
    fn message(&self, message: ServerMessage) {
        self.0.lock().push(message);
    }
}

#[tokio::test]
async fn a_modern_server_gets_headers_that_agree_with_the_body_and_no_bearer_of_the_caller() {
    let fake = modern(done).await;
    let session = open(&fake).await;
    let mut wanted = call("tools/call");
    wanted.headers = vec![("authorization".into(), "Bearer caller".into()), ("Mcp-Param-Region".into(), "eu".into())];
    session.request(wanted, no_sink()).await.unwrap();
    let request = fake.hears("tools/call").await;
    let meta = &request.body["params"]["_meta"];
    assert_eq!(request.header("mcp-protocol-version"), meta["io.modelcontextprotocol/protocolVersion"].as_str());
    assert_eq!((request.header("mcp-method"), request.header("mcp-name")), (Some("tools/call"), Some("echo")));
    assert_eq!(request.header("authorization"), Some("Bearer of-the-server"));
    assert_eq!(request.header("mcp-param-region"), Some("eu"));
    assert_eq!(request.header("host"), fake.url.strip_prefix("http://").unwrap().strip_suffix("/mcp"));
    assert_eq!(fake.said(), ["server/discover", "tools/call"]);
    session.close().await;
}

#[tokio::test]
async fn a_legacy_session_is_opened_used_and_deleted() {
    let fake = legacy(done).await;
    let session = open(&fake).await;
    assert_eq!((session.handshake().era, session.handshake().version.as_str()), (Era::Legacy, "2025-06-18"));
    ask(&session, "tools/call").await.unwrap();
    session.close().await;
    for method in ["notifications/initialized", "tools/call", "DELETE"] {
        let request = fake.hears(method).await;
        assert_eq!(request.header("mcp-session-id"), Some("s0"), "{method}");
        assert_eq!(request.header("mcp-protocol-version"), Some("2025-06-18"), "{method}");
        assert_eq!(request.header("mcp-name"), None);
    }
}

#[tokio::test]
async fn a_forgotten_session_is_opened_anew_once_and_the_call_repeated() {
    for refusal in [
        ("404 Not Found", "text/plain", ""),
        (
            "400 Bad Request",
            "application/json",
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"No valid session ID"}}"#,
        ),
    ] {
        let fake = legacy(move |request| match request.header("mcp-session-id") {
            Some("s0") => status(refusal.0, refusal.1, refusal.2),
            _ => done(request),
        })
        .await;
        let session = open(&fake).await;
        assert_eq!(ask(&session, "tools/call").await.unwrap()["ok"], true);
        let times = fake.said().iter().filter(|said| *said == "initialize").count();
        assert_eq!(times, 2);
        session.close().await;
    }
    let fake = legacy(|_| status("404 Not Found", "text/plain", "")).await;
    let session = open(&fake).await;
    assert!(matches!(ask(&session, "tools/call").await, Err(UpstreamError::Gone { .. })));
    session.close().await;
}

#[tokio::test]
async fn a_stream_brings_progress_to_the_call_and_then_its_answer() {
    let fake = modern(|request| {
        let progress = value!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": request.body["params"]["_meta"]["progressToken"] } });
        let text = format!("id: 1\r\ndata:\r\n\r\n: comment\r\ndata: {progress}\r\n\r\nevent: message\r\ndata: {}\r\n\r\n", result(request, value!({ "ok": 1 })));
        Answer::BytesAndClose(events(&text))
    })
    .await;
    let session = open(&fake).await;
    let seen = Arc::new(Seen::default());
    let wanted = Call { progress: true, ..call("tools/call") };
    assert!(matches!(session.request(wanted, seen.clone()).await, Ok(Reply::Result(_))));
    assert_eq!(seen.0.lock().len(), 1);
    session.close().await;
}

#[tokio::test]
async fn a_broken_stream_is_taken_up_after_its_last_event() {
    let rest = Mutex::new(None);
    let sessions = legacy_with_get(move |request| {
        if request.method == "GET" {
            return match (request.header("last-event-id"), &*rest.lock()) {
                (Some("e1"), Some(answer)) => Answer::BytesAndClose(events(&format!("data: {answer}\n\n"))),
                _ => status("405 Method Not Allowed", "text/plain", ""),
            };
        }
        *rest.lock() = Some(result(request, value!({ "ok": true })));
        Answer::BytesAndClose(events("id: e1\nretry: 1\ndata:\n\n"))
    })
    .await;
    let session = open(&sessions).await;
    assert_eq!(ask(&session, "tools/call").await.unwrap()["ok"], true);
    session.close().await;
}

async fn legacy_with_get(work: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> FakeHttp {
    FakeHttp::start(move |request| match request.says() {
        "server/discover" => status("400 Bad Request", "text/plain", "no session"),
        "initialize" => json(&result(request, value!({ "protocolVersion": "2025-11-25", "capabilities": {} }))),
        text if text.starts_with("notifications/") => status("202 Accepted", "text/plain", ""),
        _ => work(request),
    })
    .await
}

#[tokio::test]
async fn the_stream_outside_of_calls_brings_news() {
    let fake = legacy_with_get(|request| match request.says() {
        "GET" => Answer::BytesAndHang(events("data: {\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"roots/list\"}\n\n")),
        _ => status("202 Accepted", "text/plain", ""),
    })
    .await;
    let session = open(&fake).await;
    // The answers to the server's requests are POSTs without a method.
    let answers = async {
        while fake.received().iter().filter(|r| r.says() == "POST").count() < 2 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(LIMIT, answers).await.unwrap();
    let answers: Vec<_> = fake.received().into_iter().filter(|r| r.says() == "POST").map(|r| r.body).collect();
    assert!(answers.contains(&value!({ "jsonrpc": "2.0", "id": 9, "result": {} })), "{answers:?}");
    assert!(answers.iter().any(|answer| answer["id"] == 8 && answer["error"]["code"] == -32601), "{answers:?}");
    session.close().await;
    fake.sees_a_hung_connection_close().await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_not_used() {
    let fake = modern(|request| match done(request) {
        Answer::Bytes(bytes) => Answer::BytesAndClose(bytes),
        other => other,
    })
    .await;
    let session = open(&fake).await;
    for _ in 0..20 {
        ask(&session, "tools/list").await.unwrap();
    }
    assert_eq!(fake.said().len(), 21);
    session.close().await;
}

#[tokio::test]
async fn a_tool_that_may_have_run_is_not_called_again_and_a_list_is() {
    let calls = AtomicUsize::new(0);
    let fake = modern(move |request| match (request.says(), calls.fetch_add(1, Ordering::Relaxed)) {
        ("tools/call", _) | ("tools/list", 0) => Answer::BytesAndClose(Vec::new()),
        _ => done(request),
    })
    .await;
    let session = open(&fake).await;
    ask(&session, "tools/list").await.unwrap();
    assert!(matches!(ask(&session, "tools/call").await, Err(UpstreamError::Gone { .. })));
    assert_eq!(fake.said(), ["server/discover", "tools/list", "tools/list", "tools/call"]);
    session.close().await;
}

#[tokio::test]
async fn a_call_given_up_closes_the_stream_of_a_modern_server_and_is_told_to_a_legacy_one() {
    let fake = modern(|_| Answer::BytesAndHang(events(": wait\n\n"))).await;
    let session = open(&fake).await;
    let short = Call { timeout: Duration::from_millis(50), ..call("tools/call") };
    assert!(matches!(session.request(short, no_sink()).await, Err(UpstreamError::TimedOut { .. })));
    fake.sees_a_hung_connection_close().await;
    assert_eq!(fake.said(), ["server/discover", "tools/call"]);
    session.close().await;

    let fake = legacy(|_| Answer::BytesAndHang(Vec::new())).await;
    let session = open(&fake).await;
    let short = Call { timeout: Duration::from_millis(50), ..call("tools/call") };
    assert!(session.request(short, no_sink()).await.is_err());
    let cancelled = fake.hears("notifications/cancelled").await;
    assert_eq!(cancelled.body["params"]["requestId"], fake.hears("tools/call").await.body["id"]);
    session.close().await;
}

#[tokio::test]
async fn errors_of_a_modern_server_arrive_whatever_their_status() {
    let fake = modern(|request| {
        let error = value!({ "jsonrpc": "2.0", "id": request.body["id"], "error": { "code": -32601, "message": "Method not found" } });
        status("404 Not Found", "application/json", &error.to_string())
    })
    .await;
    let session = open(&fake).await;
    assert_eq!(ask(&session, "no/such").await.unwrap()["error"]["code"], -32601);
    session.close().await;
}

#[tokio::test]
async fn statuses_are_explained_and_redirects_not_followed() {
    let elsewhere = modern(done).await;
    let target = elsewhere.url.clone();
    let fake = FakeHttp::start(move |_| {
        Answer::Bytes(
            format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into_bytes(),
        )
    })
    .await;
    let error = try_open(&fake.url).await.err().unwrap().to_string();
    assert!(error.contains("redirects") && !error.contains("127.0.0.1"), "{error}");
    assert!(elsewhere.said().is_empty());
    for (line, word) in
        [("401 Unauthorized", "credentials"), ("404 Not Found", "transport: SSE"), ("500 Oops", "HTTP 500")]
    {
        let fake = FakeHttp::start(move |_| status(line, "text/plain", "canary body")).await;
        let error = try_open(&fake.url).await.err().unwrap().to_string();
        assert!(error.contains(word) && !error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_the_answer_is_a_breach_of_protocol() {
    let too_large = format!("{{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"{}\"}}", "x".repeat(17 << 20));
    for body in [
        r#"{"jsonrpc":"2.0","id":77,"result":{}}"#,
        "[]",
        "{",
        r#"{"jsonrpc":"2.0","id":2,"id":2,"result":{}}"#,
        &too_large,
    ] {
        let body = body.to_owned();
        let fake = modern(move |_| status("200 OK", "application/json", &body)).await;
        let session = open(&fake).await;
        let error = ask(&session, "tools/call").await.unwrap_err();
        assert!(matches!(error, UpstreamError::Protocol { .. }), "{error}");
        session.close().await;
    }
}

#[tokio::test]
async fn an_unreachable_server_and_a_forbidden_address_are_told_apart() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", free.local_addr().unwrap());
    drop(free);
    let error = try_open(&url).await.err().unwrap().to_string();
    assert!(error.contains("refused"), "{error}");
    let refused = Endpoint::new(&"fake".into(), &url.parse().unwrap(), &BTreeMap::new(), false).await.err().unwrap();
    assert!(refused.to_string().contains("allowPrivateAddress"), "{refused}");
}

#[tokio::test]
async fn headers_that_are_ours_cannot_be_declared() {
    for name in ["Host", "content-length", "Mcp-Session-Id", "Transfer-Encoding", "bad name", "x\r\ny"] {
        let declared: BTreeMap<_, _> = [(name.to_owned(), Zeroizing::new("x".to_owned()))].into();
        let made = Endpoint::new(&"fake".into(), &"http://127.0.0.1:1/".parse().unwrap(), &declared, true).await;
        assert!(made.is_err(), "{name:?}");
    }
    let declared: BTreeMap<_, _> = [("X-Key".to_owned(), Zeroizing::new("canary\r\nEvil: 1".to_owned()))].into();
    let error =
        Endpoint::new(&"fake".into(), &"http://127.0.0.1:1/".parse().unwrap(), &declared, true).await.err().unwrap();
    assert!(!error.to_string().contains("canary"), "{error}");
}
