//! The trait that a kind implements: one file says everything there is to say about it.
use std::fmt::Debug;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::access::Permission;
use crate::actor::Actor;
use crate::ids::{Digest, Seq, Uid};
use crate::kinds::{Kind, SubjectRef};
use crate::name::{Name, NameRule};
use crate::object::Meta;
use crate::refusal::{Refusal, Violations};
use crate::time::Timestamp;
use crate::world::World;

/// The words for a kind.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// `kind:` in YAML, and the noun for one.
    pub singular: &'static str,
    /// The noun for many, the path segment of REST, and the resource of RBAC.
    pub plural: &'static str,
    /// Other nouns that the CLI takes.
    pub short: &'static [&'static str],
}

/// Where names of a kind are unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the whole control plane.
    Global,
    /// In one project.
    Project,
}

/// A right that an action needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActRight {
    /// This verb on the object.
    Verb(crate::access::Verb),
    /// This verb on the object, or being its owner (the user itself, the owner of a token).
    OwnOr(crate::access::Verb),
    /// Only the control plane itself does this.
    System,
}

/// All that a typed decision may look at.
pub struct Deciding<'a, K: Resource> {
    /// The state at n-1.
    pub world: &'a dyn World,
    /// Who asks.
    pub caller: &'a Actor,
    /// Moment of the decision, never before the last event.
    pub now: Timestamp,
    /// Identity and versions of the object.
    pub meta: &'a Meta,
    /// What is asked of it.
    pub spec: &'a K,
    /// What events made of it.
    pub status: &'a K::Status,
}

/// One object, typed, for columns and views.
pub struct Row<'a, K: Resource> {
    /// Identity and versions.
    pub meta: &'a Meta,
    /// What is asked.
    pub spec: &'a K,
    /// What events made of it.
    pub status: &'a K::Status,
    /// The moment of looking, for ages and expiry.
    pub now: Timestamp,
}

/// A column of `get`.
pub struct Column<K: Resource> {
    /// Its title, upper case.
    pub title: &'static str,
    /// Its cell for one object.
    pub cell: fn(&Row<'_, K>) -> String,
}

/// A credential by which somebody can come in as this object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// SHA-256 of what is presented.
    pub digest: Digest,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// Why it does not open anything any more, if it does not.
    pub ended: Option<&'static str>,
}

/// A named event of a kind.
pub trait NamedEvent: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static {
    /// Past-tense name, unique within the kind; also the tag of its encoding.
    fn name(&self) -> &'static str;
    /// Every name there is, for the reader's exhaustive test.
    const NAMES: &'static [&'static str];
}

/// For kinds whose every fact can be said in YAML.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum NoEvent {}
impl NamedEvent for NoEvent {
    fn name(&self) -> &'static str {
        match *self {}
    }
    const NAMES: &'static [&'static str] = &[];
}

/// For kinds without verbs beyond apply and delete.
#[derive(Clone, Debug)]
pub enum NoAction {}

/// For kinds of which events leave nothing but the spec.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NoStatus {}

