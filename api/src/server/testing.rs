//! A control plane in memory for the tests of its parts: the real writer on a log in memory.
use std::sync::Arc;

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::{Command, Deed, Mode};
use mcpctl_core::erased::AnyAction;
use mcpctl_core::kinds::{Kind, McpTokenAction, UserAction};
use mcpctl_core::log::disk::{Disk, RealDisk};
use mcpctl_core::log::journal::{JournalOptions, Sync};
use mcpctl_core::log::memory::MemoryLog;
use mcpctl_core::log::{EventLog as _, LogReader};
use mcpctl_core::manifest;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde_json::{Value, json};

use super::audit::AuditLog;
use super::clock;
use super::effects::mint_token;
use super::plane_local::LocalPlane;
use super::published::Published;
use super::revocation::{Hub, RevocationFigures};
use super::writer::{Committed, Submission, WriteError, Writer};
use crate::plane::CallerBearer;
use crate::upstream::{Fleet, FleetLimits};

/// The parts.
pub(crate) struct Tried {
    pub(crate) published: Published,
    pub(crate) writer: Writer,
    pub(crate) hub: Arc<Hub>,
    pub(crate) log: Arc<dyn LogReader>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) plane: Arc<LocalPlane>,
    _folder: tempfile::TempDir,
}

const AUDIT: JournalOptions = JournalOptions { segment_bytes: 1 << 20, ahead_bytes: 16 << 10, sync: Sync::Later };

/// The administrator, and a member of project `web` without any other right.
pub(crate) const ADMIN: &str = "admin@example.com";
pub(crate) const MEMBER: &str = "member@example.com";

impl Tried {
    /// Users, and the projects `web` (server `mcpctl`, embedded) and `other` (server `hidden`).
    pub(crate) async fn new() -> Self {
        Self::on(&RealDisk).await
    }

    /// The same with the audit log on a disk that may fail.
    pub(crate) async fn on(disk: &'static dyn Disk) -> Self {
        let (log, published) = (MemoryLog::default(), Published::new(State::default()));
        let reader = log.reader();
        let hub = Arc::new(Hub::new(&State::default(), RevocationFigures::default()));
        let (writer, _) = Writer::start(Box::new(log), published.clone(), hub.clone()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let audit = Arc::new(AuditLog::open_on(folder.path(), [3; 32], AUDIT, disk).unwrap());
        let fleet = Arc::new(Fleet::new(FleetLimits::default()));
        let plane = Arc::new(LocalPlane::new(published.clone(), fleet.clone(), audit.clone()));
        let tried = Self { published, writer, hub, log: reader, fleet, audit, plane, _folder: folder };
        tried.fill().await;
        tried
    }

    async fn fill(&self) {
        let system = Actor::system("bootstrap");
        for fields in [
            json!({ "kind": "user", "name": ADMIN }),
            json!({ "kind": "user", "name": MEMBER }),
            json!({ "kind": "rbac", "name": "admins", "subjects": [{ "kind": "User", "name": ADMIN }],
                "roleBindings": [{ "role": "edit", "resource": "*" }, { "role": "run", "resource": "*" }, { "role": "run", "action": "*" }] }),
            json!({ "kind": "server", "name": "mcpctl", "embedded": "mcpctl", "description": "asks itself" }),
            json!({ "kind": "server", "name": "hidden", "command": ["true"] }),
            json!({ "kind": "project", "name": "web", "servers": ["mcpctl"], "members": [MEMBER] }),
            json!({ "kind": "project", "name": "other", "servers": ["hidden"] }),
        ] {
            self.apply_as(&system, fields, Vec::new()).await.unwrap();
        }
    }

    /// A user as an actor.
    pub(crate) fn user(&self, name: &str) -> Actor {
        let object = self.object(Kind::User, None, name);
        Actor { kind: ActorKind::User, uid: object.meta.uid, name: name.to_owned() }
    }

    /// An object that is there.
    pub(crate) fn object(&self, kind: Kind, project: Option<&str>, name: &str) -> Arc<Object> {
        let state = self.published.load();
        let project = project.map(|project| self.object(Kind::Project, None, project).meta.uid);
        let name = Name::parse(kind.untyped().name_rule(), name).unwrap();
        state.by_name(kind, project, &name).cloned().unwrap_or_else(|| panic!("{kind}/{name} is not there"))
    }

    /// Applies a manifest as somebody.
    pub(crate) async fn apply_as(
        &self,
        caller: &Actor,
        fields: Value,
        then: Vec<AnyAction>,
    ) -> Result<Committed, WriteError> {
        let manifest = manifest::read(fields.as_object().unwrap().clone()).unwrap();
        let deed = Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: None, then };
        self.submit(caller, Command { kind: manifest.kind, name: manifest.name, project: manifest.project, deed }).await
    }

    /// Applies a manifest as the administrator.
    pub(crate) async fn apply(&self, fields: Value) -> Committed {
        self.apply_as(&self.user(ADMIN), fields, Vec::new()).await.unwrap()
    }

    async fn submit(&self, caller: &Actor, command: Command) -> Result<Committed, WriteError> {
        self.writer.submit(Submission::of(caller.clone(), command)).await
    }

    /// Deletes or acts as the administrator.
    pub(crate) async fn give(&self, kind: Kind, project: Option<&str>, name: &str, deed: Deed) {
        let label = |text| Name::parse(NameRule::Label, text).unwrap();
        let name = Name::parse(kind.untyped().name_rule(), name).unwrap();
        self.submit(&self.user(ADMIN), Command { kind, name, project: project.map(label), deed }).await.unwrap();
    }

    /// A token of project `web`, owned by somebody.
    pub(crate) async fn token(&self, owner: &str, name: &str, rbac: &str) -> CallerBearer {
        let (raw, mint) = mint_token::draw_token();
        let fields = json!({ "kind": "mcptoken", "name": name, "project": "web", "rbac": rbac });
        let mint: AnyAction = Box::new(mint);
        if self.user(owner).name != ADMIN {
            let may = json!({ "kind": "rbac", "name": "makers", "subjects": [{ "kind": "User", "name": owner }],
                "roleBindings": [{ "role": "create", "resource": "mcptokens" }] });
            self.apply(may).await;
        }
        self.apply_as(&self.user(owner), fields, vec![mint]).await.unwrap();
        CallerBearer::new(raw.expose().to_owned())
    }

    /// Revokes a token of project `web`.
    pub(crate) async fn revoke(&self, name: &str) {
        self.give(Kind::McpToken, Some("web"), name, Deed::Act(Box::new(McpTokenAction::Revoke))).await;
    }

    /// A login of a user.
    pub(crate) async fn login(&self, user: &str) -> CallerBearer {
        let (raw, digest) = mint_token::draw_login();
        let open = UserAction::OpenLogin { digest, expires_at: clock::now().plus_millis(60_000), checked: None };
        let name = Name::parse(NameRule::Email, user).unwrap();
        let command = Command { kind: Kind::User, name, project: None, deed: Deed::Act(Box::new(open)) };
        self.submit(&Actor::system("login"), command).await.unwrap();
        CallerBearer::new(raw.expose().to_owned())
    }
}
