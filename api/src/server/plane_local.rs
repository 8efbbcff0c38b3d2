//! What gateways ask, answered from the newest state in this process. Nothing is remembered beyond its seq.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_core::access::{Ask, Rule, Verb, decide};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::{Kind, McpToken};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::reach::{Effect, Reach, Whose};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use mcpctl_projections::State;
use parking_lot::RwLock;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::app::IdleLogins;
use super::audit::AuditLog;
use super::audit::pin::pin;
use super::auth::{Authenticated, authenticate, by_digest};
use super::project_view::{newest_definition, view_of};
use super::published::Published;
use super::revocation::Hub;
use super::session_cut;
use crate::cut::{Cut, Why};
use crate::plane::{Admission, AuditEntry, AuditFailed, Caller, CallerBearer, Denial, Plane};
use crate::upstream::{Fleet, Sessions};

/// Pairs of caller and project that are remembered for cutting. Who comes beyond that is sent away: an admission that
/// could not be cut would outlive its end.
const ADMITTED_MAX: usize = 100_000;
/// How often those are looked for whose time is over: the end of a login is no event.
const LOOK_FOR_EXPIRED_EVERY: Duration = Duration::from_secs(1);
/// How long those who were cut may take to stop before that is complained about.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// An admission and the state that it was decided in: good for exactly that seq.
struct Admitted {
    digest: Digest,
    project: String,
    whose: Whose,
    admission: Admission,
    expires_at: Option<Timestamp>,
    last_used: Arc<AtomicU64>,
}

/// Who was cut, and whether anybody was reached at all.
#[derive(Default)]
struct WhoWasCut {
    reached: bool,
    cut: Vec<Arc<Admitted>>,
}

