//! Commands: apply, delete and act, and the one generic decision that turns a command into events.
mod anchor;
mod apply;
mod deciding;
mod delete;
mod last_administrator;
mod readback;
mod redecide;
mod via;

use std::sync::Arc;

pub use anchor::anchor;
pub use last_administrator::is_administrator;
pub use redecide::{Before, Fault, NotAllowed, SYSTEM_PARTS, SystemPart, redecide};
pub use via::allowed_by;

use deciding::{Deciding, draft_of, resolve_project, stand_together, standing_in, system_authz};

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
    /// By whose rights it is decided: the identity of the credential, or the service account that it acts as.
    pub caller: &'a Actor,
    /// The identity of the credential, when it acts as `caller` (C7).
    pub impersonator: Option<&'a Actor>,
    /// Moment of the decision, never before the last event.
    pub now: Timestamp,
    /// Randomness for the uid of a new object.
    pub random: u128,
}

impl<'a> Asking<'a> {
    /// One who acts as itself.
    #[must_use]
    pub const fn by(caller: &'a Actor, now: Timestamp, random: u128) -> Self {
        Self { caller, impersonator: None, now, random }
    }

    /// The identity of the credential: the actor of the events.
    #[must_use]
    pub fn actor(&self) -> &'a Actor {
        self.impersonator.unwrap_or(self.caller)
    }

    /// Whom that one stands for, when it is somebody else.
    #[must_use]
    pub fn on_behalf_of(&self) -> Option<&'a Actor> {
        self.impersonator.map(|_| self.caller)
    }

    /// A place that only a look ahead needs: the one after the state, with nothing in it that is stored.
    fn next_place(&self, world: &dyn World) -> Place<'a> {
        Place {
            seq: world.seq().next(),
            id: uuid::Uuid::nil(),
            at: self.now,
            prev: crate::ids::Digest::default(),
            actor: self.actor(),
            on_behalf_of: self.on_behalf_of(),
            request: None,
            reason: None,
        }
    }
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
            on_behalf_of: place.on_behalf_of.cloned(),
            request: place.request.cloned(),
            reason: place.reason.map(str::to_owned),
            audit: None,
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
    /// Whom they stood for.
    pub on_behalf_of: Option<&'a Actor>,
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
    let standing = standing_in(world, asking)?;
    let project = resolve_project(world, asking, command)?;
    let found = world.by_name(command.kind, project.as_ref().map(|p| p.uid), &command.name).cloned();
    let deciding = Deciding { world, asking, command, project, standing: &standing };
    let mut decided = match &command.deed {
        Deed::Apply { body, mode, expected, then } => deciding.apply(found, body, *mode, *expected, then),
        Deed::Delete { expected } => deciding.delete(&deciding.must_exist(found)?, *expected),
        Deed::Act(action) => deciding.act(&*deciding.must_exist(found)?, action),
    }?;
    last_administrator::check(world, asking, &decided.drafts)?;
    stand_together(&mut decided.drafts, &standing);
    Ok(decided)
}

/// Decides the events that are due: expiry. They are the control plane's own.
#[must_use]
pub fn due(world: &dyn World, object: &Object, now: Timestamp) -> Option<Draft> {
    let (at, event) = object.body.due()?;
    (at <= now).then(|| draft_of(object, event, system_authz(world)))
}