/// A kind. The implementing struct is its spec: serde gives its YAML, its doc comments are help and reference.
pub trait Resource:
    Serialize + DeserializeOwned + JsonSchema + Clone + PartialEq + Debug + Send + Sync + 'static
{
    /// Which kind it is.
    const KIND: Kind;
    /// The words for it.
    const NAMES: Names;
    /// Where its names are unique.
    const SCOPE: Scope = Scope::Global;
    /// What its names look like.
    const NAME_RULE: NameRule = NameRule::Label;
    /// Whether `apply` to an existing object is refused to change it (a token is made once).
    const IMMUTABLE: bool = false;
    /// One sentence for help and reference.
    const SUMMARY: &'static str;
    /// A manifest that applies to an empty control plane after `fixtures/kinds/_base.yaml`.
    const EXAMPLE: &'static str;

    /// What events leave beside the spec.
    type Status: Serialize + DeserializeOwned + Clone + PartialEq + Default + Debug + Send + Sync;
    /// Facts that can't be said in YAML.
    type Event: NamedEvent;
    /// Verbs beyond apply and delete.
    type Action: Send + Sync + 'static;

    /// Columns of `get`, after NAME (and PROJECT) and before AGE.
    fn columns() -> &'static [Column<Self>];

    /// Brings a spec into its normal form: sorts sets, drops repeats, fills defaults that can be computed.
    fn prepare(&mut self) {}

    /// Adds what is wrong. Never changes anything.
    fn validate(&self, _name: &Name, _violations: &mut Violations) {}

    /// Adds what is wrong with it next to what exists.
    fn validate_in(&self, _world: &dyn World, _meta: Option<&Meta>, _violations: &mut Violations) {}

    /// The right that an action needs.
    fn right(_action: &Self::Action) -> ActRight {
        ActRight::System
    }

    /// Decides an action. Pure.
    ///
    /// # Errors
    /// When the state of the object or the caller's rights don't allow it.
    fn decide(_deciding: &Deciding<'_, Self>, _action: &Self::Action) -> Result<Vec<Self::Event>, Refusal> {
        Ok(Vec::new())
    }

    /// The action that left these events, in their order: what a replay decides again. `None` for what no action leaves.
    fn action_of(_events: &[Self::Event]) -> Option<Self::Action> {
        None
    }

    /// The grants that an allowed action stands on, beyond the right that it needs: what a token is given, what the one holds
    /// whose password is set.
    fn used(_deciding: &Deciding<'_, Self>, _action: &Self::Action) -> Vec<Seq> {
        Vec::new()
    }

    /// Folds an event into the status. Pure, and total: an event is a fact.
    fn evolve(_status: &mut Self::Status, _event: &Self::Event, _at: Timestamp) {}

    /// What an apply makes of the status: what stood on a part of the spec that is gone goes with it. Pure, and total.
    fn settle(&self, _before: &Self, _status: &mut Self::Status) {}

    /// Whether the other spec lets somebody come in as this object, or belong to it, who could not before: an identity of a
    /// person, a claim of a group. It gives them all that the object has (C2, C7).
    fn opens_to_more(&self, _other: &Self) -> bool {
        false
    }

    /// Rights that this object gives to subjects by being there.
    fn grants(&self, _name: &Name) -> Vec<(SubjectRef, Permission)> {
        Vec::new()
    }

    /// Rights that events gave to this object itself (a token).
    fn own_grants(_meta: &Meta, _status: &Self::Status) -> Vec<Permission> {
        Vec::new()
    }

    /// Who belongs to it and so has its rights (a group).
    fn members(&self) -> Vec<SubjectRef> {
        Vec::new()
    }

    /// Who belongs to it by what events say of them (a group's members by claim).
    fn claimed(_status: &Self::Status) -> Vec<Uid> {
        Vec::new()
    }

    /// The event with which a person who goes away stops belonging to it.
    fn unclaim(_status: &Self::Status, _person: Uid) -> Option<Self::Event> {
        None
    }

    /// Whom it ends with (a token's owner).
    fn owner(_status: &Self::Status) -> Option<Uid> {
        None
    }

    /// The actions that end it for good when its owner is deleted or disabled.
    fn end_with_owner(_status: &Self::Status) -> Option<Self::Event> {
        None
    }

    /// The events that end what must not come back when a disabled subject is enabled again (its logins).
    fn end_when_disabled(_status: &Self::Status) -> Vec<Self::Event> {
        Vec::new()
    }

    /// Credentials by which somebody comes in as this object.
    fn credentials(&self, _status: &Self::Status) -> Vec<Credential> {
        Vec::new()
    }

    /// The next moment at which an event is due (expiry), and that event.
    fn due(_status: &Self::Status) -> Option<(Timestamp, Self::Event)> {
        None
    }

    /// Whether the other spec would start or reach something else, so that secrets in use would be handed to that (C6).
    fn launch_differs(&self, _other: &Self) -> bool {
        false
    }

    /// Whether as a subject it may act at all.
    fn enabled(&self) -> bool {
        true
    }

    /// Whether somebody can come in as this object by themselves, with a password or an identity from elsewhere: what the
    /// guard of the last administrator counts (C9).
    fn can_sign_in(&self, _status: &Self::Status) -> bool {
        false
    }

    /// Takes a subject out of the spec, when that subject is deleted. Says whether anything changed.
    fn drop_subject(&mut self, _subject: &SubjectRef) -> bool {
        false
    }

    /// The status as the API shows it.
    fn status_view(row: &Row<'_, Self>) -> serde_json::Value {
        serde_json::to_value(row.status).unwrap_or(serde_json::Value::Null)
    }
}
