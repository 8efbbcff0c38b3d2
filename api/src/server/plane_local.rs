//! What gateways ask, answered from the newest state in this process. Nothing is remembered beyond its seq.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_core::access::{Ask, Rule, Verb, decide};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::{Kind, McpToken, Project, Server};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use mcpctl_projections::State;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::app::IdleLogins;
use super::audit::AuditLog;
use super::audit::pin::pin;
use super::auth::{Authenticated, authenticate, by_digest};
use super::published::Published;
use crate::plane::{Admission, AuditEntry, AuditFailed, Caller, CallerBearer, Denial, Plane, ProjectView, ServerView};
use crate::upstream::{Fleet, Sessions};

/// Pairs of caller and project that are remembered for cutting. Who comes beyond that is sent away: an admission that
/// could not be cut would outlive its end.
const ADMITTED_MAX: usize = 100_000;
/// How often those are looked for whose time is over: the end of a login is no event.
const LOOK_FOR_EXPIRED_EVERY: Duration = Duration::from_secs(1);

/// An admission and the state that it was decided in: good for exactly that seq.
struct Admitted {
    digest: Digest,
    project: String,
    admission: Admission,
    expires_at: Option<Timestamp>,
    last_used: Arc<AtomicU64>,
}

/// The plane of this process.
pub struct LocalPlane {
    published: Published,
    fleet: Arc<Fleet>,
    audit: Arc<AuditLog>,
    idle: Arc<IdleLogins>,
    admitted: RwLock<HashMap<(Digest, String), Arc<Admitted>>>,
    last_used: RwLock<HashMap<Uid, Arc<AtomicU64>>>,
}

impl LocalPlane {
    /// A plane over the newest state.
    #[must_use]
    pub fn new(published: Published, fleet: Arc<Fleet>, audit: Arc<AuditLog>) -> Self {
        Self {
            published,
            fleet,
            audit,
            idle: Arc::default(),
            admitted: RwLock::default(),
            last_used: RwLock::default(),
        }
    }

    /// When logins were last used, here or elsewhere.
    #[must_use]
    pub const fn idle(&self) -> &Arc<IdleLogins> {
        &self.idle
    }

    /// When a token last opened its project, since this process started.
    #[must_use]
    pub fn last_used(&self, token: Uid) -> Option<Timestamp> {
        self.last_used.read().get(&token).map(|at| Timestamp::from_millis(at.load(Ordering::Relaxed)))
    }

    /// Looks again at everybody who was admitted, and cuts those who would not be any more. Called for each newer state.
    /// Nothing is locked while it decides; the others are decided anew when they come again.
    pub fn cut_the_refused(&self) {
        let state = self.published.load();
        let now = self.published.now().max(state.last_at());
        self.cut_where(|entry| {
            !by_digest(&state, entry.digest, now).is_ok_and(|who| open(&state, who, &entry.project, now).is_ok())
        });
        self.last_used.write().retain(|token, _| state.by_uid(*token).is_some());
    }

    /// Cuts those whose credential's time is over.
    fn cut_the_expired(&self) {
        let now = self.published.now();
        self.cut_where(|entry| entry.expires_at.is_some_and(|at| at <= now));
    }

    fn cut_where(&self, over: impl Fn(&Admitted) -> bool) {
        let all: Vec<Arc<Admitted>> = self.admitted.read().values().cloned().collect();
        let ended: Vec<Arc<Admitted>> = all.into_iter().filter(|entry| over(entry)).collect();
        if ended.is_empty() {
            return;
        }
        let mut admitted = self.admitted.write();
        for entry in ended {
            entry.admission.cut.cancel();
            let key = (entry.digest, entry.project.clone());
            if admitted.get(&key).is_some_and(|held| held.admission.cut.is_cancelled()) {
                admitted.remove(&key);
            }
        }
    }

    /// Follows the newest state until the control plane stops.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut states = self.published.follow();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = states.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    states.mark_unchanged();
                    let plane = self.clone();
                    let _ = tokio::task::spawn_blocking(move || plane.cut_the_refused()).await;
                }
                () = tokio::time::sleep(LOOK_FOR_EXPIRED_EVERY) => self.cut_the_expired(),
            }
        }
    }

    /// Whom a credential belonged to, also when it opens nothing any more: a refusal names the token that was refused.
    pub(super) fn known_as(&self, digest: &Digest) -> Option<Actor> {
        let state = self.published.load();
        let object = state.credential(digest).and_then(|uid| state.by_uid(uid))?;
        let kind = match object.meta.kind {
            Kind::McpToken => ActorKind::McpToken,
            Kind::User => ActorKind::User,
            _ => return None,
        };
        Some(Actor { kind, uid: object.meta.uid, name: object.meta.name.to_string() })
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
        admission: Admission,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Admission, Denial> {
        let last_used = self.last_used.write().entry(admission.caller.actor.uid).or_default().clone();
        last_used.store(now.as_millis(), Ordering::Relaxed);
        let mut admitted = self.admitted.write();
        let known = admitted.get(&key).map(|entry| entry.admission.cut.clone()).filter(|cut| !cut.is_cancelled());
        if known.is_none() && admitted.len() >= ADMITTED_MAX {
            return Err(Denial::Unavailable("too many callers are admitted".to_owned()));
        }
        let admission = Admission { cut: known.unwrap_or_default(), ..admission };
        let (digest, project) = key.clone();
        let entry = Admitted { digest, project, admission: admission.clone(), expires_at, last_used };
        admitted.insert(key, Arc::new(entry));
        Ok(admission)
    }
}