/// The plane of this process.
pub struct LocalPlane {
    published: Published,
    fleet: Arc<Fleet>,
    audit: Arc<AuditLog>,
    idle: Arc<IdleLogins>,
    admitted: RwLock<HashMap<(Digest, String), Arc<Admitted>>>,
    last_used: RwLock<HashMap<Uid, Arc<AtomicU64>>>,
    gateway: AtomicBool,
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
            gateway: AtomicBool::new(false),
        }
    }

    /// When logins were last used, here or elsewhere.
    #[must_use]
    pub const fn idle(&self) -> &Arc<IdleLogins> {
        &self.idle
    }

    /// The audit log.
    pub(super) const fn audit(&self) -> &Arc<AuditLog> {
        &self.audit
    }

    /// When a token last opened its project, since this process started.
    #[must_use]
    pub fn last_used(&self, token: Uid) -> Option<Timestamp> {
        self.last_used.read().get(&token).map(|at| Timestamp::from_millis(at.load(Ordering::Relaxed)))
    }

    /// Agents are served in this process: it counts as a gateway when something is revoked.
    pub fn serves_agents(&self) {
        self.gateway.store(true, Ordering::Relaxed);
    }

    /// When a credential ends by itself.
    pub(super) fn expires_at(&self, digest: &Digest) -> Option<Timestamp> {
        let state = self.published.load();
        by_digest(&state, *digest, Timestamp::default()).ok()?.expires_at
    }

    /// Looks again at those whom an event reaches, and cuts whoever would not be admitted any more, or is admitted to
    /// something else. Nothing is locked while it decides; the others are decided anew when they come again.
    fn cut_the_reached(&self, reach: &Reach) -> WhoWasCut {
        let state = self.published.load();
        let now = self.published.now().max(state.last_at());
        let all: Vec<Arc<Admitted>> = self.admitted.read().values().cloned().collect();
        let reached = all.into_iter().filter_map(|entry| reach.effect_on(&entry.whose).map(|effect| (entry, effect)));
        let reached: Vec<(Arc<Admitted>, Effect)> = reached.collect();
        let why = |(entry, effect): &(Arc<Admitted>, Effect)| {
            let denial = over(&state, &entry.whose, entry.digest, &entry.project, now);
            match (denial, effect) {
                (Some(denial), _) => Some((entry.clone(), Why::denied(&denial, state.seq()))),
                (None, Effect::Quarantine) => Some((entry.clone(), Why::quarantined(state.seq()))),
                (None, Effect::Cut) => Some((entry.clone(), Why::changed(state.seq()))),
                (None, Effect::Recheck) => None,
            }
        };
        let cut = self.cut(reached.iter().filter_map(why).collect());
        self.last_used.write().retain(|token, _| state.by_uid(*token).is_some());
        WhoWasCut { reached: !reached.is_empty(), cut }
    }

    /// Cuts those whose credential's time is over.
    fn cut_the_expired(&self) -> Vec<Arc<Admitted>> {
        let now = self.published.now();
        let all: Vec<Arc<Admitted>> = self.admitted.read().values().cloned().collect();
        let expired = all.into_iter().filter(|entry| entry.expires_at.is_some_and(|at| at <= now));
        let why = || Why::denied(&Denial::Ended("expired"), Seq(0));
        self.cut(expired.map(|entry| (entry, why())).collect())
    }

    fn cut(&self, ended: Vec<(Arc<Admitted>, Why)>) -> Vec<Arc<Admitted>> {
        if ended.is_empty() {
            return Vec::new();
        }
        let mut admitted = self.admitted.write();
        for (entry, why) in &ended {
            entry.admission.cut.cancel(why.clone());
            let key = (entry.digest, entry.project.clone());
            if admitted.get(&key).is_some_and(|held| held.admission.cut.is_cancelled()) {
                admitted.remove(&key);
            }
        }
        ended.into_iter().map(|(entry, _)| entry).collect()
    }

    /// Ends the conversations with servers, and so the child processes, of those who were cut: nobody else may be given
    /// them, and nothing is to go on in the name of who lost the access. Who is still admitted, to something else, or by
    /// another login, keeps theirs.
    async fn end_conversations(self: Arc<Self>, cut: Vec<Arc<Admitted>>) {
        for entry in cut.iter().filter(|entry| !entry.admission.cut.why().leaves_admitted()) {
            let (project, subject) = (entry.whose.project, entry.whose.subject);
            let same = |other: &Arc<Admitted>| (other.whose.project, other.whose.subject) == (project, subject);
            if self.admitted.read().values().any(same) {
                continue;
            }
            for (server, count) in self.fleet.end_of(project, subject).await {
                let line = session_cut::of_conversations(&entry.admission, &server, count);
                if let Err(error) = self.audit.append(line) {
                    tracing::error!(%error, "the end of a conversation could not be recorded");
                }
            }
        }
    }

    /// Does what the hub tells until the control plane stops: the same that a gateway elsewhere does with its stream, only
    /// that no lease can run out here. What was told is done when the last call and the last stream have stopped.
    pub async fn follow(self: Arc<Self>, hub: Arc<Hub>, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_FOR_EXPIRED_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Not waited for by whoever revokes: nobody can reach these conversations any more.
        let mut ending = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                (n, reach) = hub.here().next() => {
                    let plane = self.clone();
                    let Ok(ended) = tokio::task::spawn_blocking(move || plane.cut_the_reached(&reach)).await else { return };
                    let cuts: Vec<Cut> = ended.cut.iter().map(|entry| entry.admission.cut.clone()).collect();
                    let inside = cuts.iter().map(Cut::ended).sum::<usize>() as u64;
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = all_stopped(&cuts) => {}
                    }
                    let gateway = self.gateway.load(Ordering::Relaxed) && ended.reached;
                    hub.done_here(n, gateway, if gateway { inside } else { 0 });
                    ending.spawn(self.clone().end_conversations(ended.cut));
                }
                _ = look.tick() => drop(ending.spawn(self.clone().end_conversations(self.cut_the_expired()))),
                Some(_) = ending.join_next() => {}
            }
        }
    }

    /// An entry with who it was, and the state that it was decided in.
    fn pinned(&self, bearer: Option<&CallerBearer>, mut entry: AuditEntry) -> AuditEntry {
        if entry.actor.is_none()
            && let Some(bearer) = bearer
        {
            entry.actor = self.known_as(&bearer.digest());
        }
        let state = self.published.load();
        if entry.owner.is_none() {
            let token = entry.actor.as_ref().and_then(|actor| state.by_uid(actor.uid)?.of::<McpToken>());
            entry.owner = token.and_then(|(_, status)| status.owner.clone());
        }
        if entry.definition.is_none() && entry.allowed && entry.method == "tools/call" {
            entry.definition = newest_definition(&state, &entry);
        }
        pin(&state, &mut entry);
        entry
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
        let whose = admission.whose();
        let entry = Admitted { digest, project, whose, admission: admission.clone(), expires_at, last_used };
        admitted.insert(key, Arc::new(entry));
        Ok(admission)
    }
}

type Decided = (Arc<Caller>, Arc<[Seq]>, Option<Timestamp>);

/// Waits until nobody is inside any more. It takes as long as it takes: who waits for it has a limit.
async fn all_stopped(cuts: &[Cut]) {
    for cut in cuts {
        while !cut.emptied(STOPS_WITHIN).await {
            tracing::error!(inside = cut.inside(), "calls that were cut do not stop: this is a bug in mcpctl");
        }
    }
}

