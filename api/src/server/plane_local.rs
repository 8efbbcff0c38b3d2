//! What gateways ask, answered from the newest state in this process. Nothing is remembered beyond its seq.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use mcpctl_core::access::{Ask, Rule, Verb, decide};
use mcpctl_core::actor::ActorKind;
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::{Kind, McpToken, Project, Server};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::audit::AuditLog;
use super::auth::authenticate;
use super::clock;
use super::published::Published;
use crate::plane::{Admission, AuditEntry, AuditFailed, Caller, CallerBearer, Denial, Plane, ProjectView, ServerView};
use crate::upstream::{Fleet, Sessions};

/// Pairs of caller and project that are remembered for cutting; more than that are decided anew each time.
const ADMITTED_MAX: usize = 100_000;

/// An admission and the state that it was decided in: good for exactly that seq.
struct Admitted {
    admission: Admission,
    bearer: CallerBearer,
    expires_at: Option<Timestamp>,
    last_used: Arc<AtomicU64>,
}

/// The plane of this process.
pub struct LocalPlane {
    published: Published,
    fleet: Arc<Fleet>,
    audit: Arc<AuditLog>,
    admitted: RwLock<HashMap<(Digest, String), Admitted>>,
    last_used: RwLock<HashMap<Uid, Arc<AtomicU64>>>,
}

impl LocalPlane {
    /// A plane over the newest state.
    #[must_use]
    pub fn new(published: Published, fleet: Arc<Fleet>, audit: Arc<AuditLog>) -> Self {
        Self { published, fleet, audit, admitted: RwLock::default(), last_used: RwLock::default() }
    }

    /// When a token last opened its project, since this process started.
    #[must_use]
    pub fn last_used(&self, token: Uid) -> Option<Timestamp> {
        self.last_used.read().get(&token).map(|at| Timestamp::from_millis(at.load(Ordering::Relaxed)))
    }

    /// Looks again at everybody who was admitted, and cuts those who would not be any more. Called for each newer state.
    pub fn cut_the_refused(&self) {
        let state = self.published.load();
        let now = clock::now().max(state.last_at());
        self.admitted.write().retain(|(_, project), entry| match admit(&state, &entry.bearer, project, now) {
            Ok((caller, via, _)) => {
                let view = view_of(&state, entry.admission.project.uid);
                let same = view.as_ref().is_some_and(|view| *view == *entry.admission.project);
                if !same && let Some(view) = view {
                    entry.admission.project = Arc::new(view);
                }
                entry.admission.caller = caller;
                entry.admission.via = via;
                entry.admission.seq = state.seq();
                true
            }
            Err(_) => {
                entry.admission.cut.cancel();
                false
            }
        });
    }

    /// Follows the newest state until the control plane stops.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut states = self.published.follow();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = states.changed() => if changed.is_err() { return },
            }
            states.mark_unchanged();
            self.cut_the_refused();
        }
    }

    fn remembered(&self, key: &(Digest, String), seq: Seq, now: Timestamp) -> Option<Admission> {
        let admitted = self.admitted.read();
        let entry = admitted.get(key)?;
        let fresh = entry.admission.seq == seq && entry.expires_at.is_none_or(|at| at > now);
        fresh.then(|| {
            entry.last_used.store(now.as_millis(), Ordering::Relaxed);
            entry.admission.clone()
        })
    }

    fn remember(
        &self,
        key: (Digest, String),
        bearer: &CallerBearer,
        admission: Admission,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Admission {
        let last_used = self.last_used.write().entry(admission.caller.actor.uid).or_default().clone();
        last_used.store(now.as_millis(), Ordering::Relaxed);
        let mut admitted = self.admitted.write();
        let known = admitted.get(&key).map(|entry| entry.admission.cut.clone()).filter(|cut| !cut.is_cancelled());
        let admission = Admission { cut: known.unwrap_or_default(), ..admission };
        if admitted.len() < ADMITTED_MAX || admitted.contains_key(&key) {
            admitted
                .insert(key, Admitted { admission: admission.clone(), bearer: bearer.clone(), expires_at, last_used });
        }
        admission
    }
}

type Decided = (Arc<Caller>, Arc<[Seq]>, Option<Timestamp>);

