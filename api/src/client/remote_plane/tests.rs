//! The remote plane against a control plane behind HTTP.
#![cfg(feature = "server")]

mod logs;
mod spooled;
mod strict;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_core::command::Deed;
use mcpctl_core::kinds::Kind;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use super::RemotePlane;
use crate::plane::{AuditEntry, CallerBearer, Denial, Plane as _};
use crate::server::audit::AuditQuery;
use crate::server::evidence::Evidence;
use crate::server::revocation::{ForStreams, stream_routes};
use crate::server::testing::{ADMIN, MEMBER, Tried};
use crate::server::watch::{ForGateways, routes};
use crate::upstream::{
    Call, CallSink, Era, Handshake, NoSink, Reply, ServerMessage, Session, SessionKey, Sessions, UpstreamError,
};

/// A control plane behind HTTP, and a gateway's view of it.
struct Apart {
    tried: Tried,
    remote: RemotePlane,
    address: crate::client::Address,
    stop: CancellationToken,
    served: parking_lot::Mutex<Served>,
    evidence: Arc<Evidence>,
    _folder: tempfile::TempDir,
}

/// What answers at the address, while anything does.
struct Served {
    at: std::net::SocketAddr,
    routes: axum::Router,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Served {
    async fn start(at: std::net::SocketAddr, routes: axum::Router, all: &CancellationToken) -> Self {
        let listener = tokio::net::TcpListener::bind(at).await.unwrap();
        let (at, stop) = (listener.local_addr().unwrap(), all.child_token());
        let served = axum::serve(listener, routes.clone()).with_graceful_shutdown(stop.clone().cancelled_owned());
        Self { at, routes, stop, task: Some(tokio::spawn(async move { served.await.unwrap() })) }
    }
}

impl Apart {
    async fn new() -> Self {
        Self::of(Tried::new().await).await
    }

    async fn of(tried: Tried) -> Self {
        let stop = CancellationToken::new();
        let hub = tried.hub.clone();
        tokio::spawn(hub.clone().keep(stop.clone()));
        tokio::spawn(tried.plane.clone().follow(hub, stop.clone()));
        let folder = tempfile::tempdir().unwrap();
        let evidence = Arc::new(Evidence::open(folder.path(), None, tried.log.clone()).unwrap());
        let routes = Self::routes(&tried, &evidence, &stop);
        let served = Served::start(([127, 0, 0, 1], 0).into(), routes, &stop).await;
        let address: crate::client::Address = format!("http://{}", served.at).parse().unwrap();
        let remote = RemotePlane::connect(address.clone()).unwrap();
        Self { tried, remote, address, stop, served: parking_lot::Mutex::new(served), evidence, _folder: folder }
    }

    /// What a control plane serves that shows this evidence of its log.
    fn routes(tried: &Tried, evidence: &Arc<Evidence>, stop: &CancellationToken) -> axum::Router {
        let (hub, log, evidence) = (tried.hub.clone(), tried.log.clone(), evidence.clone());
        let shown = (log.clone(), evidence.clone());
        let parts = ForGateways::new(tried.plane.clone(), hub.clone(), shown, stop.clone());
        routes::<()>(parts).merge(stream_routes(ForStreams { hub, log, evidence, stop: stop.clone() }))
    }

