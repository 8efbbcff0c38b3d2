//! Calls of a strict project through the proxy: durable before the server is called, or not made.
use mcpctl_core::log::disk::Disk;
use parking_lot::Mutex;

use super::*;
use crate::plane::kind;
use crate::server::audit::{AuditLog, GatedDisk};

/// A server that notes, when it is called, what the audit log has made durable by then.
struct Looker {
    audit: Arc<AuditLog>,
    seen: Mutex<Vec<Vec<String>>>,
    handshake: Handshake,
}

impl Looker {
    fn durable(&self) -> Vec<String> {
        let durable = self.audit.figures().durable;
        let mut kinds = Vec::new();
        self.audit
            .each(&mut |position, entry| {
                kinds.extend(entry.filter(|_| position <= durable).map(|entry| entry.kind));
                true
            })
            .unwrap();
        kinds
    }
}

struct Looking(Arc<Looker>);

#[async_trait]
impl Sessions for Looking {
    async fn session(&self, _: mcpctl_core::ids::Uid, _: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        Ok(Arc::new(Looking(self.0.clone())))
    }
    async fn end(&self, _: &SessionKey) {}
}

#[async_trait]
impl Session for Looking {
    fn handshake(&self) -> &Handshake {
        &self.0.handshake
    }
    async fn request(&self, _: Call, _: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        let durable = self.0.durable();
        self.0.seen.lock().push(durable);
        Ok(Reply::Result(RawValue::from_string("{}".to_owned()).unwrap()))
    }
    async fn notify(&self, _: &str, _: Option<&RawValue>) -> Result<(), UpstreamError> {
        Ok(())
    }
    async fn respond(&self, _: &RawValue, _: Reply) -> Result<(), UpstreamError> {
        Ok(())
    }
    fn messages(&self) -> broadcast::Receiver<ServerMessage> {
        broadcast::Sender::new(1).subscribe()
    }
    fn is_open(&self) -> bool {
        true
    }
}

struct Strict {
    apart: Apart,
    disk: &'static GatedDisk,
    looker: Arc<Looker>,
    session: Arc<dyn Session>,
}

impl Strict {
    async fn new(strict: bool) -> Self {
        let disk = GatedDisk::new();
        let apart = Apart::of(Tried::on(disk as &'static dyn Disk).await).await;
        let project = json!({ "kind": "project", "name": "web", "servers": ["mcpctl"], "strict": strict });
        apart.tried.apply(project).await;
        let token = apart.tried.token(ADMIN, "ci", "empty").await;
        let handshake = parrot().0.clone();
        let looker = Arc::new(Looker { audit: apart.tried.audit.clone(), seen: Mutex::default(), handshake });
        let server = apart.tried.object(Kind::Server, None, "mcpctl").meta.uid;
        apart.tried.fleet.register(server, Arc::new(Looking(looker.clone())));
        let admission = apart.remote.admit(&token, "web").await.unwrap();
        let key = SessionKey::new(admission.project.uid, admission.caller.actor.uid);
        let session = apart.remote.sessions(&token).session(server, &key).await.unwrap();
        Self { apart, disk, looker, session }
    }

    async fn call(&self, method: &str) -> Result<Reply, UpstreamError> {
        self.session.request(call(method, json!({ "name": "echo" })), Arc::new(NoSink)).await
    }

    fn called(&self) -> usize {
        self.looker.seen.lock().len()
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.disk.hold(false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_to_a_server_of_a_strict_project_is_durable_before() {
    let strict = Arc::new(Strict::new(true).await);
    strict.disk.hold(true);
    let calling = tokio::spawn({
        let strict = strict.clone();
        async move { strict.call("tools/call").await.map(drop) }
    });
    let audit = &strict.apart.tried.audit;
    strict
        .apart
        .until("it is written", || strict.apart.audited().iter().any(|one| one.kind == kind::CALL_ADMITTED))
        .await;
    assert_eq!(strict.called(), 0, "it is written and not durable, and the server was called");
    strict.disk.hold(false);
    calling.await.unwrap().unwrap();
    let seen = strict.looker.seen.lock().clone();
    assert_eq!(seen[0].iter().filter(|one| *one == kind::CALL_ADMITTED).count(), 1, "{seen:?}");
    let entry = strict.apart.audited().into_iter().find(|one| one.kind == kind::CALL_ADMITTED).unwrap();
    assert_eq!((entry.tool.as_deref(), &*entry.outcome, entry.allowed), (Some("echo"), "admitted", true));
    assert!(entry.actor.is_some() && entry.asked.is_some() && entry.seq.0 > 0, "it can be decided again: {entry:?}");
    assert!(audit.figures().durable.0 > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_can_not_be_made_durable_is_refused_and_the_server_is_never_called() {
    let strict = Strict::new(true).await;
    strict.disk.fail(true);
    for method in ["tools/call", "prompts/get", "resources/read", "vendor/method"] {
        let refused = strict.call(method).await.unwrap_err();
        assert!(matches!(refused, UpstreamError::Unrecorded { .. }), "{method}: {refused}");
    }
    assert_eq!(strict.called(), 0);
    strict.call("tools/list").await.expect("a list is no call");
    assert!(strict.session.is_open(), "it is not the server's fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_is_not_strict_does_not_wait_for_the_disk() {
    let strict = Strict::new(false).await;
    strict.disk.hold(true);
    strict.call("tools/call").await.unwrap();
    assert_eq!(strict.called(), 1);
    assert!(strict.apart.audited().iter().all(|one| one.kind != kind::CALL_ADMITTED));
}
