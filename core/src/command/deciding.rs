//! What every decision stands on: whose command, on which project, by which right; and refusals that don't tell what the
//! caller may not know.
use std::sync::Arc;

use super::{Asking, Command, Draft};
use crate::access::{Ask, Verb, Verdict, decide as decide_access, impersonates};
use crate::actor::ActorKind;
use crate::erased::EventDraft;
use crate::ids::Seq;
use crate::kinds::Kind;
use crate::name::Name;
use crate::object::{Object, ProjectName, title};
use crate::record::{Authz, AuthzMode};
use crate::refusal::{Refusal, Violations};
use crate::resource::Scope;
use crate::world::World;

pub(super) fn resolve_project(
    world: &dyn World,
    asking: &Asking<'_>,
    command: &Command,
) -> Result<Option<ProjectName>, Refusal> {
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

pub(super) fn system_authz(world: &dyn World) -> Authz {
    Authz { at: world.seq(), mode: AuthzMode::System, via: Vec::new() }
}

pub(super) fn draft_of(object: &Object, event: EventDraft, authz: Authz) -> Draft {
    Draft {
        kind: object.meta.kind,
        object: object.meta.uid,
        name: object.meta.name.clone(),
        project: object.meta.project.clone(),
        event,
        authz,
    }
}

/// C7: whoever acts as somebody else may do that, and by which grants.
pub(super) fn standing_in(world: &dyn World, asking: &Asking<'_>) -> Result<Vec<Seq>, Refusal> {
    let Some(impersonator) = asking.impersonator else { return Ok(Vec::new()) };
    let account = world.by_uid(asking.caller.uid).filter(|account| account.meta.kind == Kind::ServiceAccount);
    let verdict = account.map(|account| impersonates(world, impersonator, account, asking.now));
    match verdict.filter(|verdict| verdict.allowed) {
        Some(verdict) => Ok(verdict.via),
        None => Err(Refusal::Forbidden {
            actor: impersonator.to_string(),
            missing: format!("run serviceaccounts/{}", asking.caller.name),
            at: world.seq(),
        }),
    }
}

/// What all events of a batch stand on: the right to act as somebody else; and what follows from a command by itself, such
/// as the end of a deleted user's tokens, stands on what the command stood on.
pub(super) fn stand_together(drafts: &mut [Draft], standing: &[Seq]) {
    let own = drafts.iter().filter(|draft| draft.authz.mode != AuthzMode::System);
    let cause: Vec<Seq> = own.flat_map(|draft| draft.authz.via.clone()).collect();
    for draft in drafts {
        let via = &mut draft.authz.via;
        via.extend_from_slice(standing);
        if draft.authz.mode == AuthzMode::System {
            via.extend_from_slice(&cause);
        }
        via.sort_unstable();
        via.dedup();
    }
}

pub(super) struct Deciding<'a> {
    pub(super) world: &'a dyn World,
    pub(super) asking: &'a Asking<'a>,
    pub(super) command: &'a Command,
    pub(super) project: Option<ProjectName>,
    /// Grants by which the caller is acted as.
    pub(super) standing: &'a [Seq],
}

impl Deciding<'_> {
    pub(super) fn title(&self) -> String {
        title(self.command.kind, self.command.project.as_ref(), self.command.name.as_str())
    }

    fn ask<'n>(&'n self, verb: Verb, object: Option<&'n Object>) -> Ask<'n> {
        match object {
            Some(object) => Ask::on(verb, object),
            None => Ask::named(verb, self.command.kind, self.project.as_ref().map(|p| p.uid), &self.command.name),
        }
    }

    pub(super) fn may(&self, ask: &Ask<'_>) -> Verdict {
        decide_access(self.world, self.asking.caller, ask, self.asking.now)
    }

    pub(super) fn forbidden(&self, missing: String) -> Refusal {
        Refusal::Forbidden { actor: self.asking.caller.to_string(), missing, at: self.world.seq() }
    }

    /// Whoever may not see the object is told the same whether it is there or not.
    pub(super) fn allow(&self, verb: Verb, object: Option<&Object>) -> Result<Verdict, Refusal> {
        let verdict = self.may(&self.ask(verb, object));
        if verdict.allowed {
            return Ok(verdict);
        }
        let seen = self.may(&self.ask(Verb::View, object)).allowed;
        let missing = if seen { verb } else { self.command.wanted() };
        Err(self.forbidden(self.ask(missing, object).to_string()))
    }

    pub(super) fn authz(&self, mode: AuthzMode, mut via: Vec<Seq>) -> Authz {
        let mode = match self.asking.caller.kind {
            ActorKind::System => AuthzMode::System,
            ActorKind::Local => AuthzMode::Local,
            ActorKind::User | ActorKind::ServiceAccount | ActorKind::McpToken => mode,
        };
        via.sort_unstable();
        via.dedup();
        Authz { at: self.world.seq(), mode, via }
    }

    pub(super) fn must_exist(&self, found: Option<Arc<Object>>) -> Result<Arc<Object>, Refusal> {
        let Some(object) = found else {
            let wanted = self.command.wanted();
            if !self.may(&self.ask(Verb::View, None)).allowed {
                self.allow(wanted, None)?;
            }
            return Err(Refusal::NotFound { object: self.title() });
        };
        Ok(object)
    }

    pub(super) fn check_version(&self, object: &Object, expected: Option<Seq>) -> Result<(), Refusal> {
        match expected {
            Some(expected) if expected != object.meta.resource_version => {
                Err(Refusal::Conflict { object: self.title(), expected, found: object.meta.resource_version })
            }
            _ => Ok(()),
        }
    }
}
