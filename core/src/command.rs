//! Commands: apply, delete and act, and the one generic decision that turns a command into events.
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::{Ask, Verb, Verdict, added_rights, check_additions, check_references, decide as decide_access};
use crate::actor::{Actor, ActorKind};
use crate::erased::{AnyAction, AnyBody, EventDraft, ResolvedRef, deleted};
use crate::ids::{RequestId, Seq, Uid};
use crate::kinds::{Kind, SubjectRef};
use crate::name::Name;
use crate::object::{Object, ProjectName, title};
use crate::record::{Authz, AuthzMode, Header, RECORD_VERSION};
use crate::reference::{Ref, RefUse};
use crate::refusal::{Refusal, Violations};
use crate::resource::{ActRight, Scope};
use crate::time::Timestamp;
use crate::world::World;

/// What an apply expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: it creates (POST).
    Create,
    /// Something or nothing (PUT, `apply`).
    Upsert,
}

/// A command about one object.
pub struct Command {
    /// Kind of the object.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Its project, for kinds of that scope.
    pub project: Option<Name>,
    /// What to do.
    pub deed: Deed,
}

impl Command {
    /// The right that it is about, whatever is there: what somebody is told to lack who may not know what is there.
    #[must_use]
    pub fn wanted(&self) -> Verb {
        match &self.deed {
            Deed::Apply { mode: Mode::Create, .. } => Verb::Create,
            Deed::Apply { mode: Mode::Upsert, .. } => Verb::Edit,
            Deed::Delete { .. } => Verb::Delete,
            Deed::Act(action) => match self.kind.untyped().right(action) {
                ActRight::Verb(verb) | ActRight::OwnOr(verb) => verb,
                ActRight::System => Verb::Edit,
            },
        }
    }
}

/// What a command does.
pub enum Deed {
    /// Makes the object what the spec says, then does the actions, all or nothing.
    Apply {
        /// The spec, normalised.
        body: Arc<dyn AnyBody>,
        /// What is expected to be there.
        mode: Mode,
        /// The version that the caller read.
        expected: Option<Seq>,
        /// Actions in the same batch (mint, write, set password).
        then: Vec<AnyAction>,
    },
    /// Removes the object.
    Delete {
        /// The version that the caller read.
        expected: Option<Seq>,
    },
    /// Does an action on the object.
    Act(AnyAction),
}

/// Who asks, when, and what randomness there is.
pub struct Asking<'a> {
    /// The identity of the credential.
    pub caller: &'a Actor,
    /// Moment of the decision, never before the last event.
    pub now: Timestamp,
    /// Randomness for the uid of a new object.
    pub random: u128,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object is new.
    Created,
    /// The object changed.
    Changed,
    /// Everything was as asked: no event.
    Unchanged,
    /// The object is gone.
    Deleted,
}

/// The events of a command, or none.
#[derive(Clone, Debug)]
pub struct Decided {
    /// In order; one batch.
    pub drafts: Vec<Draft>,
    /// What became of the object.
    pub outcome: Outcome,
    /// The object.
    pub object: Uid,
}

/// An event that has no place in the log yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Kind of the object.
    pub kind: Kind,
    /// The object.
    pub object: Uid,
    /// Its name.
    pub name: Name,
    /// Its project.
    pub project: Option<ProjectName>,
    /// What happened.
    pub event: EventDraft,
    /// Why it was allowed.
    pub authz: Authz,
}

impl Draft {
    /// The header that it gets at a place in the log.
    #[must_use]
    pub fn header(&self, place: Place<'_>) -> Header {
        Header {
            v: RECORD_VERSION,
            seq: place.seq,
            id: place.id,
            at: place.at,
            kind: self.kind,
            event: self.event.event.to_owned(),
            version: self.event.version,
            object: self.object,
            name: self.name.clone(),
            project: self.project.as_ref().map(|project| project.uid),
            actor: place.actor.clone(),
            on_behalf_of: None,
            request: place.request.cloned(),
            authz: self.authz.clone(),
            prev: place.prev,
        }
    }
}

/// A place in the log, and whose command it was.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Position.
    pub seq: Seq,
    /// Identity of the event.
    pub id: uuid::Uuid,
    /// Moment.
    pub at: Timestamp,
    /// Hash of the record before.
    pub prev: crate::ids::Digest,
    /// Whose command.
    pub actor: &'a Actor,
    /// The request, for retries.
    pub request: Option<&'a RequestId>,
}