/// A live credential, or why it is none.
fn identify(state: &State, bearer: &CallerBearer, now: Timestamp) -> Result<Authenticated, Denial> {
    authenticate(state, bearer.expose(), now).map_err(not_live)
}

fn not_live(why: &'static str) -> Denial {
    match why {
        "the token is revoked" => Denial::Ended("revoked"),
        "the token is expired" => Denial::Ended("expired"),
        "the token is unknown" => Denial::Ended("unknown"),
        "the user is disabled" => Denial::Ended("of a disabled user"),
        other => Denial::NotAToken(other),
    }
}

/// Why a credential that was admitted to a project before would not be again; nothing when it would. What took its project
/// or its owner away took the token away too: the first is what is said.
pub(super) fn over(state: &State, whose: &Whose, digest: Digest, project: &str, now: Timestamp) -> Option<Denial> {
    let who = by_digest(state, digest, now).map_err(not_live);
    let denial = who.and_then(|who| open(state, who, project, now)).err()?;
    let gone = |uid: Uid| state.by_uid(uid).is_none();
    Some(match denial {
        _ if gone(whose.project) => Denial::NoProject(project.to_owned()),
        Denial::Ended(_) if whose.owner.is_some_and(gone) => Denial::Ended("of a disabled or deleted owner"),
        denial => denial,
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
        let admission = Admission { caller, project: Arc::new(view), seq: state.seq(), via, cut: Cut::new() };
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

    async fn admitted(&self, bearer: Option<&CallerBearer>, entry: AuditEntry) -> Result<(), AuditFailed> {
        self.audit.append_durable(self.pinned(bearer, entry)).await.map(drop)
    }

    async fn record(&self, bearer: Option<&CallerBearer>, entry: AuditEntry) -> Result<(), AuditFailed> {
        self.audit.append(self.pinned(bearer, entry)).map(drop)
    }

    fn seq(&self) -> Seq {
        self.published.load().seq()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{ADMIN, Tried};
    use crate::server::writer::Submission;
    use mcpctl_core::command::{Command, Deed};
    use mcpctl_core::kinds::{Noticed, ProjectAction, ServerAction, ToolChoice};
    use serde_json::json;

    async fn notice(tried: &Tried, number: u8) {
        let noticed = Noticed { tool: "x".to_owned(), definition: Digest([number; 32]), diff: Vec::new() };
        let deed = Deed::Act(Box::new(ServerAction::Notice(vec![noticed])));
        let name = Name::parse(NameRule::Label, "hidden").unwrap();
        let command = Command { kind: Kind::Server, name, project: None, deed };
        tried.writer.submit(Submission::of(Actor::system("tools"), command)).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_tool_that_drifts_ends_what_runs_in_its_project_and_says_why() {
        let tried = Tried::new().await;
        let stop = CancellationToken::new();
        let following = tokio::spawn(tried.plane.clone().follow(tried.hub.clone(), stop.clone()));
        let web = json!({ "kind": "project", "name": "web", "servers": ["hidden"], "toolPolicy": "quarantine" });
        tried.apply(web).await;
        notice(&tried, 1).await;
        let one = ToolChoice { server: "hidden".into(), tool: "x".into(), definition: Some(Digest([1; 32])) };
        let approve = ProjectAction::Approve { tools: vec![one], note: None };
        tried.give(Kind::Project, None, "web", Deed::Act(Box::new(approve))).await;
        let bearer = tried.token(ADMIN, "t", "empty").await;
        // What the changes so far took away is done.
        tried.hub.fence(tried.published.load().seq()).await.unwrap();
        let admission = tried.plane.admit(&bearer, "web").await.unwrap();
        assert!(admission.project.servers[0].serves("x") && !admission.project.servers[0].serves("y"));
        notice(&tried, 2).await;
        let cut = tokio::time::timeout(Duration::from_secs(20), admission.cut.cancelled()).await;
        assert!(cut.is_ok(), "it was told");
        assert_eq!(admission.cut.why().word, "tool-quarantined");
        let again = tried.plane.admit(&bearer, "web").await.expect("who was cut is admitted again");
        assert!(!again.project.servers[0].serves("x"));
        stop.cancel();
        following.await.unwrap();
    }

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
            tried.plane.cut_the_reached(&Reach::Everything);
            let admitted = comes.await.unwrap();
            assert!(admitted.iter().all(|admission| admission.cut.is_cancelled()), "round {round}");
        }
        assert!(tried.plane.admitted.read().is_empty());
    }
}
