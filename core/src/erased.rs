//! The untyped twin of [`Resource`]: written once, so that no loop over kinds needs to know one.
use std::any::Any;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::Permission;
use crate::actor::Actor;
use crate::ids::{Seq, Uid};
use crate::kinds::{Kind, SubjectRef};
use crate::name::{Name, NameRule};
use crate::object::{Meta, Object};
use crate::read_back::ReadBack;
use crate::record::Header;
use crate::ref_walk;
use crate::reference::RefUse;
use crate::refusal::{Refusal, Violation, Violations};
use crate::resource::{ActRight, Credential, Deciding, NamedEvent, Names, Resource, Row, Scope};
use crate::time::Timestamp;
use crate::upcast::{self, EVENT_VERSION};
use crate::world::World;

/// What a reference in a spec meant when it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedRef {
    /// Kind referred to.
    pub kind: Kind,
    /// Name in the spec.
    pub name: Name,
    /// The object it meant.
    pub uid: Uid,
}

/// Spec and status of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Body<K: Resource> {
    /// What is asked.
    pub spec: K,
    /// What events made of it.
    pub status: K::Status,
}

/// Spec and status of an object whose kind is known at run time only.
pub trait AnyBody: Any + Debug + Send + Sync {
    /// For typed access.
    fn as_any(&self) -> &dyn Any;
    /// The spec as the fields of a manifest.
    fn spec_fields(&self) -> serde_json::Map<String, Value>;
    /// Whether the specs are equal.
    fn same_spec(&self, other: &dyn AnyBody) -> bool;
    /// See [`Resource::grants`].
    fn grants(&self, name: &Name) -> Vec<(SubjectRef, Permission)>;
    /// See [`Resource::own_grants`].
    fn own_grants(&self, meta: &Meta) -> Vec<Permission>;
    /// See [`Resource::members`].
    fn members(&self) -> Vec<SubjectRef>;
    /// See [`Resource::claimed`].
    fn claimed(&self) -> Vec<Uid>;
    /// See [`Resource::unclaim`].
    fn unclaim(&self, person: Uid) -> Option<EventDraft>;
    /// See [`Resource::opens_to_more`].
    fn opens_to_more(&self, other: &dyn AnyBody) -> bool;
    /// See [`Resource::owner`].
    fn owner(&self) -> Option<Uid>;
    /// See [`Resource::credentials`].
    fn credentials(&self) -> Vec<Credential>;
    /// See [`Resource::enabled`].
    fn enabled(&self) -> bool;
    /// See [`Resource::can_sign_in`].
    fn can_sign_in(&self) -> bool;
    /// References of the spec.
    fn refs(&self) -> Vec<RefUse>;
    /// The spec without a subject, when it named that subject.
    fn without_subject(&self, subject: &SubjectRef) -> Option<Arc<dyn AnyBody>>;
    /// The event with which it ends because its owner did.
    fn end_with_owner(&self) -> Option<EventDraft>;
    /// The events that end what must not come back after it was disabled.
    fn end_when_disabled(&self) -> Vec<EventDraft>;
    /// Whether its launch differs (a server's command, address or environment).
    fn launch_differs(&self, other: &dyn AnyBody) -> bool;
    /// The event that is due at a moment.
    fn due(&self) -> Option<(Timestamp, EventDraft)>;
    /// Canonical bytes of spec and status, for comparing states.
    fn canonical(&self) -> Vec<u8>;
    /// All that an object is but for its meta, as bytes that [`Untyped::of_content`] reads.
    fn content(&self, refs: &[ResolvedRef]) -> Vec<u8>;
}

/// An event before it has a place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDraft {
    /// Past-tense name.
    pub event: &'static str,
    /// Version of the payload's shape.
    pub version: u16,
    /// MessagePack with field names.
    pub payload: Vec<u8>,
}

/// Spec and status, and what the references in the spec meant.
pub type Content = (Arc<dyn AnyBody>, Arc<[ResolvedRef]>);

/// The same, typed.
type TypedContent<K> = (Body<K>, Arc<[ResolvedRef]>);

/// An action of a kind, carried untyped to its decision.
pub type AnyAction = Box<dyn Any + Send + Sync>;

#[derive(Serialize, Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
pub(crate) struct Applied<K: Resource> {
    pub(crate) spec: K,
    pub(crate) refs: Vec<ResolvedRef>,
}

/// An event whose payload can't be folded.
#[derive(Debug, thiserror::Error)]
#[error("the {kind}.{event} event does not fold: {why}")]
pub struct FoldError {
    pub(crate) kind: Kind,
    pub(crate) event: String,
    pub(crate) why: String,
}

