//! A small control plane in memory: given manifests, when a command, then events or a refusal.
use mcpctl_core::access::{Ask, Verdict, decide as decide_access};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::{self, Asking, Command, Decided, Deed, Draft, Mode, Place};
use mcpctl_core::erased::AnyAction;
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::kinds::{Kind, McpTokenAction};
use mcpctl_core::manifest;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::record::{AuditAnchor, Header, Record};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

pub(crate) struct Town {
    pub(crate) state: State,
    pub(crate) records: Vec<Record>,
    pub(crate) now: Timestamp,
    /// Who acts as whoever gives the next commands (C7).
    pub(crate) impersonator: Option<Actor>,
    dice: u128,
}

pub(crate) const BASE: &str = include_str!("../../../fixtures/kinds/_base.yaml");

impl Town {
    pub(crate) fn empty() -> Self {
        let now = Timestamp::from_millis(1_800_000_000_000);
        Self { state: State::default(), records: Vec::new(), now, impersonator: None, dice: 1 }
    }

    /// The same town, to go another way from here.
    pub(crate) fn fork(&self) -> Self {
        let Self { state, records, now, impersonator, dice } = self;
        let (state, records, impersonator) = (state.clone(), records.clone(), impersonator.clone());
        Self { state, records, now: *now, impersonator, dice: *dice }
    }

    /// A town with these manifests applied by the system.
    pub(crate) fn given(yaml: &str) -> Self {
        let mut town = Self::empty();
        town.apply_all(&Actor::system("test"), yaml).expect("the given applies");
        town
    }

    pub(crate) fn user(&self, email: &str) -> Actor {
        let name = Name::parse(NameRule::Email, email).unwrap();
        let object = self.state.by_name(Kind::User, None, &name).expect("the user exists");
        Actor { kind: ActorKind::User, uid: object.meta.uid, name: email.to_owned() }
    }

    pub(crate) fn token(&self, project: &str, name: &str) -> Actor {
        let uid = self.uid(Kind::McpToken, Some(project), name);
        Actor { kind: ActorKind::McpToken, uid, name: name.to_owned() }
    }

    pub(crate) fn uid(&self, kind: Kind, project: Option<&str>, name: &str) -> Uid {
        let project = project.map(|project| self.uid(Kind::Project, None, project));
        let name = Name::parse(kind.untyped().name_rule(), name).unwrap();
        self.state.by_name(kind, project, &name).expect("the object exists").meta.uid
    }

    pub(crate) fn apply_all(&mut self, caller: &Actor, yaml: &str) -> Result<usize, Refusal> {
        let mut events = 0;
        for fields in manifest::documents(yaml).expect("test YAML") {
            events += self.apply_fields(caller, fields)?.drafts.len();
        }
        Ok(events)
    }

    pub(crate) fn apply_fields(
        &mut self,
        caller: &Actor,
        mut fields: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Decided, Refusal> {
        // Values and passwords are taken out by the server before a command is made of a manifest.
        fields.remove("data");
        let manifest = manifest::read(fields).map_err(Refusal::Invalid)?;
        let mut then: Vec<AnyAction> = Vec::new();
        if manifest.kind == Kind::McpToken {
            let sha256 = Digest::sha256(&self.dice.to_be_bytes());
            then.push(Box::new(McpTokenAction::Mint { sha256, prefix: "mcpctl_pat_test".to_owned() }));
        }
        let deed = Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: None, then };
        self.command(caller, Command { kind: manifest.kind, name: manifest.name, project: manifest.project, deed })
    }

    pub(crate) fn delete(
        &mut self,
        caller: &Actor,
        kind: Kind,
        project: Option<&str>,
        name: &str,
    ) -> Result<Decided, Refusal> {
        self.named(caller, kind, project, name, Deed::Delete { expected: None })
    }

    pub(crate) fn act(
        &mut self,
        caller: &Actor,
        kind: Kind,
        project: Option<&str>,
        name: &str,
        action: AnyAction,
    ) -> Result<Decided, Refusal> {
        self.named(caller, kind, project, name, Deed::Act(action))
    }

    fn named(
        &mut self,
        caller: &Actor,
        kind: Kind,
        project: Option<&str>,
        name: &str,
        deed: Deed,
    ) -> Result<Decided, Refusal> {
        let name = Name::parse(kind.untyped().name_rule(), name).unwrap();
        let project = project.map(|project| Name::parse(NameRule::Label, project).unwrap());
        self.command(caller, Command { kind, name, project, deed })
    }