    /// Nobody answers at its address any more; it goes on.
    async fn unplug(&self) {
        let (stop, task) = {
            let mut served = self.served.lock();
            (served.stop.clone(), served.task.take())
        };
        stop.cancel();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    /// It answers there again.
    async fn plug_in(&self) {
        let (at, routes) = {
            let served = self.served.lock();
            (served.at, served.routes.clone())
        };
        let again = Served::start(at, routes, &self.stop).await;
        *self.served.lock() = again;
    }

    /// The control plane goes away without a word.
    async fn vanish(&self) {
        self.unplug().await;
        self.stop.cancel();
    }

    /// Waits until an admission is served from the stream, without a question.
    async fn followed(&self, bearer: &CallerBearer) {
        self.remote.admit(bearer, "web").await.unwrap();
        let pair = (bearer.digest(), "web".to_owned());
        self.until("it is held", || self.remote.shared.views.lock().is_held(&pair)).await;
    }

    async fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let wait = async {
            while !done() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    fn audited(&self) -> Vec<AuditEntry> {
        let page = self.tried.audit.page(&AuditQuery { limit: Some(1000), ..AuditQuery::default() }).unwrap();
        page.0.into_iter().map(|item| item.entry).collect()
    }
}

#[tokio::test]
async fn a_caller_is_admitted_as_in_the_control_plane_itself() {
    let apart = Apart::new().await;
    for bearer in [apart.tried.token(ADMIN, "ci", "clone").await, apart.tried.login(MEMBER).await] {
        let (near, far) =
            (apart.tried.plane.admit(&bearer, "web").await.unwrap(), apart.remote.admit(&bearer, "web").await.unwrap());
        assert_eq!((&near.caller, &near.project, &near.via), (&far.caller, &far.project, &far.via));
        assert!(apart.remote.seq() >= far.seq);
    }
}

#[tokio::test]
async fn denials_are_those_of_the_control_plane() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    let unknown = CallerBearer::new("mcpctl_pat_nonsense".to_owned());
    for (bearer, project) in
        [(&token, "other"), (&token, "no-such"), (&unknown, "web"), (&apart.tried.login(MEMBER).await, "other")]
    {
        let near = apart.tried.plane.admit(bearer, project).await.unwrap_err();
        assert_eq!(apart.remote.admit(bearer, project).await.unwrap_err(), near);
    }
    apart.tried.revoke("ci").await;
    assert_eq!(apart.remote.admit(&token, "web").await.unwrap_err(), Denial::Ended("revoked"));
}

#[tokio::test]
async fn a_revocation_cuts_and_denies_without_being_asked() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    apart.followed(&token).await;
    let admission = apart.remote.admit(&token, "web").await.unwrap();
    apart.tried.revoke("ci").await;
    tokio::time::timeout(Duration::from_secs(5), admission.cut.cancelled()).await.expect("it is cut");
    assert_eq!(apart.remote.admit(&token, "web").await.unwrap_err(), Denial::Ended("revoked"));
}

#[tokio::test]
async fn everything_that_takes_access_away_cuts() {
    let apart = Apart::new().await;
    let token = apart.tried.token(MEMBER, "m", "empty").await;
    apart.followed(&token).await;
    let admission = apart.remote.admit(&token, "web").await.unwrap();
    apart.tried.apply(json!({ "kind": "project", "name": "web", "servers": ["mcpctl"] })).await;
    tokio::time::timeout(Duration::from_secs(5), admission.cut.cancelled())
        .await
        .expect("the owner is no member any more");
    assert!(matches!(apart.remote.admit(&token, "web").await.unwrap_err(), Denial::Forbidden(_)));
}

#[tokio::test]
async fn a_changed_project_is_seen_and_nobody_is_cut() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    apart.followed(&token).await;
    let before = apart.remote.admit(&token, "web").await.unwrap();
    apart
        .tried
        .apply(json!({ "kind": "project", "name": "web", "servers": ["mcpctl", "hidden"], "members": [MEMBER] }))
        .await;
    let wait = async {
        while apart.remote.admit(&token, "web").await.unwrap().project.servers.len() != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.expect("the new server is seen");
    assert!(!before.cut.is_cancelled());
}

#[tokio::test]
async fn without_the_control_plane_nobody_is_admitted() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    apart.followed(&token).await;
    apart.vanish().await;
    let begin = std::time::Instant::now();
    while apart.remote.admit(&token, "web").await.is_ok() {
        tokio::task::yield_now().await;
    }
    // 800 ms, and 300 for the question that gets no answer.
    assert!(begin.elapsed() < Duration::from_millis(1_500), "the lease ran out after {:?}", begin.elapsed());
    assert!(matches!(apart.remote.admit(&token, "web").await.unwrap_err(), Denial::Unavailable(_)));
}

#[tokio::test]
async fn shutting_down_cuts_everybody_and_leaves_no_task() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    apart.followed(&token).await;
    let admission = apart.remote.admit(&token, "web").await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), apart.remote.shutdown()).await.expect("every task ends");
    assert!(admission.cut.is_cancelled());
}

#[tokio::test]
async fn what_a_gateway_records_is_attributed_to_the_bearer() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    let mallory = mcpctl_core::actor::Actor::system("mallory");
    let entry = AuditEntry {
        kind: "call".to_owned(),
        project: Some("web".to_owned()),
        actor: Some(mallory),
        tool: Some("echo".to_owned()),
        allowed: true,
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    };
    apart.remote.record(Some(&token), entry.clone()).await.unwrap();
    let recorded = apart.audited().pop().unwrap();
    assert_eq!(recorded.actor.as_ref().unwrap().name, "ci");
    assert_eq!((recorded.owner.unwrap().name, recorded.token_sha), (ADMIN.to_owned(), Some(token.digest())));
    assert!(recorded.at.as_millis() > 0, "an entry from 1970 is not believed");
    apart.remote.record(Some(&token), AuditEntry { kind: "login".to_owned(), ..entry.clone() }).await.unwrap_err();
    apart.tried.revoke("ci").await;
    apart.remote.record(Some(&token), entry.clone()).await.unwrap_err();
    let refusal = AuditEntry { kind: "refusal".to_owned(), allowed: false, outcome: "denied".to_owned(), ..entry };
    apart.remote.record(Some(&token), refusal.clone()).await.unwrap();
    let recorded = apart.audited().pop().unwrap();
    // Revoked, it opens nothing; who was refused is told all the same.
    assert_eq!((recorded.actor.unwrap().name.as_str(), recorded.token_sha), ("ci", Some(token.digest())));
    apart.remote.record(None, refusal).await.unwrap_err();
}

