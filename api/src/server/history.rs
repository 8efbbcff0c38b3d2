//! What happened to an object: its events from the log, with the fields that each changed. Also for deleted objects. Of a
//! subject also the events by which its access changed, whatever they were about.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use mcpctl_core::access::questions::{Then, difference_of};
use mcpctl_core::access::{Ask, ResourceName, Verb, decide};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::log::{LogError, LogReader};
use mcpctl_core::name::Name;
use mcpctl_core::object::{Object, title};
use mcpctl_core::record::Record;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::resource::Scope;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde_json::{Map, Value};

use super::app::App;
use super::audit::harmless;
use super::auth::Authenticated;
use super::clock;
use super::point::Point;
use super::problem::{Result as Answered, problem};
use super::target::Target;
use crate::wire::{HistoryItem, List};

/// Most events of one answer: the newest.
pub const ITEMS_MAX: usize = 1000;
/// Most characters of a value in a change.
const VALUE_CHARS_MAX: usize = 120;

/// Why there is no history to show.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The caller may not see it, or there is nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The object, or the objects one after the other, that a name meant.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Kind.
    pub kind: Kind,
    /// Project, for kinds of that scope; without one, every project's.
    pub project: Option<&'a Name>,
    /// Name.
    pub name: &'a Name,
    /// Up to this event.
    pub until: Seq,
}

/// The events of all objects that ever had a name, as far as the caller may see those, in the order of the log.
///
/// # Errors
/// When the caller may see none of them, or the log can't be read.
pub fn of_named(
    state: &State,
    log: &dyn LogReader,
    caller: &Actor,
    named: Named<'_>,
    now: Timestamp,
) -> Result<Vec<HistoryItem>, HistoryError> {
    let all: Vec<(Option<Uid>, Uid)> =
        scopes(state, named).into_iter().flat_map(|scope| with_name(state, named, scope)).collect();
    let may = |ask: &Ask<'_>| decide(state, caller, ask, now).allowed;
    let ask = |project, uid| Ask::Object {
        verb: Verb::View,
        resource: ResourceName::Kind(named.kind),
        project,
        name: Some(named.name),
        uid,
    };
    let visible: Vec<Uid> =
        all.iter().filter(|(project, uid)| may(&ask(*project, Some(*uid)))).map(|(_, uid)| *uid).collect();
    if visible.is_empty() {
        let object = title(named.kind, named.project, named.name.as_str());
        // One who may not see the name is told the same, whether there was something or not.
        let general = ask(scopes(state, named).first().copied().flatten(), None);
        return Err(if all.is_empty() && may(&general) {
            Refusal::NotFound { object }
        } else {
            Refusal::Forbidden { actor: caller.to_string(), missing: general.to_string(), at: state.seq() }
        }
        .into());
    }
    let reading = Reading { state, log, caller, now };
    Ok(reading.of_objects(&visible, named.until)?)
}

/// Where the name may have been used: nowhere in particular, or in the projects of a name, the deleted ones too.
fn scopes(state: &State, named: Named<'_>) -> Vec<Option<Uid>> {
    match (named.kind.scope(), named.project) {
        (Scope::Global, _) => vec![None],
        (Scope::Project, Some(project)) => {
            state.uids_named(Kind::Project, None, project).into_iter().map(Some).collect()
        }
        (Scope::Project, None) => state.all(Kind::Project).map(|project| Some(project.meta.uid)).collect(),
    }
}

fn with_name(state: &State, named: Named<'_>, scope: Option<Uid>) -> impl Iterator<Item = (Option<Uid>, Uid)> {
    state.uids_named(named.kind, scope, named.name).into_iter().map(move |uid| (scope, uid))
}

/// Who reads what from where.
struct Reading<'a> {
    state: &'a State,
    log: &'a dyn LogReader,
    caller: &'a Actor,
    now: Timestamp,
}

