//! Conversations with real processes that behave well or badly.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::*;
use crate::upstream::logs::ServerLog;
use crate::upstream::{NoSink, child};

const FAKE: &str = include_str!("testing/fake_server.py");
const LIMIT: Duration = Duration::from_secs(20);

struct Fake {
    session: Arc<StdioSession>,
    log: Arc<ServerLog>,
}

async fn try_open(argv: Vec<String>, limit: Duration, log: &Arc<ServerLog>) -> Result<StdioSession, UpstreamError> {
    let env: BTreeMap<_, _> = [("DECLARED".to_owned(), Zeroizing::new("declared value".to_owned()))].into();
    let start = Start {
        server: "fake".into(),
        argv: &argv,
        env: &env,
        folder: &std::env::temp_dir(),
        capabilities: Some(r#"{"sampling":{}}"#.into()),
        pen: LogPen::new(log.clone(), "fake-0", env.iter()),
        era: None,
        limit,
        tasks: &TaskTracker::new(),
    };
    StdioSession::open(start).await
}

fn argv(mode: &str) -> Vec<String> {
    ["python3", "-c", FAKE, mode].map(str::to_owned).to_vec()
}

async fn open(mode: &str) -> Fake {
    let log = Arc::new(ServerLog::new());
    let session = try_open(argv(mode), LIMIT, &log).await.unwrap();
    Fake { session: Arc::new(session), log }
}

fn call(tool: &str, arguments: &str) -> Call {
    let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
    Call::new("tools/call", Some(RawValue::from_string(params).unwrap()), LIMIT)
}

fn result(reply: Result<Reply, UpstreamError>) -> serde_json::Value {
    match reply.unwrap() {
        Reply::Result(raw) => serde_json::from_str(raw.get()).unwrap(),
        Reply::Error(raw) => panic!("{raw}"),
    }
}

impl Fake {
    async fn call(&self, tool: &str, arguments: &str) -> Result<Reply, UpstreamError> {
        self.session.request(call(tool, arguments), Arc::new(NoSink)).await
    }

    /// Waits until the log has a line with this in it.
    async fn logged(&self, what: &str) {
        let mut follower = self.log.follow();
        let has = |line: &crate::upstream::LogLine| line.text.contains(what);
        if self.log.tail(None, usize::MAX).iter().any(has) {
            return;
        }
        let wait = async { while !has(&follower.recv().await.unwrap()) {} };
        tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what:?} was never logged"));
    }
}