/// A kind at run time.
pub trait Untyped: ReadBack + Send + Sync {
    /// The words for it.
    fn names(&self) -> Names;
    /// Where its names are unique.
    fn scope(&self) -> Scope;
    /// What its names look like.
    fn name_rule(&self) -> NameRule;
    /// Whether it can't be changed after its creation.
    fn immutable(&self) -> bool;
    /// One sentence about it.
    fn summary(&self) -> &'static str;
    /// A manifest that applies.
    fn example(&self) -> &'static str;
    /// JSON Schema of its manifest.
    fn schema(&self) -> Value;
    /// Titles of its columns.
    fn columns(&self) -> Vec<&'static str>;
    /// Names of all events it can have.
    fn events(&self) -> Vec<&'static str>;
    /// Cells of one object, in the order of the columns.
    fn cells(&self, object: &Object, now: Timestamp) -> Vec<String>;
    /// Status as the API shows it.
    fn status_view(&self, object: &Object, now: Timestamp) -> Value;
    /// Reads and normalises the fields of a manifest.
    ///
    /// # Errors
    /// Names each field that can't be read.
    fn parse(&self, fields: serde_json::Map<String, Value>) -> Result<Arc<dyn AnyBody>, Vec<Violation>>;
    /// Reads what [`AnyBody::content`] wrote.
    fn of_content(&self, content: &[u8]) -> Option<Content>;
    /// Adds what is wrong with a spec.
    fn validate(&self, body: &dyn AnyBody, name: &Name, world: &dyn World, meta: Option<&Meta>, out: &mut Violations);
    /// The event of an apply.
    fn applied(&self, body: &dyn AnyBody, refs: &[ResolvedRef]) -> EventDraft;
    /// The right that an action needs.
    fn right(&self, action: &AnyAction) -> ActRight;
    /// Decides an action on an object, and says which grants that stands on beyond the right that it needs.
    ///
    /// # Errors
    /// When it is refused.
    fn decide(
        &self,
        world: &dyn World,
        caller: &Actor,
        now: Timestamp,
        object: &Object,
        action: &AnyAction,
    ) -> Result<(Vec<EventDraft>, Vec<Seq>), Refusal>;
    /// Folds one event into an object; `None` after its deletion.
    ///
    /// # Errors
    /// When the payload does not decode or does not follow from what was before.
    fn fold(
        &self,
        before: Option<&Object>,
        header: &Header,
        payload: &[u8],
        project: Option<crate::object::ProjectName>,
    ) -> Result<Option<Object>, FoldError>;
}

/// The one implementation of [`Untyped`] and [`AnyBody`].
pub struct Twin<K>(PhantomData<fn() -> K>);

impl<K> Twin<K> {
    /// The twin.
    pub const NEW: Self = Self(PhantomData);
}

/// Event names that every kind has.
pub const APPLIED: &str = "applied";
/// See [`APPLIED`].
pub const DELETED: &str = "deleted";
/// The one event that changes nothing: it says where the audit log stood. It is written as one of [`Kind::Policy`], which is
/// about the organisation as a whole, and of no object.
pub const ANCHORED: &str = "anchored";

/// Whether an event changes nothing, see [`ANCHORED`].
fn only_anchors(kind: Kind, event: &str) -> bool {
    kind == Kind::Policy && event == ANCHORED
}

pub(crate) fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("specs and events are plain data, which always encodes")
}

fn draft_of<K: Resource>(event: &K::Event) -> EventDraft {
    EventDraft { event: event.name(), version: EVENT_VERSION, payload: pack(event) }
}

/// What serde says is wrong with a type, without the value: it may stand where a secret was meant.
fn without_value(message: &str) -> String {
    for what in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) = message.strip_prefix(what).and_then(|rest| rest.rsplit_once(", expected ")) {
            let shape = found.split(['"', '`']).next().unwrap_or_default().trim_end();
            return format!("{what}{shape}, expected {expected}");
        }
    }
    message.to_owned()
}

/// The event of a deletion.
#[must_use]
pub fn deleted() -> EventDraft {
    EventDraft { event: DELETED, version: EVENT_VERSION, payload: pack(&serde_json::Map::new()) }
}

/// The event that changes nothing: what it says stands in its header.
#[must_use]
pub fn anchored() -> EventDraft {
    EventDraft { event: ANCHORED, version: EVENT_VERSION, payload: pack(&serde_json::Map::new()) }
}

