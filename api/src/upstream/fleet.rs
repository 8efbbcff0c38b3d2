//! The fleet: all servers that this process runs or reaches, kept as planned, and the sessions with them.
//!
//! Whose conversation is whose: a **modern** server keeps no state, so all keys share its conversations. A **legacy** server
//! keeps state per session, so each key has one of its own, up to `sessions_max`. `replicas` copies are kept warm, and a
//! warm copy that belongs to nobody is given to the first key that needs one (if that key offers no capabilities: the warm
//! copy was opened without any). So one user of one legacy server costs one process, not two; lists are best asked through
//! the caller's own key, as the call that follows will use it.
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::future::join_all;
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::FailureCause;
use parking_lot::RwLock;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use super::fleet_server::Server;
use super::health::{HealthState, LastFailure, ServerHealth, Transitions};
use super::logs::{LogLine, ServerLog};
use super::{Era, ListTap, ServerPlan, Session, SessionKey, Sessions, UpstreamError};

/// Limits of a fleet.
#[derive(Clone, Debug)]
pub struct FleetLimits {
    /// On a handshake of a server that has been open before.
    pub handshake: Duration,
    /// On the first handshake: `npx` and `uvx` may have to fetch the package.
    pub first_handshake: Duration,
    /// Conversations of one key that were not used for so long are ended.
    pub idle: Duration,
    /// Where all sessions are taken, one not used for so long makes room for another key.
    pub spare_after: Duration,
    /// How long running calls may go on when their server is changed, removed or stopped.
    pub drain: Duration,
    /// Each STDIO server works in a folder of its own in here, named after its uid; without it, in that for temporary files.
    pub work_folder: Option<PathBuf>,
}

impl Default for FleetLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_handshake: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            spare_after: Duration::from_secs(20),
            drain: Duration::from_secs(5),
            work_folder: None,
        }
    }
}

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InstanceState {
    /// Its handshake is going on.
    Starting,
    /// It can be used.
    Running,
    /// It failed and is tried again shortly.
    Backoff,
    /// It failed [`FAILURES_MAX`] times in a row; it is still tried, every 30 s.
    Failed,
    /// It is being stopped.
    Stopped,
}

/// Failures in a row after which a server is called failed.
pub const FAILURES_MAX: u32 = 5;

/// One running copy of a server (or the one virtual copy of a server reached by url).
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// `<server>-<n>`.
    pub name: String,
    /// The server it is a copy of.
    pub server: Uid,
    /// The server's name.
    pub server_name: String,
    /// What it does.
    pub state: InstanceState,
    /// Its process.
    pub pid: Option<u32>,
    /// Generation spoken.
    pub era: Option<Era>,
    /// Protocol version spoken.
    pub protocol_version: Option<String>,
    /// Since when it is in this state.
    pub since: SystemTime,
    /// How often this instance ended by itself.
    pub restarts: u32,
    /// Why it failed last.
    pub last_error: Option<String>,
}

/// A server that lives in this process, and since when.
type Embedded = (SystemTime, Arc<dyn Sessions>);

/// All servers of this process.
pub struct Fleet {
    limits: Arc<FleetLimits>,
    /// Looks at lists of tools on their way.
    tap: Option<Arc<dyn ListTap>>,
    servers: RwLock<HashMap<Uid, Arc<Server>>>,
    embedded: RwLock<HashMap<Uid, Embedded>>,
    /// Servers that are being replaced.
    retiring: TaskTracker,
    applying: tokio::sync::Mutex<()>,
    /// Counts how often any server became unhealthy or healthy again.
    transitions: Transitions,
}

impl Fleet {
    /// An empty fleet. Must be dropped or stopped inside of the runtime that it is used in.
    #[must_use]
    pub fn new(limits: FleetLimits) -> Self {
        Self {
            limits: Arc::new(limits),
            tap: None,
            servers: RwLock::default(),
            embedded: RwLock::default(),
            retiring: TaskTracker::new(),
            applying: tokio::sync::Mutex::new(()),
            transitions: Arc::new(tokio::sync::watch::Sender::new(0)),
        }
    }

    /// An empty fleet whose servers' lists of tools are looked at on their way.
    #[must_use]
    pub fn watched(limits: FleetLimits, tap: Arc<dyn ListTap>) -> Self {
        let mut fleet = Self::new(limits);
        fleet.tap = Some(tap);
        fleet
    }

    /// Makes a server that lives in this process reachable like any other. It is not subject to [`Fleet::apply`]; where a
    /// plan has the same uid, the plan is followed.
    pub fn register(&self, server: Uid, sessions: Arc<dyn Sessions>) {
        self.embedded.write().insert(server, (SystemTime::now(), sessions));
    }

    /// Takes back [`Fleet::register`].
    pub fn unregister(&self, server: Uid) {
        self.embedded.write().remove(&server);
    }

    /// Makes the fleet as planned. New servers are started. A changed one (revision or name) is replaced: its old
    /// conversations end after their calls, within the drain limit, while new ones are opened already. One that is planned
    /// no more has stopped, with its processes, when this returns.
    pub async fn apply(&self, plans: Vec<ServerPlan>) {
        let _one = self.applying.lock().await;
        let mut removed = Vec::new();
        {
            let mut servers = self.servers.write();
            let mut old = std::mem::take(&mut *servers);
            for plan in plans {
                let uid = plan.uid;
                let kept = old.remove(&uid).or_else(|| servers.remove(&uid));
                let server = match kept {
                    Some(server) if server.same(&plan) => {
                        server.adjust(&plan);
                        server
                    }
                    Some(server) => {
                        let log = server.log().clone();
                        self.retiring.spawn(async move { server.retire().await });
                        self.start(plan, log)
                    }
                    None => self.start(plan, Arc::new(ServerLog::new())),
                };
                servers.insert(uid, server);
            }
            removed.extend(old.into_values());
        }
        join_all(removed.iter().map(|server| server.retire())).await;
    }

