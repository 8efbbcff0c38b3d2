//! Commands: apply, delete and act, and the one generic decision that turns a command into events.
mod apply;
mod deciding;
mod delete;
mod readback;
mod redecide;
mod via;

use std::sync::Arc;

use deciding::{Deciding, draft_of, resolve_project, system_authz};
pub use redecide::{Before, Fault, NotAllowed, SYSTEM_PARTS, SystemPart, redecide};
pub use via::allowed_by;

use crate::access::Verb;
use crate::actor::Actor;
use crate::erased::{AnyAction, AnyBody, EventDraft};
use crate::ids::{RequestId, Seq, Uid};
use crate::kinds::Kind;
use crate::name::Name;
use crate::object::{Object, ProjectName};
use crate::record::{Authz, Header, RECORD_VERSION};
use crate::refusal::Refusal;
use crate::resource::ActRight;
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
            reason: place.reason.map(str::to_owned),
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
    /// Why it was done.
    pub reason: Option<&'a str>,
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