impl<K: Resource> AnyBody for Body<K> {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn spec_fields(&self) -> serde_json::Map<String, Value> {
        match serde_json::to_value(&self.spec) {
            Ok(Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        }
    }
    fn same_spec(&self, other: &dyn AnyBody) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.spec == other.spec)
    }
    fn grants(&self, name: &Name) -> Vec<(SubjectRef, Permission)> {
        self.spec.grants(name)
    }
    fn own_grants(&self, meta: &Meta) -> Vec<Permission> {
        K::own_grants(meta, &self.status)
    }
    fn members(&self) -> Vec<SubjectRef> {
        self.spec.members()
    }
    fn claimed(&self) -> Vec<Uid> {
        K::claimed(&self.status)
    }
    fn unclaim(&self, person: Uid) -> Option<EventDraft> {
        K::unclaim(&self.status, person).map(|event| draft_of::<K>(&event))
    }
    fn opens_to_more(&self, other: &dyn AnyBody) -> bool {
        let other = other.as_any().downcast_ref::<Self>();
        other.is_none_or(|other| self.spec.opens_to_more(&other.spec))
    }
    fn owner(&self) -> Option<Uid> {
        K::owner(&self.status)
    }
    fn credentials(&self) -> Vec<Credential> {
        self.spec.credentials(&self.status)
    }
    fn enabled(&self) -> bool {
        self.spec.enabled()
    }
    fn can_sign_in(&self) -> bool {
        self.spec.can_sign_in(&self.status)
    }
    fn refs(&self) -> Vec<RefUse> {
        ref_walk::refs_of(&self.spec)
    }
    fn without_subject(&self, subject: &SubjectRef) -> Option<Arc<dyn AnyBody>> {
        let mut spec = self.spec.clone();
        spec.drop_subject(subject).then(|| Arc::new(Self { spec, status: self.status.clone() }) as Arc<dyn AnyBody>)
    }
    fn end_with_owner(&self) -> Option<EventDraft> {
        K::end_with_owner(&self.status).map(|event| draft_of::<K>(&event))
    }
    fn end_when_disabled(&self) -> Vec<EventDraft> {
        K::end_when_disabled(&self.status).iter().map(draft_of::<K>).collect()
    }
    fn launch_differs(&self, other: &dyn AnyBody) -> bool {
        let other = other.as_any().downcast_ref::<Self>();
        other.is_none_or(|other| self.spec.launch_differs(&other.spec))
    }
    fn due(&self) -> Option<(Timestamp, EventDraft)> {
        K::due(&self.status).map(|(at, event)| (at, draft_of::<K>(&event)))
    }
    fn canonical(&self) -> Vec<u8> {
        pack(&(&self.spec, &self.status))
    }
    fn content(&self, refs: &[ResolvedRef]) -> Vec<u8> {
        pack(&(&self.spec, &self.status, refs))
    }
}

impl<K: Resource> Twin<K> {
    fn body(body: &dyn AnyBody) -> &Body<K> {
        body.as_any().downcast_ref().expect("a body is handed to the twin of its own kind")
    }

    fn row(object: &Object, now: Timestamp) -> Row<'_, K> {
        let body = Self::body(&*object.body);
        Row { meta: &object.meta, spec: &body.spec, status: &body.status, now }
    }

    fn fold_next(before: Option<&Object>, header: &Header, payload: &[u8]) -> Result<Option<TypedContent<K>>, String> {
        let text = |error: rmp_serde::decode::Error| error.to_string();
        if header.event == APPLIED {
            let Applied { spec, refs } = rmp_serde::from_slice::<Applied<K>>(payload).map_err(text)?;
            let mut status = before.map(|object| Self::body(&*object.body).status.clone()).unwrap_or_default();
            if let Some(object) = before {
                spec.settle(&Self::body(&*object.body).spec, &mut status);
            }
            // A change that refers to the same objects shares the list with the version before.
            let same = before.filter(|object| *object.refs == *refs).map(|object| object.refs.clone());
            return Ok(Some((Body { spec, status }, same.unwrap_or_else(|| refs.into()))));
        }
        let before = before.ok_or("the object does not exist")?;
        if header.event == DELETED {
            return Ok(None);
        }
        let event: K::Event = rmp_serde::from_slice(payload).map_err(text)?;
        let mut body = Self::body(&*before.body).clone();
        K::evolve(&mut body.status, &event, header.at);
        Ok(Some((body, before.refs.clone())))
    }
}