#[tokio::test]
async fn a_legacy_server_is_opened_with_initialize() {
    let fake = open("legacy").await;
    assert_eq!(fake.session.handshake().era, Era::Legacy);
    assert_eq!(fake.session.handshake().version, "2025-11-25");
    fake.logged("notifications/initialized").await;
    assert_eq!(result(fake.call("echo", r#"{"a":1}"#).await)["echo"]["a"], 1);
    fake.session.close().await;
}

#[tokio::test]
async fn a_modern_server_gets_its_meta_with_every_request() {
    let fake = open("modern").await;
    assert_eq!(fake.session.handshake().era, Era::Modern);
    let meta = result(fake.call("echo", "{}").await)["meta"].clone();
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], serde_json::json!({}));
    fake.session.close().await;
}

#[tokio::test]
async fn servers_that_die_of_the_probe_or_ignore_it_are_opened_as_legacy() {
    let fake = open("dies_of_probe").await;
    assert_eq!(fake.session.handshake().era, Era::Legacy);
    fake.session.close().await;
    let log = Arc::new(ServerLog::new());
    let session = try_open(argv("silent"), Duration::from_secs(4), &log).await.unwrap();
    assert_eq!(session.handshake().era, Era::Legacy);
    session.close().await;
}

#[tokio::test]
async fn answers_find_their_calls_in_whatever_order_they_come() {
    let fake = open("legacy").await;
    let calls = (0..200).map(|n| {
        let session = fake.session.clone();
        async move {
            let arguments = format!(r#"{{"count":200,"n":{n}}}"#);
            let reply = session.request(call("hold", &arguments), Arc::new(NoSink)).await;
            assert_eq!(result(reply)["echo"]["n"], n);
        }
    });
    futures::future::join_all(calls).await;
    fake.session.close().await;
}

#[derive(Default)]
struct Seen(Mutex<Vec<ServerMessage>>);
impl CallSink for Seen {
    fn message(&self, message: ServerMessage) {
        self.0.lock().push(message);
    }
}

#[tokio::test]
async fn progress_comes_to_the_call_and_other_news_to_the_listeners() {
    let fake = open("legacy").await;
    let mut news = fake.session.messages();
    let seen = Arc::new(Seen::default());
    let wanted = Call { progress: true, ..call("progress", "{}") };
    result(fake.session.request(wanted, seen.clone()).await);
    assert!(
        matches!(&seen.0.lock()[..], [ServerMessage::Notification { method, .. }] if &**method == "notifications/progress")
    );
    result(fake.session.request(call("tell", "{}"), seen.clone()).await);
    assert_eq!(seen.0.lock().len(), 1);
    let heard = news.try_recv().unwrap();
    assert!(matches!(heard, ServerMessage::Notification { method, .. } if method.ends_with("list_changed")));
    fake.session.close().await;
}

struct Answering(Arc<StdioSession>, tokio::runtime::Handle);
impl CallSink for Answering {
    fn message(&self, message: ServerMessage) {
        let ServerMessage::Request { id, method, .. } = message else { panic!("not a request") };
        assert_eq!(&*method, "sampling/createMessage");
        let session = self.0.clone();
        self.1.spawn(async move {
            let text = RawValue::from_string(r#"{"text":"hello"}"#.into()).unwrap();
            session.respond(&id, Reply::Result(text)).await.unwrap();
        });
    }
}

#[tokio::test]
async fn a_question_of_the_server_reaches_the_only_running_call() {
    let fake = open("legacy").await;
    let sink = Arc::new(Answering(fake.session.clone(), tokio::runtime::Handle::current()));
    let answer = result(fake.session.request(call("ask", "{}"), sink).await);
    assert_eq!((answer["id"].as_str(), answer["result"]["text"].as_str()), (Some("q1"), Some("hello")));
    fake.session.close().await;
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled_upstream() {
    let fake = open("legacy").await;
    let short = Call { timeout: Duration::from_millis(100), ..call("never", "{}") };
    let error = fake.session.request(short, Arc::new(NoSink)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::TimedOut { .. }), "{error}");
    fake.logged("notifications/cancelled").await;
    let session = fake.session.clone();
    let dropped = tokio::spawn(async move { session.request(call("never", "{}"), Arc::new(NoSink)).await });
    tokio::task::yield_now().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    // The conversation goes on.
    result(fake.call("echo", "{}").await);
    fake.session.close().await;
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_ends_the_conversation() {
    let fake = open("legacy").await;
    let error = fake.call("die", "{}").await.unwrap_err();
    assert!(matches!(error, UpstreamError::Gone { .. }), "{error}");
    assert_eq!(fake.session.closed().await, "its process exited with status 3");
    assert!(!fake.session.is_open());
    fake.logged("about to die").await;
    assert!(fake.call("echo", "{}").await.is_err());
}

#[tokio::test]
async fn some_garbage_is_passed_over_and_a_hundred_lines_of_it_are_not() {
    let fake = open("legacy").await;
    result(fake.call("garbage", r#"{"count":99}"#).await);
    fake.logged("this is not JSON 98").await;
    let error = fake.call("garbage", r#"{"count":100}"#).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Protocol { .. }), "{error}");
    fake.session.closed().await;
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_conversation() {
    let fake = open("legacy").await;
    let error = fake.call("huge", "{}").await.unwrap_err();
    assert!(error.to_string().contains("more than 16 MiB"), "{error}");
    fake.session.closed().await;
}

#[tokio::test]
async fn what_cannot_start_is_explained() {
    let log = Arc::new(ServerLog::new());
    let open = async |argv: Vec<String>, limit| try_open(argv, limit, &log).await.err().unwrap().to_string();
    let missing = open(vec!["no-such-program-here".into(), "secret-argument".into()], LIMIT).await;
    assert!(missing.contains("\"no-such-program-here\" was not found"), "{missing}");
    assert!(!missing.contains("secret-argument"), "{missing}");
    let crashed = open(argv("crash"), LIMIT).await;
    assert!(crashed.contains("exited with status 7") && crashed.contains("mcpctl logs fake"), "{crashed}");
    let mute = open(argv("mute"), Duration::from_secs(1)).await;
    assert!(mute.contains("did not finish its handshake within 1 s"), "{mute}");
    assert!(open(Vec::new(), LIMIT).await.contains("set `command`"));
}

#[tokio::test]
async fn a_child_sees_declared_and_allowed_environment_only() {
    let fake = open("legacy").await;
    let env = result(fake.call("env", "{}").await);
    assert_eq!(env["DECLARED"], "declared value");
    // Set by cargo for every test, and inherited by nobody.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && env.get("CARGO_MANIFEST_DIR").is_none(), "{env}");
    fake.session.close().await;
}

fn group_lives(pid: u32) -> bool {
    let group = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::test_kill_process_group(group).is_ok()
}

#[tokio::test]
async fn nothing_of_a_closed_server_is_left() {
    for mode in ["child", "stubborn", "legacy"] {
        let fake = open(mode).await;
        assert!(child::live_children() > 0);
        let pid = fake.session.pid().unwrap();
        assert!(group_lives(pid));
        fake.session.close().await;
        assert!(!group_lives(pid), "{mode}");
    }
}

#[tokio::test]
async fn descendants_of_a_crashed_server_go_with_it() {
    let fake = open("child").await;
    let pid = fake.session.pid().unwrap();
    fake.call("die", "{}").await.unwrap_err();
    fake.session.closed().await;
    assert!(!group_lives(pid));
}