    pub(crate) fn command(&mut self, caller: &Actor, command: Command) -> Result<Decided, Refusal> {
        self.dice += 1;
        self.now = self.now.plus_millis(1);
        let impersonator = self.impersonator.clone();
        let asking = Asking { impersonator: impersonator.as_ref(), ..Asking::by(caller, self.now, self.dice) };
        self.decided(&asking, &command)
    }

    /// Applies one manifest as somebody who acts as a service account; answers how many events it left.
    pub(crate) fn apply_all_as(&mut self, who: &Actor, account: &Actor, yaml: &str) -> Result<usize, Refusal> {
        let manifest =
            manifest::read(manifest::documents(yaml).expect("test YAML").remove(0)).map_err(Refusal::Invalid)?;
        let mut then: Vec<AnyAction> = Vec::new();
        if manifest.kind == Kind::McpToken {
            let sha256 = Digest::sha256(&self.dice.to_be_bytes());
            then.push(Box::new(McpTokenAction::Mint { sha256, prefix: "mcpctl_pat_test".to_owned() }));
        }
        let deed = Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: None, then };
        let command = Command { kind: manifest.kind, name: manifest.name, project: manifest.project, deed };
        self.command_as(who, account, &command).map(|decided| decided.drafts.len())
    }

    /// The same by somebody who acts as a service account.
    pub(crate) fn command_as(
        &mut self,
        impersonator: &Actor,
        account: &Actor,
        command: &Command,
    ) -> Result<Decided, Refusal> {
        self.dice += 1;
        self.now = self.now.plus_millis(1);
        let asking = Asking { impersonator: Some(impersonator), ..Asking::by(account, self.now, self.dice) };
        self.decided(&asking, command)
    }

    fn decided(&mut self, asking: &Asking<'_>, command: &Command) -> Result<Decided, Refusal> {
        let decided = command::decide(&self.state, asking, command)?;
        for draft in &decided.drafts {
            self.fold(draft, asking.actor(), asking.on_behalf_of());
        }
        Ok(decided)
    }

    /// Lets the time come at which the next event is due, and has it happen.
    pub(crate) fn expire(&mut self) {
        let (at, uid) = self.state.next_due().expect("something is due");
        self.now = at;
        let object = self.state.by_uid(uid).expect("the object is there").clone();
        let draft = command::due(&self.state, &object, at).expect("its event is due");
        self.fold(&draft, &Actor::system("expiry"), None);
    }

    /// The control plane says that the audit log had so many entries.
    pub(crate) fn anchor(&mut self, size: u64) {
        let draft = command::anchor(&self.state);
        let audit = AuditAnchor { size, root: Digest::sha256(&size.to_be_bytes()) };
        self.fold_anchored(&draft, &Actor::system("evidence"), None, Some(audit));
    }

    fn fold(&mut self, draft: &Draft, actor: &Actor, on_behalf_of: Option<&Actor>) {
        self.fold_anchored(draft, actor, on_behalf_of, None);
    }

    fn fold_anchored(
        &mut self,
        draft: &Draft,
        actor: &Actor,
        on_behalf_of: Option<&Actor>,
        audit: Option<AuditAnchor>,
    ) {
        let place = Place {
            seq: self.state.seq().next(),
            id: uuid::Uuid::nil(),
            at: self.now,
            prev: self.state.head(),
            actor,
            on_behalf_of,
            request: None,
            reason: None,
        };
        let record = Record { header: Header { audit, ..draft.header(place) }, payload: draft.event.payload.clone() };
        let stored = record.store().expect("a small record");
        self.state.fold(&record, stored.hash).expect("what was decided folds");
        self.records.push(record);
    }

    pub(crate) fn can(&self, who: &Actor, ask: &Ask<'_>) -> bool {
        self.ask(who, ask).allowed
    }

    pub(crate) fn ask(&self, who: &Actor, ask: &Ask<'_>) -> Verdict {
        decide_access(&self.state, who, ask, self.now)
    }

    /// The state that a replay of the log gives.
    pub(crate) fn replayed(&self) -> State {
        let mut state = State::default();
        for record in &self.records {
            let bytes = record.store().expect("stored before").bytes;
            let read = Record::load(&bytes).expect("reads back");
            state.fold(&read, Digest::blake3(&bytes)).expect("folds again");
        }
        state
    }
}