    fn start(&self, plan: ServerPlan, log: Arc<ServerLog>) -> Arc<Server> {
        Server::start(plan, self.limits.clone(), log, self.tap.clone(), self.transitions.clone())
    }

    /// Stops all servers, each within the drain limit and the grace of its processes. Later calls find no server.
    pub async fn stop_all(&self) {
        self.apply(Vec::new()).await;
        self.retiring.close();
        self.retiring.wait().await;
    }

    /// All instances, in the order of their names.
    #[must_use]
    pub fn instances(&self) -> Vec<InstanceStatus> {
        let mut all: Vec<_> = self.servers.read().values().flat_map(|server| server.instances()).collect();
        all.sort_by(|a, b| (&a.server_name, a.name.len(), &a.name).cmp(&(&b.server_name, b.name.len(), &b.name)));
        all
    }

    /// How a server is; `None` when this process knows nothing of it.
    #[must_use]
    pub fn health(&self, server: Uid) -> Option<ServerHealth> {
        if let Some(server) = self.servers.read().get(&server) {
            return Some(server.health());
        }
        let embedded = self.embedded.read();
        let (since, sessions) = embedded.get(&server)?;
        Some(of_this_process(*since, sessions.unavailable()))
    }

    /// Counts how often servers became unhealthy or healthy again: for whoever wants to know when to look.
    #[must_use]
    pub fn transitions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.transitions.subscribe()
    }

    /// Ends every conversation of a subject in a project, and waits until nothing is left of it. Answers the servers that had
    /// any, by name, and how many.
    pub async fn end_of(&self, project: Uid, subject: Uid) -> Vec<(String, usize)> {
        let servers: Vec<_> = self.servers.read().values().cloned().collect();
        let ended = servers.iter().map(|server| async {
            let count = server.end_where(|key| key.project == project && key.subject == subject).await;
            (server.name().to_owned(), count)
        });
        join_all(ended).await.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// The last `tail` lines of a server's log, of one of its instances or of all.
    #[must_use]
    pub fn logs(&self, server: Uid, instance: Option<&str>, tail: usize) -> Vec<LogLine> {
        self.servers.read().get(&server).map(|server| server.log().tail(instance, tail)).unwrap_or_default()
    }

    /// The lines of a server's log from now on, of all of its instances. A slow reader is told that it lagged.
    #[must_use]
    pub fn follow_logs(&self, server: Uid) -> Option<broadcast::Receiver<LogLine>> {
        self.servers.read().get(&server).map(|server| server.log().follow())
    }

    /// What `mcpctl logs NAME` means: a server, or an instance of one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(Uid, Option<String>)> {
        let servers = self.servers.read();
        let by_name = |wanted: &str| servers.iter().find(|(_, server)| server.name() == wanted).map(|(uid, _)| *uid);
        if let Some(uid) = by_name(name) {
            return Some((uid, None));
        }
        let (server, number) = name.rsplit_once('-')?;
        number.parse::<u32>().ok()?;
        Some((by_name(server)?, Some(name.to_owned())))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.servers.get_mut().values().for_each(|server| server.abandon());
    }
}

#[async_trait]
impl Sessions for Fleet {
    async fn session(&self, server: Uid, key: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        let found = self.servers.read().get(&server).cloned();
        if let Some(found) = found {
            found.health.admit()?;
            return match found.open_one(key) {
                Some(session) => Ok(session),
                None => found.session(key).await,
            };
        }
        let embedded = self.embedded.read().get(&server).cloned();
        match embedded {
            Some((_, sessions)) => sessions.session(server, key).await,
            None => Err(UpstreamError::Unavailable {
                server: server.to_string(),
                why: "it is not run here: `mcpctl get servers` shows which there are".into(),
            }),
        }
    }

    async fn end(&self, key: &SessionKey) {
        let servers: Vec<_> = self.servers.read().values().cloned().collect();
        join_all(servers.iter().map(|server| server.end(key))).await;
        let embedded: Vec<_> = self.embedded.read().values().cloned().collect();
        join_all(embedded.iter().map(|(_, sessions)| sessions.end(key))).await;
    }
}

/// The health of what lives in this process: well, unless it can't be had at all.
fn of_this_process(since: SystemTime, unavailable: Option<String>) -> ServerHealth {
    let (state, check) = match unavailable {
        Some(_) => (HealthState::Unhealthy, "none: it can't be started"),
        None => (HealthState::Healthy, "none: it is part of the control plane"),
    };
    let failure = |why| LastFailure { at: since, cause: FailureCause::Unavailable, why };
    ServerHealth {
        state,
        since,
        failures: 0,
        last_failure: unavailable.map(failure),
        last_probe: None,
        next_probe: None,
        check: check.to_owned(),
        transitions: 0,
    }
}

#[cfg(test)]
#[path = "fleet_health_tests.rs"]
mod health_tests;
#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
