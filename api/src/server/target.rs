//! What a request is about, as its path and query say; and the refusals that don't tell what the caller may not know.
use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use mcpctl_core::access::{Ask, ResourceName, Verb, decide};
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::resource::Scope;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use super::auth::Authenticated;
use super::problem::{Answer, Result, not_found, problem};

/// An object, or a collection, that a request names.
pub(super) struct Target {
    /// Kind.
    pub kind: Kind,
    /// Project, as text; `None` for kinds that live in none.
    pub project: Option<String>,
    /// Name or uid, as text; empty for a collection.
    pub name: String,
}

impl Target {
    /// From the parameters of a path: `{name}` is the project in front of kinds that live in one, else the object.
    pub(super) fn of(
        kind: Kind,
        below_project: bool,
        params: &HashMap<String, String>,
        query: &HashMap<String, String>,
    ) -> Self {
        let text = |from: &HashMap<String, String>, key| from.get(key).cloned();
        let project = if below_project { text(params, "name") } else { text(query, "project") };
        Self {
            kind,
            project: project.filter(|_| kind.scope() == Scope::Project),
            name: text(params, if below_project { "object" } else { "name" }).unwrap_or_default(),
        }
    }

    /// The project's identity; `None` when none is named, or it does not exist.
    pub(super) fn project_uid(&self, state: &State) -> Option<Uid> {
        let name = Name::parse(NameRule::Label, self.project.as_ref()?).ok()?;
        state.by_name(Kind::Project, None, &name).map(|object| object.meta.uid)
    }

    /// Every object that it may mean: one, or several when no project is named.
    pub(super) fn candidates(&self, state: &State) -> Vec<Arc<Object>> {
        if let Some(object) = self.name.parse().ok().and_then(|uid| state.by_uid(uid)) {
            let inside =
                self.project.is_none() || object.meta.project.as_ref().map(|p| p.uid) == self.project_uid(state);
            return (object.meta.kind == self.kind && inside).then(|| object.clone()).into_iter().collect();
        }
        let Ok(name) = self.parsed_name() else { return Vec::new() };
        match (self.kind.scope(), &self.project) {
            (Scope::Global, _) => state.by_name(self.kind, None, &name).cloned().into_iter().collect(),
            (Scope::Project, None) => state.all(self.kind).filter(|object| object.meta.name == name).cloned().collect(),
            (Scope::Project, Some(_)) => {
                let project = self.project_uid(state);
                project.and_then(|uid| state.by_name(self.kind, Some(uid), &name).cloned()).into_iter().collect()
            }
        }
    }

    /// The object, for a caller who holds the verb on it or may see it. Else the same refusal for one that is hidden and
    /// for one that is not there.
    pub(super) fn reachable(&self, state: &State, caller: &Authenticated, verb: Verb) -> Result<Arc<Object>> {
        let reachable = |object: &Arc<Object>| {
            may(state, caller, &Ask::on(Verb::View, object)) || may(state, caller, &Ask::on(verb, object))
        };
        let mut found: Vec<Arc<Object>> = self.candidates(state).into_iter().filter(reachable).collect();
        match (found.pop(), found.is_empty()) {
            (Some(object), true) => Ok(object),
            (Some(_), false) => Err(self.ambiguous()),
            (None, _) => Err(self.hidden(state, caller, verb)),
        }
    }

    pub(super) fn ambiguous(&self) -> Answer {
        let detail = format!("several projects have a {} of this name", self.kind);
        problem(StatusCode::BAD_REQUEST, "ambiguous", "Ambiguous", detail).hint("say which with ?project= (-p PROJECT)")
    }

    /// Who may see the name is told that nothing has it; everybody else that they lack the right.
    pub(super) fn hidden(&self, state: &State, caller: &Authenticated, verb: Verb) -> Answer {
        let (project, name) = (self.project_uid(state), self.parsed_name());
        let ask = |verb| Ask::Object {
            verb,
            resource: ResourceName::Kind(self.kind),
            project,
            name: name.as_ref().ok(),
            uid: None,
        };
        if may(state, caller, &ask(Verb::View)) || may(state, caller, &ask(verb)) {
            return match &name {
                Err(_) => not_found(format!("no {} can have this name", self.kind)),
                Ok(name) => not_found(format!("{}/{name} does not exist", self.kind))
                    .hint(format!("see `mcpctl get {}`", self.kind.names().plural)),
            };
        }
        let shown: String = self.name.chars().take(80).collect();
        Refusal::Forbidden {
            actor: caller.actor.to_string(),
            missing: format!("{verb} {}/{shown}", self.kind.names().plural),
            at: state.seq(),
        }
        .into()
    }

    /// The name, checked by the rule of the kind.
    pub(super) fn parsed_name(&self) -> Result<Name> {
        let rule = self.kind.untyped().name_rule();
        Name::parse(rule, &self.name).map_err(|error| not_found(error.to_string()))
    }

    /// Whether a collection's project is missing, as far as the caller may know: one who may not see projects is shown an
    /// empty collection, as of a project in which they may see nothing.
    pub(super) fn check_project(&self, state: &State, caller: &Authenticated) -> Result<()> {
        let Some(text) = &self.project else { return Ok(()) };
        let name = Name::parse(NameRule::Label, text).map_err(|error| not_found(error.to_string()))?;
        let known = self.project_uid(state).is_some();
        if !known && may(state, caller, &Ask::named(Verb::View, Kind::Project, None, &name)) {
            return Err(not_found(format!("project/{name} does not exist")).hint("see `mcpctl get projects`"));
        }
        Ok(())
    }
}

/// Whether a caller may do something, now.
pub(super) fn may(state: &State, caller: &Authenticated, ask: &Ask<'_>) -> bool {
    decide(state, &caller.actor, ask, caller.at.max(state.last_at())).allowed
}

/// Whether a caller may see an object.
pub(super) fn may_view(state: &State, caller: &Authenticated, object: &Object) -> bool {
    may(state, caller, &Ask::on(Verb::View, object))
}
