//! Apply and act: an object made what a spec says, and the verbs beyond.
use std::sync::Arc;

use super::deciding::{Deciding, draft_of, system_authz};
use super::{Decided, Draft, Mode, Outcome};
use crate::access::{Ask, Verb, added_rights, check_additions, check_depth, check_references};
use crate::actor::ActorKind;
use crate::erased::{AnyAction, AnyBody, EventDraft, ResolvedRef};
use crate::ids::{Seq, Uid};
use crate::kinds::Kind;
use crate::name::Name;
use crate::object::Object;
use crate::record::{Authz, AuthzMode};
use crate::reference::RefUse;
use crate::refusal::{Refusal, Violations};
use crate::resource::ActRight;

impl Deciding<'_> {
    pub(super) fn apply(
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
        if !additions.is_empty() && !self.asking.caller.kind.is_unbound() {
            check_depth(self.world, &[&via[..], self.standing].concat())?;
        }
        self.applied(before, &**body, refs, self.authz(rule, via), then)
    }

    /// An apply that leaves the spec as it is, for actions that the caller may do to itself: a person's own new password.
    fn is_own_action(&self, before: Option<&Object>, body: &dyn AnyBody, then: &[AnyAction]) -> bool {
        let untyped = self.command.kind.untyped();
        let own = |action: &AnyAction| matches!(untyped.right(action), ActRight::OwnOr(_));
        let unchanged_self = before.is_some_and(|object| self.is_caller(object) && object.body.same_spec(body));
        unchanged_self && !then.is_empty() && then.iter().all(own)
    }

    /// Whether the object is the caller itself, who may act at all: somebody may be disabled after they were let in.
    fn is_caller(&self, object: &Object) -> bool {
        object.meta.uid == self.asking.caller.uid && object.body.enabled()
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

    pub(super) fn applied(
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
                let (events, authz) = self.act_events(&object, action, &authz)?;
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
        let header = draft.header(self.asking.next_place(self.world));
        let folded = self.command.kind.untyped().fold(before, &header, &draft.event.payload, draft.project.clone());
        folded.ok().flatten().ok_or_else(|| Refusal::NotFound { object: self.title() })
    }

    fn act_events(
        &self,
        object: &Object,
        action: &AnyAction,
        authz: &Authz,
    ) -> Result<(Vec<EventDraft>, Authz), Refusal> {
        let untyped = object.meta.kind.untyped();
        let (events, used) = untyped.decide(self.world, self.asking.caller, self.asking.now, object, action)?;
        Ok((events, self.authz(authz.mode, [&authz.via[..], &used].concat())))
    }

    pub(super) fn act(&self, object: &Object, action: &AnyAction) -> Result<Decided, Refusal> {
        let (mode, via) = match object.meta.kind.untyped().right(action) {
            ActRight::OwnOr(_) if self.is_caller(object) => (AuthzMode::Own, Vec::new()),
            ActRight::Verb(verb) | ActRight::OwnOr(verb) => (AuthzMode::Rbac, self.allow(verb, Some(object))?.via),
            ActRight::System if self.asking.caller.kind == ActorKind::System => (AuthzMode::System, Vec::new()),
            ActRight::System => return Err(self.forbidden("do what only the control plane does".to_owned())),
        };
        let (events, authz) = self.act_events(object, action, &self.authz(mode, via))?;
        let outcome = if events.is_empty() { Outcome::Unchanged } else { Outcome::Changed };
        let drafts = events.into_iter().map(|event| draft_of(object, event, authz.clone())).collect();
        Ok(Decided { drafts, outcome, object: object.meta.uid })
    }
}

fn dangling(violations: &mut Violations, used: RefUse) {
    violations.hint(
        used.field,
        format!("{} {:?} does not exist", used.kind, used.name),
        format!("create it first, or see `mcpctl get {}`", used.kind.names().plural),
    );
}
