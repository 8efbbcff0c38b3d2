//! A control plane in a map: tokens, one project, an audit log that can break.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_api::cut::{Cut, Why};
use mcpctl_api::plane::{Admission, AuditEntry, AuditFailed, Caller, CallerBearer, Denial, Plane, ProjectView};
use mcpctl_api::upstream::{Session, SessionKey, Sessions, UpstreamError};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::token::{PAT_PREFIX, RANDOM_BYTES, encode};
use parking_lot::Mutex;

use crate::fake_server::FakeServer;

/// A token that the plane knows.
struct Known {
    caller: Arc<Caller>,
    cut: Cut,
    denial: Option<Denial>,
}

/// The plane.
pub struct FakePlane {
    pub project: Mutex<Arc<ProjectView>>,
    pub servers: Arc<FakeServers>,
    pub audit: Mutex<Vec<AuditEntry>>,
    pub audit_broken: AtomicBool,
    /// Nothing becomes durable.
    pub disk_broken: AtomicBool,
    /// How many calls the servers had been asked when each call was admitted.
    pub asked_when_admitted: Mutex<Vec<usize>>,
    known: Mutex<HashMap<Digest, Known>>,
    revoke_next: Mutex<Option<(String, Denial)>>,
}

pub struct FakeServers(pub HashMap<Uid, Arc<FakeServer>>);

/// The text of the token with this number.
pub fn token(number: u8) -> String {
    encode(PAT_PREFIX, &[number; RANDOM_BYTES]).expose().to_owned()
}

fn digest(token: &str) -> Digest {
    CallerBearer::new(token.to_owned()).digest()
}

impl FakePlane {
    pub fn new(project: ProjectView, servers: HashMap<Uid, Arc<FakeServer>>) -> Arc<Self> {
        let plane = Self {
            project: Mutex::new(Arc::new(project)),
            servers: Arc::new(FakeServers(servers)),
            audit: Mutex::default(),
            audit_broken: AtomicBool::new(false),
            disk_broken: AtomicBool::new(false),
            asked_when_admitted: Mutex::default(),
            known: Mutex::default(),
            revoke_next: Mutex::default(),
        };
        plane.know(1);
        plane.know(2);
        Arc::new(plane)
    }

    fn know(&self, number: u8) {
        let uid = Uid::fixed(1000 + u128::from(number));
        let actor = Actor { kind: ActorKind::McpToken, uid, name: format!("token-{number}") };
        let sha = digest(&token(number));
        let caller = Arc::new(Caller { actor, owner: None, token_sha: Some(sha) });
        self.known.lock().insert(sha, Known { caller, cut: Cut::new(), denial: None });
    }

    /// Takes the access of a token away.
    pub fn revoke(&self, token: &str, denial: Denial) {
        let mut known = self.known.lock();
        let known = known.get_mut(&digest(token)).unwrap();
        known.cut.cancel(Why::denied(&denial, Seq(43)));
        known.denial = Some(denial);
    }

    /// Whether all that ran by a token has stopped, or does within a limit.
    pub async fn emptied(&self, token: &str, limit: Duration) -> bool {
        let cut = self.known.lock()[&digest(token)].cut.clone();
        cut.emptied(limit).await
    }

    /// Takes the access of a token away while the next line is written.
    pub fn revoke_when_recording(&self, token: &str, denial: Denial) {
        *self.revoke_next.lock() = Some((token.to_owned(), denial));
    }

    /// Lines of a kind.
    pub fn lines(&self, kind: &str) -> Vec<AuditEntry> {
        self.audit.lock().iter().filter(|line| line.kind == kind).cloned().collect()
    }
}

#[async_trait]
impl Plane for FakePlane {
    async fn admit(&self, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial> {
        let known = self.known.lock();
        let known = known.get(&bearer.digest()).ok_or(Denial::Ended("unknown"))?;
        if let Some(denial) = &known.denial {
            return Err(denial.clone());
        }
        let view = self.project.lock().clone();
        if view.name != project {
            return Err(Denial::OtherProject);
        }
        Ok(Admission {
            caller: known.caller.clone(),
            project: view,
            seq: Seq(42),
            via: [Seq(7)].into(),
            cut: known.cut.clone(),
        })
    }

    fn sessions(&self, _: &CallerBearer) -> Arc<dyn Sessions> {
        self.servers.clone()
    }

    async fn admitted(&self, bearer: Option<&CallerBearer>, entry: AuditEntry) -> Result<(), AuditFailed> {
        if self.disk_broken.load(Ordering::SeqCst) {
            return Err(AuditFailed("the disk failed".into()));
        }
        let asked = self.servers.0.values().map(|server| server.asked("tools/call").len()).sum();
        self.asked_when_admitted.lock().push(asked);
        self.record(bearer, entry).await
    }

    async fn record(&self, _: Option<&CallerBearer>, entry: AuditEntry) -> Result<(), AuditFailed> {
        if self.audit_broken.load(Ordering::SeqCst) {
            return Err(AuditFailed("the disk is full".into()));
        }
        let revoke = self.revoke_next.lock().take();
        if let Some((token, denial)) = revoke {
            self.revoke(&token, denial);
        }
        self.audit.lock().push(entry);
        Ok(())
    }

    fn seq(&self) -> Seq {
        Seq(42)
    }
}

#[async_trait]
impl Sessions for FakeServers {
    async fn session(&self, server: Uid, key: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        self.0[&server].open(key)
    }

    async fn end(&self, key: &SessionKey) {
        self.0.values().for_each(|server| server.end(key));
    }
}