impl Reading<'_> {
    /// The newest events of some objects, in the order of the log; of a subject also those by which its access changed.
    fn of_objects(&self, objects: &[Uid], until: Seq) -> Result<Vec<HistoryItem>, LogError> {
        let mut seqs: BTreeMap<Seq, BTreeSet<Uid>> = BTreeMap::new();
        for object in objects {
            let about = self.log.of_object(*object)?.into_iter().chain(self.state.seqs_of_access(*object));
            for seq in about {
                seqs.entry(seq).or_default().insert(*object);
            }
        }
        // The log may be ahead of the state by what is not published yet.
        seqs.retain(|seq, _| *seq <= until.min(self.state.seq()));
        let older = seqs.len().saturating_sub(ITEMS_MAX);
        let mut items = Vec::with_capacity(seqs.len() - older);
        for (seq, about) in seqs.into_iter().skip(older) {
            if let Some(bytes) = self.log.read(seq)? {
                items.extend(self.item(seq, &bytes, &about)?);
            }
        }
        Ok(items)
    }

    /// An event in words. A token is told of events that changed its access only when it may view what they were about.
    fn item(&self, seq: Seq, bytes: &[u8], about: &BTreeSet<Uid>) -> Result<Option<HistoryItem>, LogError> {
        let header = Record::load(bytes).map_err(|source| LogError::Record { seq, source })?.header;
        let before = self.state.object_at(header.object, Seq(seq.0 - 1));
        let after = self.state.object_at(header.object, seq);
        let one = after.as_ref().or(before.as_ref()).cloned();
        let project = one.as_ref().and_then(|object| object.meta.project.clone());
        // What gave or took access is named to whom it is about; its fields are for who may see them.
        let seen = about.contains(&header.object)
            || one
                .is_some_and(|object| decide(self.state, self.caller, &Ask::on(Verb::View, &object), self.now).allowed);
        if !seen && self.caller.kind == ActorKind::McpToken {
            return Ok(None);
        }
        let changes = after.filter(|_| seen).map(|after| changes(before.as_ref(), &after, header.at.min(self.now)));
        Ok(Some(HistoryItem {
            seq,
            at: header.at,
            object: title(header.kind, project.as_ref().map(|project| &project.name), header.name.as_str()),
            event: format!("{}.{}", header.kind, header.event),
            actor: header.actor,
            on_behalf_of: header.on_behalf_of,
            reason: header.reason.map(|reason| harmless(&reason).into_owned()),
            authz: header.authz,
            changes: changes.unwrap_or_default(),
            access: about.iter().flat_map(|subject| self.access(*subject, seq)).collect(),
            hash: Digest::blake3(bytes),
        }))
    }

    /// What a subject gained and lost by one event.
    fn access(&self, subject: Uid, seq: Seq) -> Vec<String> {
        let (before, after) = (self.state.at(Seq(seq.0 - 1)), self.state.at(seq));
        let then = [&before, &after].map(|view| Then { world: view, now: view.last_at() });
        let found = difference_of(then[0], then[1], subject, BTreeSet::new());
        let mut rows = Vec::new();
        if let Some(found) = found {
            rows.extend(found.gained.iter().map(|held| format!("+{}", held.right)));
            rows.extend(found.lost.iter().map(|held| format!("-{}", held.right)));
        }
        rows
    }
}

/// Which fields differ, as `field: before → after`. It compares what the API shows, so no secret can be in it.
pub(super) fn changes(before: Option<&Arc<Object>>, after: &Arc<Object>, at: Timestamp) -> Vec<String> {
    let shown = |object: &Arc<Object>| {
        let mut fields = object.body.spec_fields();
        fields.insert("status".to_owned(), object.meta.kind.untyped().status_view(object, at));
        fields
    };
    let mut found = Vec::new();
    differences("", &before.map(shown).unwrap_or_default(), &shown(after), &mut found);
    found
}

fn differences(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, found: &mut Vec<String>) {
    let new = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(new) {
        let field = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (before.get(key).and_then(something), after.get(key).and_then(something)) {
            (was, is) if was == is => {}
            (Some(Value::Object(was)), Some(Value::Object(is))) => differences(&field, was, is, found),
            (None, Some(Value::Object(is))) if identity(is).is_none() => differences(&field, &Map::new(), is, found),
            (Some(Value::Object(was)), None) if identity(was).is_none() => {
                differences(&field, was, &Map::new(), found);
            }
            (was, is) => found.push(format!("{}: {} → {}", harmless(&field), said(was), said(is))),
        }
    }
}

/// A value, unless it says nothing.
fn something(value: &Value) -> Option<&Value> {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    (!empty).then_some(value)
}

/// `kind:name`, when the fields are those of an identity.
fn identity(fields: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let (kind, name, _) = (text("kind")?, text("name")?, text("uid")?);
    (fields.len() == 3).then(|| format!("{kind}:{name}"))
}

fn said(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.as_object().and_then(identity).unwrap_or_else(|| value.to_string());
    let mut short: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    harmless(&short).into_owned()
}

/// Answers `GET …/history`.
pub(super) fn answer(
    app: &App,
    caller: &Authenticated,
    target: &Target,
    query: &HashMap<String, String>,
) -> Answered<Response> {
    let state = app.published.load();
    let until = Point::of(&state, query)?.map_or(state.seq(), |point| point.seq);
    let now = clock::now().max(state.last_at());
    // A project that is gone, or a name in several: of_named knows what to do with both.
    let known = match target.candidates(&state).as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    };
    let name = match &known {
        Some(object) => object.meta.name.clone(),
        None => target.parsed_name()?,
    };
    let project = match (&known, &target.project) {
        (Some(object), _) => object.meta.project.as_ref().map(|project| project.name.clone()),
        (None, Some(text)) => Name::parse(mcpctl_core::name::NameRule::Label, text).ok(),
        (None, None) => None,
    };
    let named = Named { kind: target.kind, project: project.as_ref(), name: &name, until };
    let items = of_named(&state, &*app.log, &caller.actor, named, now).map_err(|error| match error {
        HistoryError::Refused(refusal) => refusal.into(),
        HistoryError::Log(error) => {
            tracing::error!(%error, "the log can't be read");
            problem(axum::http::StatusCode::SERVICE_UNAVAILABLE, "log", "The log can't be read", error.to_string())
        }
    })?;
    Ok(axum::Json(List { items, next: None, revision: state.seq() }).into_response())
}