/// The decision: a live credential, of this project, whose subject may run it. Pure in state and time.
fn admit(state: &State, bearer: &CallerBearer, project: &str, now: Timestamp) -> Result<Decided, Denial> {
    let who = authenticate(state, bearer.expose(), now).map_err(|why| match why {
        "the token is revoked" => Denial::Ended("revoked"),
        "the token is expired" => Denial::Ended("expired"),
        "the token is unknown" => Denial::Ended("unknown"),
        "the user is disabled" => Denial::Ended("of a disabled user"),
        other => Denial::NotAToken(other),
    })?;
    let name =
        Name::parse(NameRule::Label, project).map_err(|_| Denial::NoProject(project.chars().take(80).collect()))?;
    let object = state.by_name(Kind::Project, None, &name);
    if who.project.is_some() && who.project != object.map(|object| object.meta.uid) {
        return Err(Denial::OtherProject);
    }
    let ask =
        object.map_or_else(|| Ask::named(Verb::Run, Kind::Project, None, &name), |object| Ask::on(Verb::Run, object));
    let verdict = decide(state, &who.actor, &ask, now);
    if !verdict.allowed {
        return Err(match (verdict.rule, who.actor.kind) {
            (Rule::Ended, _) => Denial::Ended("of a disabled or deleted owner"),
            (_, ActorKind::McpToken) => {
                Denial::Forbidden(format!("the token's owner may not run projects/{name} any more"))
            }
            _ => Denial::Forbidden(format!("{} may not run projects/{name}", who.actor)),
        });
    }
    if object.is_none() {
        return Err(Denial::NoProject(name.to_string()));
    }
    let token = state.by_uid(who.actor.uid).and_then(|object| object.of::<McpToken>());
    let owner = token.and_then(|(_, status)| status.owner.clone());
    let token_sha = token.map(|_| who.digest);
    Ok((Arc::new(Caller { actor: who.actor, owner, token_sha }), verdict.via.into(), who.expires_at))
}

/// A project as gateways serve it.
#[must_use]
pub fn view_of(state: &State, project: Uid) -> Option<ProjectView> {
    let object = state.by_uid(project)?;
    let (spec, _) = object.of::<Project>()?;
    let filter = |name: &Name| spec.tools.get(name.as_str()).cloned().unwrap_or_default();
    let attached = spec.servers.iter().map(mcpctl_core::reference::Ref::name);
    let servers: Vec<ServerView> =
        attached.filter_map(|name| server_view(state.by_name(Kind::Server, None, name)?, filter(name))).collect();
    let version = servers.iter().map(|server| server.version).chain([object.meta.resource_version]).max();
    Some(ProjectView {
        uid: object.meta.uid,
        name: object.meta.name.to_string(),
        instructions: spec.instructions.clone(),
        tool_names: spec.tool_names,
        servers,
        version: version.unwrap_or_default(),
    })
}

fn server_view(object: &Object, project_tools: mcpctl_core::kinds::ToolFilter) -> Option<ServerView> {
    let (spec, _) = object.of::<Server>()?;
    Some(ServerView {
        uid: object.meta.uid,
        name: object.meta.name.to_string(),
        description: spec.description.clone(),
        tools: spec.tools.clone(),
        project_tools,
        version: object.meta.resource_version,
    })
}

#[async_trait]
impl Plane for LocalPlane {
    async fn admit(&self, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial> {
        let state = self.published.load();
        let now = clock::now().max(state.last_at());
        let key = (bearer.digest(), project.to_owned());
        if let Some(admission) = self.remembered(&key, state.seq(), now) {
            return Ok(admission);
        }
        let (caller, via, expires_at) = admit(&state, bearer, project, now)?;
        let name = Name::parse(NameRule::Label, project).map_err(|_| Denial::NoProject(project.to_owned()))?;
        let uid = state.by_name(Kind::Project, None, &name).map(|object| object.meta.uid);
        let view = uid.and_then(|uid| view_of(&state, uid)).ok_or_else(|| Denial::NoProject(project.to_owned()))?;
        let admission =
            Admission { caller, project: Arc::new(view), seq: state.seq(), via, cut: CancellationToken::new() };
        Ok(self.remember(key, bearer, admission, expires_at, now))
    }

    fn sessions(&self, _bearer: &CallerBearer) -> Arc<dyn Sessions> {
        self.fleet.clone()
    }

    async fn record(&self, _bearer: Option<&CallerBearer>, entry: AuditEntry) -> Result<(), AuditFailed> {
        self.audit.append(entry).map(drop)
    }

    fn seq(&self) -> Seq {
        self.published.load().seq()
    }
}
