//! `?at=`: which state of the past a request asks, and objects as they were there.
use std::collections::HashMap;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use mcpctl_core::access::{Ask, Verb};
use mcpctl_core::at::At;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::refusal::Violation;
use mcpctl_core::resource::Scope;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use mcpctl_projections::{AsOf, State};
use serde_json::{Value, json};

use super::auth::Authenticated;
use super::problem::{Result, invalid, not_found};
use super::target::{Target, may, may_view};
use super::{access, clock, table};

/// A state of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// After this event.
    pub seq: Seq,
    /// The moment that it is looked at from: the one that was named, or that of the event.
    pub at: Timestamp,
}

impl Point {
    /// The point that a request names, if it names one.
    ///
    /// # Errors
    /// When the text can't be read, or lies in the future.
    pub fn of(state: &State, query: &HashMap<String, String>) -> Result<Option<Self>> {
        Self::named(state, query, "at")
    }

    /// The same from another field of the query, such as `from`.
    ///
    /// # Errors
    /// See [`Point::of`].
    pub fn named(state: &State, query: &HashMap<String, String>, field: &str) -> Result<Option<Self>> {
        let Some(text) = query.get(field) else { return Ok(None) };
        let wrong = |message| invalid(vec![Violation { field: field.to_owned(), message, hint: None }]);
        let at: At = text.parse().map_err(|error: mcpctl_core::at::InvalidAt| wrong(error.to_string()))?;
        let now = clock::now().max(state.last_at());
        let point = match (at, at.moment(now)) {
            (_, Some(moment)) if moment > now => return Err(wrong(format!("{moment} has not come yet"))),
            (_, Some(moment)) => Self { seq: state.seq_at(moment), at: moment },
            (At::Seq(seq), None) if seq > state.seq() => {
                return Err(wrong(format!("{seq} has not come yet: the log ends at {}", state.seq())));
            }
            (At::Seq(seq), None) => Self { seq, at: state.time_of(seq).unwrap_or_default() },
            (At::Moment(_) | At::Ago(_), None) => return Err(wrong(format!("{text:?} names no point"))),
        };
        Ok(Some(point))
    }
}

impl Point {
    /// The newest state, looked at from now.
    pub(super) fn newest(state: &State) -> Self {
        Self { seq: state.seq(), at: clock::now().max(state.last_at()) }
    }
}

/// The object as it was. Who may see it is decided now: a right that is lost does not open the past.
pub(super) fn read(state: &State, caller: &Authenticated, target: &Target, point: Point) -> Result<Response> {
    let view = state.at(point.seq);
    let mut found = candidates(&view, target);
    found.retain(|object| may_view(state, caller, object));
    let object = match found[..] {
        [object] => object,
        [] => return Err(target.hidden(state, caller, Verb::View)),
        _ => return Err(target.ambiguous()),
    };
    let mut fields = manifest::full(object, point.at);
    let used_by = view.referrers(object.meta.uid).into_iter().filter(|other| may_view(state, caller, other));
    let used_by: Vec<Value> = used_by.map(|other| other.title().into()).collect();
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("usedBy".into(), used_by.into());
        metadata.insert("asOf".into(), json!(point.seq));
    }
    if let Some(access) = access::of(state, &view, caller, object)
        && let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut)
    {
        status.insert("access".into(), access);
    }
    Ok(axum::Json(fields).into_response())
}

/// The objects of a kind as they were.
pub(super) fn list(
    state: &State,
    caller: &Authenticated,
    target: &Target,
    query: &HashMap<String, String>,
    point: Point,
) -> Result<Response> {
    let view = state.at(point.seq);
    let project = project_of(&view, target);
    if let (Some(text), None) = (&target.project, project) {
        let name = Name::parse(NameRule::Label, text).map_err(|error| not_found(error.to_string()))?;
        if may(state, caller, &Ask::named(Verb::View, Kind::Project, None, &name)) {
            return Err(not_found(format!("project/{name} did not exist")));
        }
    }
    let inside = |object: &&Arc<Object>| {
        target.project.is_none() || (project.is_some() && object.meta.project.as_ref().map(|p| p.uid) == project)
    };
    let shown: Vec<&Arc<Object>> =
        view.all(target.kind).filter(inside).filter(|object| may_view(state, caller, object)).collect();
    let body = if query.get("view").is_some_and(|view| view == "table") {
        table::as_of(target.kind, &shown, point)
    } else {
        let items: Vec<_> = shown.into_iter().map(|object| manifest::full(object, point.at)).collect();
        json!({ "items": items, "revision": point.seq })
    };
    Ok(axum::Json(body).into_response())
}

fn project_of(view: &dyn World, target: &Target) -> Option<Uid> {
    let name = Name::parse(NameRule::Label, target.project.as_ref()?).ok()?;
    view.by_name(Kind::Project, None, &name).map(|object| object.meta.uid)
}

/// Every object of then that the request may mean: one, or several when no project is named.
fn candidates<'v>(view: &'v AsOf<'_>, target: &Target) -> Vec<&'v Arc<Object>> {
    let project = project_of(view, target);
    let inside = |object: &&Arc<Object>| {
        target.project.is_none() || (project.is_some() && object.meta.project.as_ref().map(|p| p.uid) == project)
    };
    if let Some(object) = target.name.parse().ok().and_then(|uid| view.by_uid(uid)) {
        return Some(object).filter(|object| object.meta.kind == target.kind && inside(object)).into_iter().collect();
    }
    let Ok(name) = target.parsed_name() else { return Vec::new() };
    if target.kind.scope() == Scope::Global || project.is_some() {
        return view.by_name(target.kind, project, &name).into_iter().collect();
    }
    view.all(target.kind).filter(|object| object.meta.name == name && inside(object)).collect()
}

/// Whether a caller may be told about a subject: itself, or one that it may view.
pub(super) fn may_know(state: &State, caller: &Authenticated, subject: &Object) -> bool {
    subject.meta.uid == caller.actor.uid || may_view(state, caller, subject)
}