/// A server that says what it is asked, with two messages before each answer, until it is asked to wait.
struct Parrot(Handshake);

#[async_trait]
impl Session for Parrot {
    fn handshake(&self) -> &Handshake {
        &self.0
    }
    async fn request(&self, call: Call, sink: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        let server = "mcpctl".to_owned();
        match &*call.method {
            "busy" => return Err(UpstreamError::Busy { server, limit: 3 }),
            "wait" => std::future::pending::<()>().await,
            "quiet" => {}
            _ => {
                let params: Arc<RawValue> = RawValue::from_string("{\n\"n\":1}".to_owned()).unwrap().into();
                sink.message(ServerMessage::Notification {
                    method: "notifications/progress".into(),
                    params: Some(params),
                });
                let id: Arc<RawValue> = RawValue::from_string("\"q\"".to_owned()).unwrap().into();
                sink.message(ServerMessage::Request { id, method: "roots/list".into(), params: None });
                tokio::task::yield_now().await;
            }
        }
        let said = json!({
            "method": &*call.method,
            "params": call.params,
            "target": call.target.as_deref(),
            "headers": call.headers,
            "progress": call.progress,
        });
        Ok(Reply::Result(serde_json::value::to_raw_value(&said).unwrap()))
    }
    async fn notify(&self, _: &str, _: Option<&RawValue>) -> Result<(), UpstreamError> {
        Ok(())
    }
    async fn respond(&self, _: &RawValue, _: Reply) -> Result<(), UpstreamError> {
        Err(UpstreamError::Gone { server: "mcpctl".to_owned() })
    }
    fn messages(&self) -> broadcast::Receiver<ServerMessage> {
        broadcast::Sender::new(1).subscribe()
    }
    fn is_open(&self) -> bool {
        true
    }
}

#[async_trait]
impl Sessions for Parrot {
    async fn session(&self, _: mcpctl_core::ids::Uid, key: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        let instructions = Some(format!("{:?} {:?}", key.session, key.capabilities).into());
        Ok(Arc::new(Self(Handshake { instructions, ..self.0.clone() })))
    }
    async fn end(&self, _: &SessionKey) {}
}