/// Decides a command against the state at n-1. Pure: the same arguments give the same events.
///
/// # Errors
/// When it is refused; then nothing happened.
pub fn decide(world: &dyn World, asking: &Asking<'_>, command: &Command) -> Result<Decided, Refusal> {
    let project = resolve_project(world, asking, command)?;
    let found = world.by_name(command.kind, project.as_ref().map(|p| p.uid), &command.name).cloned();
    let deciding = Deciding { world, asking, command, project };
    match &command.deed {
        Deed::Apply { body, mode, expected, then } => deciding.apply(found, body, *mode, *expected, then),
        Deed::Delete { expected } => deciding.delete(&deciding.must_exist(found)?, *expected),
        Deed::Act(action) => deciding.act(&*deciding.must_exist(found)?, action),
    }
}

/// Decides the events that are due: expiry. They are the control plane's own.
#[must_use]
pub fn due(world: &dyn World, object: &Object, now: Timestamp) -> Option<Draft> {
    let (at, event) = object.body.due()?;
    (at <= now).then(|| draft_of(object, event, system_authz(world)))
}

fn resolve_project(world: &dyn World, asking: &Asking<'_>, command: &Command) -> Result<Option<ProjectName>, Refusal> {
    match (command.kind.scope(), &command.project) {
        (Scope::Global, None) => Ok(None),
        (Scope::Global, Some(_)) => Err(invalid("project", format!("a {} lives in no project", command.kind))),
        (Scope::Project, None) => Err(invalid("project", format!("is missing: a {} lives in a project", command.kind))),
        (Scope::Project, Some(name)) => world
            .by_name(Kind::Project, None, name)
            .map(|object| Some(ProjectName { uid: object.meta.uid, name: name.clone() }))
            .ok_or_else(|| no_project(world, asking, command, name)),
    }
}

/// Whoever may not see the project is told what they would be told if it were there.
fn no_project(world: &dyn World, asking: &Asking<'_>, command: &Command, project: &Name) -> Refusal {
    let may = |ask: &Ask<'_>| decide_access(world, asking.caller, ask, asking.now).allowed;
    let see = Ask::named(Verb::View, Kind::Project, None, project);
    if may(&see) {
        return Refusal::NotFound { object: title(Kind::Project, None, project.as_str()) };
    }
    let wanted = Ask::named(command.wanted(), command.kind, None, &command.name);
    let missing = if may(&wanted) { see } else { wanted };
    Refusal::Forbidden { actor: asking.caller.to_string(), missing: missing.to_string(), at: world.seq() }
}

fn invalid(field: &str, message: String) -> Refusal {
    let mut violations = Violations::default();
    violations.add(field, message);
    Refusal::Invalid(violations.0)
}

fn system_authz(world: &dyn World) -> Authz {
    Authz { at: world.seq(), mode: AuthzMode::System, via: Vec::new() }
}

fn draft_of(object: &Object, event: EventDraft, authz: Authz) -> Draft {
    Draft {
        kind: object.meta.kind,
        object: object.meta.uid,
        name: object.meta.name.clone(),
        project: object.meta.project.clone(),
        event,
        authz,
    }
}

struct Deciding<'a> {
    world: &'a dyn World,
    asking: &'a Asking<'a>,
    command: &'a Command,
    project: Option<ProjectName>,
}