impl<K: Resource> Untyped for Twin<K> {
    fn names(&self) -> Names {
        K::NAMES
    }
    fn scope(&self) -> Scope {
        K::SCOPE
    }
    fn name_rule(&self) -> NameRule {
        K::NAME_RULE
    }
    fn immutable(&self) -> bool {
        K::IMMUTABLE
    }
    fn summary(&self) -> &'static str {
        K::SUMMARY
    }
    fn example(&self) -> &'static str {
        K::EXAMPLE
    }
    fn schema(&self) -> Value {
        crate::schema::manifest_schema::<K>()
    }
    fn columns(&self) -> Vec<&'static str> {
        K::columns().iter().map(|column| column.title).collect()
    }
    fn events(&self) -> Vec<&'static str> {
        let anchored: &[&str] = if only_anchors(K::KIND, ANCHORED) { &[ANCHORED] } else { &[] };
        [&[APPLIED, DELETED], <K::Event as NamedEvent>::NAMES, anchored].concat()
    }
    fn cells(&self, object: &Object, now: Timestamp) -> Vec<String> {
        let row = Self::row(object, now);
        K::columns().iter().map(|column| (column.cell)(&row)).collect()
    }
    fn status_view(&self, object: &Object, now: Timestamp) -> Value {
        K::status_view(&Self::row(object, now))
    }
    fn parse(&self, fields: serde_json::Map<String, Value>) -> Result<Arc<dyn AnyBody>, Vec<Violation>> {
        let mut spec: K = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { path };
            vec![Violation { field, message: without_value(&error.into_inner().to_string()), hint: None }]
        })?;
        spec.prepare();
        Ok(Arc::new(Body::<K> { spec, status: K::Status::default() }))
    }
    fn of_content(&self, content: &[u8]) -> Option<Content> {
        let (spec, status, refs): (K, K::Status, Vec<ResolvedRef>) = rmp_serde::from_slice(content).ok()?;
        Some((Arc::new(Body::<K> { spec, status }), refs.into()))
    }
    fn validate(&self, body: &dyn AnyBody, name: &Name, world: &dyn World, meta: Option<&Meta>, out: &mut Violations) {
        let spec = &Self::body(body).spec;
        spec.validate(name, out);
        spec.validate_in(world, meta, out);
    }
    fn applied(&self, body: &dyn AnyBody, refs: &[ResolvedRef]) -> EventDraft {
        let applied = Applied::<K> { spec: Self::body(body).spec.clone(), refs: refs.to_vec() };
        EventDraft { event: APPLIED, version: EVENT_VERSION, payload: pack(&applied) }
    }
    fn right(&self, action: &AnyAction) -> ActRight {
        action.downcast_ref::<K::Action>().map_or(ActRight::System, K::right)
    }
    fn decide(
        &self,
        world: &dyn World,
        caller: &Actor,
        now: Timestamp,
        object: &Object,
        action: &AnyAction,
    ) -> Result<(Vec<EventDraft>, Vec<Seq>), Refusal> {
        let action: &K::Action = action.downcast_ref().expect("an action is handed to the twin of its own kind");
        let body = Self::body(&*object.body);
        let deciding = Deciding::<K> { world, caller, now, meta: &object.meta, spec: &body.spec, status: &body.status };
        let events = K::decide(&deciding, action)?.iter().map(draft_of::<K>).collect();
        Ok((events, K::used(&deciding, action)))
    }
    fn fold(
        &self,
        before: Option<&Object>,
        header: &Header,
        payload: &[u8],
        project: Option<crate::object::ProjectName>,
    ) -> Result<Option<Object>, FoldError> {
        let fail = |why: String| FoldError { kind: header.kind, event: header.event.clone(), why };
        let event = header.event.as_str();
        let named = [APPLIED, DELETED].contains(&event) || <K::Event as NamedEvent>::NAMES.contains(&event);
        if !named && !only_anchors(K::KIND, event) {
            return Err(fail("this program knows no such event".to_owned()));
        }
        if let Some(other) = before.filter(|object| object.meta.kind != K::KIND) {
            return Err(fail(format!("the object is a {}", other.meta.kind)));
        }
        let payload = &*upcast::current(header, payload).map_err(|error| fail(error.to_string()))?;
        if only_anchors(K::KIND, event) {
            return Ok(before.cloned());
        }
        let Some((body, refs)) = Self::fold_next(before, header, payload).map_err(fail)? else { return Ok(None) };
        Ok(Some(Object { meta: meta_after(before, header, project), body: Arc::new(body), refs }))
    }
}

fn meta_after(before: Option<&Object>, header: &Header, project: Option<crate::object::ProjectName>) -> Meta {
    let (created_at, created_by) =
        before.map_or_else(|| (header.at, header.actor.clone()), |o| (o.meta.created_at, o.meta.created_by.clone()));
    Meta {
        uid: header.object,
        kind: header.kind,
        name: header.name.clone(),
        project,
        resource_version: header.seq,
        created_at,
        created_by,
        updated_at: header.at,
        updated_by: header.actor.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_value;

    #[test]
    fn a_wrong_type_is_told_without_its_value() {
        for (said, shown) in [
            ("invalid type: integer `4711`, expected a string", "invalid type: integer, expected a string"),
            ("invalid type: string \"a, expected b\", expected a map", "invalid type: string, expected a map"),
            ("invalid type: map, expected a string", "invalid type: map, expected a string"),
            ("unknown field `x`, expected `y`", "unknown field `x`, expected `y`"),
        ] {
            assert_eq!(without_value(said), shown);
        }
    }
}