fn parrot() -> Arc<Parrot> {
    let raw = |text: &str| Some(RawValue::from_string(text.to_owned()).unwrap().into());
    Arc::new(Parrot(Handshake {
        era: Era::Legacy,
        version: "2025-11-25".to_owned(),
        server_info: raw(r#"{"name":"parrot"}"#),
        capabilities: raw(r#"{"tools":{}}"#),
        instructions: None,
    }))
}

struct Seen(parking_lot::Mutex<Vec<ServerMessage>>);
impl CallSink for Seen {
    fn message(&self, message: ServerMessage) {
        self.0.lock().push(message);
    }
}

async fn session(apart: &Apart, bearer: &CallerBearer) -> Arc<dyn Session> {
    let server = apart.tried.object(Kind::Server, None, "mcpctl").meta.uid;
    apart.tried.fleet.register(server, parrot());
    let admission = apart.remote.admit(bearer, "web").await.unwrap();
    let key = SessionKey {
        session: Some("s\u{e4}\n".into()),
        capabilities: Some("{}".into()),
        ..SessionKey::new(admission.project.uid, admission.caller.actor.uid)
    };
    apart.remote.sessions(bearer).session(server, &key).await.unwrap()
}

fn call(method: &str, params: Value) -> Call {
    Call::new(method, Some(serde_json::value::to_raw_value(&params).unwrap()), Duration::from_secs(5))
}

fn result(reply: Reply) -> Value {
    let (Reply::Result(raw) | Reply::Error(raw)) = reply;
    serde_json::from_str(raw.get()).unwrap()
}

#[tokio::test]
async fn a_conversation_from_afar_is_the_same_as_a_near_one() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    let session = session(&apart, &token).await;
    let said = session.handshake();
    assert_eq!((said.era, &*said.version), (Era::Legacy, "2025-11-25"));
    assert_eq!(said.server_info.as_ref().unwrap().get(), r#"{"name":"parrot"}"#);
    assert_eq!(said.instructions.as_deref(), Some(r#"Some("sä\n") Some("{}")"#));
    let quiet = session.request(call("quiet", json!({ "a": 1 })), Arc::new(NoSink)).await.unwrap();
    assert_eq!(result(quiet)["params"], json!({ "a": 1 }));
    let seen = Arc::new(Seen(parking_lot::Mutex::default()));
    let answer = session.request(call("tools/call", json!({ "name": "echo" })), seen.clone()).await.unwrap();
    assert_eq!(result(answer)["target"], "echo");
    let seen = std::mem::take(&mut *seen.0.lock());
    assert!(
        matches!(&seen[0], ServerMessage::Notification { params: Some(params), .. } if params.get() == "{\n\"n\":1}"),
        "{seen:?}"
    );
    assert!(matches!(&seen[1], ServerMessage::Request { id, .. } if id.get() == "\"q\""), "{seen:?}");
    session.notify("notifications/initialized", None).await.unwrap();
}

#[tokio::test]
async fn failures_of_a_server_come_back_as_they_were() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    let session = session(&apart, &token).await;
    let busy = session.request(call("busy", json!({})), Arc::new(NoSink)).await.unwrap_err();
    assert!(matches!(busy, UpstreamError::Busy { limit: 3, .. }), "{busy}");
    assert!(session.is_open());
    let id = RawValue::from_string("1".to_owned()).unwrap();
    let gone = session.respond(&id, Reply::Result(id.clone())).await.unwrap_err();
    assert!(matches!(gone, UpstreamError::Gone { .. }), "{gone}");
    assert!(!session.is_open(), "the next caller begins anew");
}

#[tokio::test]
async fn only_headers_that_speak_for_nobody_pass() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    let session = session(&apart, &token).await;
    let header = |name: &str| (name.to_owned(), "x".to_owned());
    let headers = vec![header("Authorization"), header("Mcp-Param-City"), header("traceparent"), header("Cookie")];
    let answer =
        session.request(Call { headers, progress: true, ..call("quiet", json!({})) }, Arc::new(NoSink)).await.unwrap();
    let answer = result(answer);
    assert_eq!(answer["headers"], json!([["Mcp-Param-City", "x"], ["traceparent", "x"]]));
    assert_eq!(answer["progress"], true);
}

#[tokio::test]
async fn a_filtered_tool_can_not_be_called_around_the_gateway() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    let filtered = json!({ "kind": "project", "name": "web", "servers": ["mcpctl"], "members": [MEMBER], "tools": { "mcpctl": { "deny": ["ec*"] } } });
    apart.tried.apply(filtered).await;
    let session = session(&apart, &token).await;
    let refused = session.request(call("tools/call", json!({ "name": "echo" })), Arc::new(NoSink)).await.unwrap();
    assert!(matches!(refused, Reply::Error(_)));
    let other = session.request(call("tools/call", json!({ "name": "other" })), Arc::new(NoSink)).await.unwrap();
    assert!(matches!(other, Reply::Result(_)));
}

#[tokio::test]
async fn a_call_around_the_gateway_is_recorded_all_the_same() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    let session = session(&apart, &token).await;
    session.request(call("tools/call", json!({ "name": "echo" })), Arc::new(NoSink)).await.unwrap();
    let entry = apart.audited().pop().unwrap();
    assert_eq!((&*entry.kind, entry.tool.as_deref(), &*entry.outcome), ("proxy", Some("echo"), "ok"));
    assert_eq!(entry.token_sha, Some(token.digest()));
}

#[tokio::test]
async fn a_revocation_ends_a_call_that_runs() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    apart.followed(&token).await;
    let session = session(&apart, &token).await;
    let (began, begun) = oneshot::channel();
    let running = tokio::spawn(async move {
        began.send(()).unwrap();
        session.request(call("wait", json!({})), Arc::new(NoSink)).await
    });
    begun.await.unwrap();
    apart.tried.revoke("ci").await;
    let ended = tokio::time::timeout(Duration::from_secs(5), running).await.expect("it ends").unwrap();
    assert!(ended.is_err());
}

#[tokio::test]
async fn a_server_that_left_the_project_can_not_be_reached() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    let session = session(&apart, &token).await;
    apart.tried.apply(json!({ "kind": "project", "name": "web", "servers": ["hidden"] })).await;
    let refused = session.request(call("quiet", json!({})), Arc::new(NoSink)).await.unwrap_err();
    assert!(refused.to_string().contains("has no server"), "{refused}");
    apart.tried.give(Kind::McpToken, Some("web"), "ci", Deed::Delete { expected: None }).await;
}