impl Deciding<'_> {
    fn title(&self) -> String {
        title(self.command.kind, self.command.project.as_ref(), self.command.name.as_str())
    }

    fn ask<'n>(&'n self, verb: Verb, object: Option<&'n Object>) -> Ask<'n> {
        match object {
            Some(object) => Ask::on(verb, object),
            None => Ask::named(verb, self.command.kind, self.project.as_ref().map(|p| p.uid), &self.command.name),
        }
    }

    fn may(&self, ask: &Ask<'_>) -> Verdict {
        decide_access(self.world, self.asking.caller, ask, self.asking.now)
    }

    fn forbidden(&self, missing: String) -> Refusal {
        Refusal::Forbidden { actor: self.asking.caller.to_string(), missing, at: self.world.seq() }
    }

    /// Whoever may not see the object is told the same whether it is there or not.
    fn allow(&self, verb: Verb, object: Option<&Object>) -> Result<Verdict, Refusal> {
        let verdict = self.may(&self.ask(verb, object));
        if verdict.allowed {
            return Ok(verdict);
        }
        let seen = self.may(&self.ask(Verb::View, object)).allowed;
        let missing = if seen { verb } else { self.command.wanted() };
        Err(self.forbidden(self.ask(missing, object).to_string()))
    }

    fn authz(&self, mode: AuthzMode, mut via: Vec<Seq>) -> Authz {
        let mode = if self.asking.caller.kind == ActorKind::System { AuthzMode::System } else { mode };
        via.sort_unstable();
        via.dedup();
        Authz { at: self.world.seq(), mode, via }
    }

    fn must_exist(&self, found: Option<Arc<Object>>) -> Result<Arc<Object>, Refusal> {
        let Some(object) = found else {
            let wanted = self.command.wanted();
            if !self.may(&self.ask(Verb::View, None)).allowed {
                self.allow(wanted, None)?;
            }
            return Err(Refusal::NotFound { object: self.title() });
        };
        Ok(object)
    }

    fn check_version(&self, object: &Object, expected: Option<Seq>) -> Result<(), Refusal> {
        match expected {
            Some(expected) if expected != object.meta.resource_version => {
                Err(Refusal::Conflict { object: self.title(), expected, found: object.meta.resource_version })
            }
            _ => Ok(()),
        }
    }

    fn apply(
        &self,
        found: Option<Arc<Object>>,
        body: &Arc<dyn AnyBody>,
        mode: Mode,
        expected: Option<Seq>,
        then: &[AnyAction],
    ) -> Result<Decided, Refusal> {
        let before = found.as_deref();
        let verb = if before.is_some() { Verb::Edit } else { Verb::Create };
        if before.is_some() && mode == Mode::Create {
            self.allow(Verb::Create, before)?;
            return Err(Refusal::AlreadyExists { object: self.title() });
        }
        let untyped = self.command.kind.untyped();
        if let (Some(object), true) = (before, untyped.immutable()) {
            self.allow(Verb::View, before)?;
            return Ok(Decided { drafts: Vec::new(), outcome: Outcome::Unchanged, object: object.meta.uid });
        }
        let (mut via, rule) = match self.allow(verb, before) {
            Ok(verdict) => (verdict.via, AuthzMode::Rbac),
            Err(_) if self.is_own_action(before, &**body, then) => (Vec::new(), AuthzMode::Own),
            Err(refusal) => return Err(refusal),
        };
        if let (Some(object), expected) = (before, expected) {
            self.check_version(object, expected)?;
        } else if let Some(expected) = expected {
            return Err(Refusal::Conflict { object: self.title(), expected, found: Seq(0) });
        }
        let refs = self.validate(before, &**body)?;
        let additions = added_rights(self.world, before, &**body, &self.command.name);
        via.extend(check_additions(self.world, self.asking.caller, &additions, self.asking.now)?);
        let launch_changed = before.is_some_and(|object| object.body.launch_differs(&**body));
        via.extend(check_references(self.world, self.asking.caller, before, &refs, launch_changed, self.asking.now)?);
        self.applied(before, &**body, refs, self.authz(rule, via), then)
    }

    /// An apply that leaves the spec as it is, for actions that the caller may do to itself: a person's own new password.
    fn is_own_action(&self, before: Option<&Object>, body: &dyn AnyBody, then: &[AnyAction]) -> bool {
        let untyped = self.command.kind.untyped();
        let own = |action: &AnyAction| matches!(untyped.right(action), ActRight::OwnOr(_));
        let unchanged_self =
            before.is_some_and(|object| object.meta.uid == self.asking.caller.uid && object.body.same_spec(body));
        unchanged_self && !then.is_empty() && then.iter().all(own)
    }

    fn validate(&self, before: Option<&Object>, body: &dyn AnyBody) -> Result<Vec<ResolvedRef>, Refusal> {
        let untyped = self.command.kind.untyped();
        let mut violations = Violations::default();
        if let Err(error) = Name::parse(untyped.name_rule(), self.command.name.as_str()) {
            violations.add("name", error.to_string());
        }
        untyped.validate(body, &self.command.name, self.world, before.map(|object| &object.meta), &mut violations);
        let mut refs = Vec::new();
        for used in body.refs() {
            match self.world.by_name(used.kind, None, &used.name) {
                Some(target) => refs.push(ResolvedRef { kind: used.kind, name: used.name, uid: target.meta.uid }),
                // The one who may not use it is not told whether it is there either.
                None if matches!(used.kind, Kind::Secret | Kind::Server) => {
                    let ask = Ask::named(Verb::Run, used.kind, None, &used.name);
                    if !self.may(&ask).allowed {
                        return Err(self.forbidden(ask.to_string()));
                    }
                    dangling(&mut violations, used);
                }
                None => dangling(&mut violations, used),
            }
        }
        violations.check()?;
        Ok(refs)
    }

    fn applied(
        &self,
        before: Option<&Object>,
        body: &dyn AnyBody,
        refs: Vec<ResolvedRef>,
        authz: Authz,
        then: &[AnyAction],
    ) -> Result<Decided, Refusal> {
        let uid = before.map_or_else(|| Uid::new(self.asking.now, self.asking.random), |object| object.meta.uid);
        let unchanged = before.is_some_and(|object| object.body.same_spec(body) && *object.refs == *refs);
        let mut drafts = Vec::new();
        if !unchanged {
            let event = self.command.kind.untyped().applied(body, &refs);
            let (kind, name) = (self.command.kind, self.command.name.clone());
            drafts.push(Draft { kind, object: uid, name, project: self.project.clone(), event, authz: authz.clone() });
        }
        if let Some(object) = before.filter(|object| object.body.enabled() && !body.enabled()) {
            drafts.extend(
                object.body.end_when_disabled().into_iter().map(|e| draft_of(object, e, system_authz(self.world))),
            );
            drafts.extend(self.end_owned(object.meta.uid));
        }
        if !then.is_empty() {
            let object = self.after(before, &drafts)?;
            for action in then {
                let events = self.act_events(&object, action)?;
                drafts.extend(events.into_iter().map(|event| draft_of(&object, event, authz.clone())));
            }
        }
        let outcome = match (before, drafts.is_empty()) {
            (None, _) => Outcome::Created,
            (Some(_), false) => Outcome::Changed,
            (Some(_), true) => Outcome::Unchanged,
        };
        Ok(Decided { drafts, outcome, object: uid })
    }

    /// The object as the drafts so far leave it, for the actions of the same batch.
    fn after(&self, before: Option<&Object>, drafts: &[Draft]) -> Result<Object, Refusal> {
        let Some(draft) = drafts.first() else {
            return before.cloned().ok_or_else(|| Refusal::NotFound { object: self.title() });
        };
        let place = Place {
            seq: self.world.seq().next(),
            id: uuid::Uuid::nil(),
            at: self.asking.now,
            prev: crate::ids::Digest::default(),
            actor: self.asking.caller,
            request: None,
        };
        let header = draft.header(place);
        let folded = self.command.kind.untyped().fold(before, &header, &draft.event.payload, draft.project.clone());
        folded.ok().flatten().ok_or_else(|| Refusal::NotFound { object: self.title() })
    }

    fn act_events(&self, object: &Object, action: &AnyAction) -> Result<Vec<EventDraft>, Refusal> {
        let untyped = object.meta.kind.untyped();
        untyped.decide(self.world, self.asking.caller, self.asking.now, object, action)
    }

    fn act(&self, object: &Object, action: &AnyAction) -> Result<Decided, Refusal> {
        let (mode, via) = match object.meta.kind.untyped().right(action) {
            ActRight::OwnOr(_) if self.asking.caller.uid == object.meta.uid => (AuthzMode::Own, Vec::new()),
            ActRight::Verb(verb) | ActRight::OwnOr(verb) => (AuthzMode::Rbac, self.allow(verb, Some(object))?.via),
            ActRight::System if self.asking.caller.kind == ActorKind::System => (AuthzMode::System, Vec::new()),
            ActRight::System => return Err(self.forbidden("do what only the control plane does".to_owned())),
        };
        let authz = self.authz(mode, via);
        let events = self.act_events(object, action)?;
        let outcome = if events.is_empty() { Outcome::Unchanged } else { Outcome::Changed };
        let drafts = events.into_iter().map(|event| draft_of(object, event, authz.clone())).collect();
        Ok(Decided { drafts, outcome, object: object.meta.uid })
    }

    fn delete(&self, object: &Arc<Object>, expected: Option<Seq>) -> Result<Decided, Refusal> {
        let via = self.allow(Verb::Delete, Some(object))?.via;
        self.check_version(object, expected)?;
        let mut changed: BTreeMap<Uid, (Arc<Object>, Arc<dyn AnyBody>)> = BTreeMap::new();
        let mut gone = vec![object.clone()];
        if object.meta.kind == Kind::Project {
            gone.extend(self.living_in(object.meta.uid));
        }
        for leaving in &gone {
            self.take_out(leaving, &mut changed)?;
        }
        let mut drafts = self.end_owned(object.meta.uid);
        for (holder, body) in
            changed.into_values().filter(|(holder, _)| !gone.iter().any(|g| g.meta.uid == holder.meta.uid))
        {
            let refs: Vec<ResolvedRef> = holder
                .refs
                .iter()
                .filter(|r| body.refs().iter().any(|u| u.kind == r.kind && u.name == r.name))
                .cloned()
                .collect();
            drafts.push(draft_of(&holder, holder.meta.kind.untyped().applied(&*body, &refs), system_authz(self.world)));
        }
        drafts.extend(gone.iter().skip(1).map(|inner| draft_of(inner, deleted(), system_authz(self.world))));
        drafts.push(draft_of(object, deleted(), self.authz(AuthzMode::Rbac, via)));
        Ok(Decided { drafts, outcome: Outcome::Deleted, object: object.meta.uid })
    }

    fn living_in(&self, project: Uid) -> Vec<Arc<Object>> {
        let scoped = Kind::ALL.iter().filter(|kind| kind.scope() == Scope::Project);
        let all = scoped.flat_map(|kind| self.world.all(*kind));
        all.filter(|object| object.meta.project.as_ref().is_some_and(|p| p.uid == project)).cloned().collect()
    }

    /// Takes an object that goes away out of all that name it as a subject; refuses when something else still needs it.
    fn take_out(
        &self,
        leaving: &Arc<Object>,
        changed: &mut BTreeMap<Uid, (Arc<Object>, Arc<dyn AnyBody>)>,
    ) -> Result<(), Refusal> {
        let subjects = subjects_of(leaving);
        let mut holders: Vec<Arc<Object>> = self.world.referrers(leaving.meta.uid).into_iter().cloned().collect();
        if leaving.meta.kind == Kind::McpToken {
            holders.extend(self.world.all(Kind::Rbac).cloned());
        }
        let mut needed_by = Vec::new();
        for holder in holders {
            let body = changed.get(&holder.meta.uid).map_or_else(|| holder.body.clone(), |(_, body)| body.clone());
            match subjects.iter().find_map(|subject| body.without_subject(subject)) {
                Some(without) => drop(changed.insert(holder.meta.uid, (holder, without))),
                None if leaving.meta.kind == Kind::McpToken => {}
                None => needed_by.push(holder),
            }
        }
        if needed_by.is_empty() {
            return Ok(());
        }
        Err(Refusal::InUse { object: leaving.title(), by: self.named_to_caller(&needed_by) })
    }

    /// Titles of objects; of those that the caller may not see, only how many there are.
    fn named_to_caller(&self, objects: &[Arc<Object>]) -> Vec<String> {
        let seen = objects.iter().filter(|object| self.may(&Ask::on(Verb::View, object)).allowed);
        let mut titles: Vec<String> = seen.map(|object| object.title()).collect();
        let unseen = objects.len() - titles.len();
        if unseen > 0 {
            titles.push(format!("{unseen} that you may not see"));
        }
        titles
    }

    /// What ends for good because its owner did.
    fn end_owned(&self, owner: Uid) -> Vec<Draft> {
        let owned = self.world.owned_by(owner).into_iter();
        owned
            .filter_map(|object| Some(draft_of(object, object.body.end_with_owner()?, system_authz(self.world))))
            .collect()
    }
}

fn dangling(violations: &mut Violations, used: RefUse) {
    violations.hint(
        used.field,
        format!("{} {:?} does not exist", used.kind, used.name),
        format!("create it first, or see `mcpctl get {}`", used.kind.names().plural),
    );
}

/// The ways in which manifests name an object as a subject.
fn subjects_of(object: &Object) -> Vec<SubjectRef> {
    let name = object.meta.name.clone();
    match object.meta.kind {
        Kind::User => vec![SubjectRef::User { name: Ref::to(name) }],
        Kind::Group => vec![SubjectRef::Group { name: Ref::to(name) }],
        Kind::ServiceAccount => vec![SubjectRef::ServiceAccount { name: Ref::to(name) }],
        Kind::McpToken => object
            .body
            .credentials()
            .into_iter()
            .map(|credential| SubjectRef::McpToken { name: crate::kinds::TokenSha(credential.digest) })
            .collect(),
        _ => Vec::new(),
    }
}