type Decided = (Arc<Caller>, Arc<[Seq]>, Option<Timestamp>);

/// A live credential, or why it is none.
fn identify(state: &State, bearer: &CallerBearer, now: Timestamp) -> Result<Authenticated, Denial> {
    authenticate(state, bearer.expose(), now).map_err(|why| match why {
        "the token is revoked" => Denial::Ended("revoked"),
        "the token is expired" => Denial::Ended("expired"),
        "the token is unknown" => Denial::Ended("unknown"),
        "the user is disabled" => Denial::Ended("of a disabled user"),
        other => Denial::NotAToken(other),
    })
}

/// The decision: a credential of this project, whose subject may run it. Pure in state and time.
fn open(state: &State, who: Authenticated, project: &str, now: Timestamp) -> Result<Decided, Denial> {
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
pub fn view_of(state: &dyn World, project: Uid) -> Option<ProjectView> {
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

impl LocalPlane {
    fn admit_at(&self, state: &State, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial> {
        let now = self.published.now().max(state.last_at());
        let key = (bearer.digest(), project.to_owned());
        if let Some(admission) = self.remembered(&key, state.seq(), now) {
            self.note_use(bearer.digest(), &admission.caller)?;
            return Ok(admission);
        }
        let who = identify(state, bearer, now)?;
        let (caller, via, expires_at) = open(state, who, project, now)?;
        self.note_use(bearer.digest(), &caller)?;
        let name = Name::parse(NameRule::Label, project).map_err(|_| Denial::NoProject(project.to_owned()))?;
        let uid = state.by_name(Kind::Project, None, &name).map(|object| object.meta.uid);
        let view = uid.and_then(|uid| view_of(state, uid)).ok_or_else(|| Denial::NoProject(project.to_owned()))?;
        let admission =
            Admission { caller, project: Arc::new(view), seq: state.seq(), via, cut: CancellationToken::new() };
        self.remember(key, admission, expires_at, now)
    }

    /// A login that opens a project is in use, and one that was idle for too long opens none.
    fn note_use(&self, digest: Digest, caller: &Caller) -> Result<(), Denial> {
        let used = caller.actor.kind != ActorKind::User || self.idle.used(digest, self.published.now());
        if used { Ok(()) } else { Err(Denial::Ended("of a login that was idle for too long")) }
    }
}

#[async_trait]
impl Plane for LocalPlane {
    async fn admit(&self, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial> {
        loop {
            let state = self.published.load();
            let admission = self.admit_at(&state, bearer, project)?;
            // A newer state may have been looked through for those to cut before this admission was there to be found.
            if self.published.load().seq() == state.seq() {
                return Ok(admission);
            }
        }
    }

    fn sessions(&self, _bearer: &CallerBearer) -> Arc<dyn Sessions> {
        self.fleet.clone()
    }

    async fn record(&self, bearer: Option<&CallerBearer>, mut entry: AuditEntry) -> Result<(), AuditFailed> {
        if entry.actor.is_none()
            && let Some(bearer) = bearer
        {
            entry.actor = self.known_as(&bearer.digest());
        }
        pin(&self.published.load(), &mut entry);
        self.audit.append(entry).map(drop)
    }

    fn seq(&self) -> Seq {
        self.published.load().seq()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{ADMIN, Tried};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_is_admitted_while_the_right_goes_is_cut_or_refused() {
        let tried = Tried::new().await;
        for round in 0..40 {
            let name = format!("t{round}");
            let bearer = tried.token(ADMIN, &name, "empty").await;
            let plane = tried.plane.clone();
            let comes = tokio::spawn(async move {
                let mut admitted = Vec::new();
                while let Ok(admission) = plane.admit(&bearer, "web").await {
                    admitted.push(admission);
                    tokio::task::yield_now().await;
                }
                admitted
            });
            tried.revoke(&name).await;
            tried.plane.cut_the_refused();
            let admitted = comes.await.unwrap();
            assert!(admitted.iter().all(|admission| admission.cut.is_cancelled()), "round {round}");
        }
        assert!(tried.plane.admitted.read().is_empty());
    }
}
