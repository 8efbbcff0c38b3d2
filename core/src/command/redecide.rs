//! Deciding again what was decided: the events of one command, in the state before them (theorem T3).
//!
//! The command is read back from its events and given to the very function that decides commands; the same events must
//! come out, by the same way, and the grants that the events name must be enough for it. A record that was put into the
//! log with a good chain and without the right is found here.
use super::anchor::is_anchor;
use super::readback::candidates;
use super::via::check_via;
use super::{Asking, Command, Decided, decide, due};
use crate::access::questions::actor_of;
use crate::actor::{Actor, ActorKind};
use crate::erased::{APPLIED, FoldError};
use crate::ids::{Seq, Uid};
use crate::kinds::{Kind, SERVER_FAILED, SERVER_RECOVERED};
use crate::record::{AuthzMode, Record};
use crate::refusal::Refusal;
use crate::world::World;

/// What a part of the control plane does in its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemPart {
    /// Makes the first objects, before anybody else has acted.
    Bootstrap,
    /// Records that the time of something is over.
    Expiry,
    /// Opens and closes logins after it checked who somebody is.
    Login,
    /// Notices which definitions of tools servers show.
    Tools,
    /// Signs people in at the identity provider: makes users, brings memberships by claim level, opens logins.
    SignIn,
    /// Records that servers fail and answer again.
    Health,
    /// Says where the audit log stands.
    Evidence,
    /// Whatever it likes: for tests and benchmarks.
    Anything,
}

/// The parts of the control plane that act in their own name. Whoever writes another name there is found.
pub const SYSTEM_PARTS: &[(&str, SystemPart)] = &[
    ("bootstrap", SystemPart::Bootstrap),
    ("evidence", SystemPart::Evidence),
    ("expiry", SystemPart::Expiry),
    ("health", SystemPart::Health),
    ("login", SystemPart::Login),
    ("oidc", SystemPart::SignIn),
    ("tools", SystemPart::Tools),
];

/// What is known beside the state.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// Parts that may act in the control plane's own name.
    pub parts: &'a [(&'a str, SystemPart)],
    /// Whether anybody but the bootstrap has acted by then.
    pub begun: bool,
}

/// Why events were not allowed in the state before them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// It says that it was decided in a state that is not the one before it.
    #[error("it was decided in the state of seq {found}, and the state before it is that of {expected}")]
    Elsewhere {
        /// The state before it.
        expected: Seq,
        /// The state that it names.
        found: Seq,
    },
    /// Events that were decided together differ in who asked or when.
    #[error("it was decided together with seq {with}, by another actor, for another request or at another moment")]
    Mixed {
        /// The first of them.
        with: Seq,
    },
    /// The actor could not act.
    #[error("{actor} {why}")]
    Actor {
        /// Who is said to have acted.
        actor: String,
        /// Why that can't be.
        why: String,
    },
    /// The command is refused in the state before it.
    #[error("it is refused: {0}")]
    Refused(Refusal),
    /// No command leaves these events.
    #[error("no command leaves it: {0}")]
    Unexplained(String),
    /// The command leaves other events.
    #[error("the command leaves another {0}")]
    Differs(&'static str),
    /// The grants that it names were not in force, or are not enough.
    #[error("{0}")]
    Via(String),
    /// Its payload can't be read.
    #[error("{0}")]
    Unreadable(String),
}

impl From<FoldError> for NotAllowed {
    fn from(error: FoldError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Events that were not allowed: which one, and why.
pub type Fault = (Seq, NotAllowed);

/// Decides again the events of one command (those that name the same state), in the state before the first of them.
///
/// # Errors
/// Names the first event that was not allowed.
pub fn redecide(world: &dyn World, records: &[Record], before: Before<'_>) -> Result<(), Fault> {
    let Some(first) = records.first() else { return Ok(()) };
    let at = |record: &Record| record.header.seq;
    for record in records {
        let (found, expected) = (record.header.authz.at, world.seq());
        if found != expected {
            return Err((at(record), NotAllowed::Elsewhere { expected, found }));
        }
        if !together(first, record) {
            return Err((at(record), NotAllowed::Mixed { with: at(first) }));
        }
    }
    let header = &first.header;
    for actor in [Some(&header.actor), header.on_behalf_of.as_ref()].into_iter().flatten() {
        acts(world, actor).map_err(|why| (at(first), NotAllowed::Actor { actor: actor.to_string(), why }))?;
    }
    if header.actor.kind == ActorKind::System {
        of_system(world, records, before)?;
    }
    if header.actor.kind == ActorKind::Local {
        of_local(records)?;
    }
    any_of(world, records)
}

/// Whether somebody at the machine does no more than make an administrator.
fn of_local(records: &[Record]) -> Result<(), Fault> {
    let Some(other) = records.iter().find(|record| !matches!(record.header.kind, Kind::User | Kind::Rbac)) else {
        return Ok(());
    };
    let (actor, why) = (other.header.actor.to_string(), "does no more than make an administrator".to_owned());
    Err((other.header.seq, NotAllowed::Actor { actor, why }))
}

fn together(first: &Record, other: &Record) -> bool {
    let (a, b) = (&first.header, &other.header);
    a.actor == b.actor
        && a.on_behalf_of == b.on_behalf_of
        && a.request == b.request
        && a.reason == b.reason
        && a.at == b.at
}

/// Whether somebody is there, under that name, and may act at all.
fn acts(world: &dyn World, actor: &Actor) -> Result<(), String> {
    if actor.kind.is_unbound() {
        return Ok(());
    }
    let object = world.by_uid(actor.uid).ok_or("does not exist")?;
    if actor_of(object).as_ref() != Some(actor) {
        return Err(format!("is {} by that uid", object.title()));
    }
    if object.body.enabled() { Ok(()) } else { Err("is disabled".to_owned()) }
}

/// Whether a part of the control plane does this in its own name.
fn of_system(world: &dyn World, records: &[Record], before: Before<'_>) -> Result<(), Fault> {
    let first = &records[0].header;
    let part = before.parts.iter().find(|(name, _)| *name == first.actor.name).map(|(_, part)| *part);
    let refuse = |why: &str| {
        let (actor, why) = (first.actor.to_string(), why.to_owned());
        Err((first.seq, NotAllowed::Actor { actor, why }))
    };
    match part {
        None => refuse("is no part of the control plane"),
        Some(SystemPart::Anything) => Ok(()),
        Some(SystemPart::Bootstrap) if before.begun => refuse("acts at the first start only"),
        Some(SystemPart::Bootstrap) => Ok(()),
        Some(SystemPart::Login) => {
            let other = records.iter().find(|record| !record.header.event.starts_with("login-"));
            if other.is_some() { refuse("does no more than open and close logins") } else { Ok(()) }
        }
        Some(SystemPart::Tools) => {
            let notices = |record: &Record| {
                record.header.kind == Kind::Server && matches!(&*record.header.event, "tool.seen" | "tool.drifted")
            };
            if records.iter().all(notices) { Ok(()) } else { refuse("does no more than notice tools of servers") }
        }
        Some(SystemPart::Health) => {
            let of_health = |record: &Record| {
                let header = &record.header;
                header.kind == Kind::Server && matches!(&*header.event, SERVER_FAILED | SERVER_RECOVERED)
            };
            if records.iter().all(of_health) { Ok(()) } else { refuse("does no more than tell how servers are") }
        }
        Some(SystemPart::Evidence) => {
            if is_anchor(records) {
                Ok(())
            } else {
                refuse("does no more than say where the audit log stands")
            }
        }
        Some(SystemPart::SignIn) => {
            let newcomer = |record: &Record| {
                let header = &record.header;
                header.event == APPLIED && world.by_uid(header.object).is_none()
            };
            let usual = |record: &Record| {
                let header = &record.header;
                match header.kind {
                    Kind::User => header.event.starts_with("login-") || newcomer(record),
                    Kind::Group => header.event.starts_with("member-"),
                    _ => false,
                }
            };
            if records.iter().all(usual) { Ok(()) } else { refuse("does no more than sign people in") }
        }
        Some(SystemPart::Expiry) => {
            let is_due = |record: &Record| {
                let object = world.by_uid(record.header.object);
                object.and_then(|object| due(world, object, record.header.at)).is_some()
            };
            if records.iter().all(is_due) { Ok(()) } else { refuse("ends what is not due") }
        }
    }
}

/// Whether one of the commands that may have left these events does so.
fn any_of(world: &dyn World, records: &[Record]) -> Result<(), Fault> {
    let first = &records[0].header;
    // It changes nothing, and no command leaves it: that the control plane itself wrote it is all there is to know.
    if first.actor.kind == ActorKind::System && is_anchor(records) {
        return Ok(());
    }
    if let [only] = records
        && let Some(draft) =
            world.by_uid(only.header.object).and_then(|object| due(world, object, first.at)).filter(|_| of_nobody(only))
    {
        let decided = Decided { drafts: vec![draft], outcome: super::Outcome::Changed, object: first.object };
        return same(&decided, records);
    }
    let mut fault = None;
    for command in candidates(world, records).map_err(|why| (first.seq, why))? {
        match as_decided(world, records, &command) {
            Ok(()) => return Ok(()),
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    Err(fault.unwrap_or_else(|| {
        let header = &records[0].header;
        (header.seq, NotAllowed::Unexplained(format!("{}.{}", header.kind, header.event)))
    }))
}

fn of_nobody(record: &Record) -> bool {
    record.header.actor.kind == ActorKind::System && record.header.authz.mode == AuthzMode::System
}

fn as_decided(world: &dyn World, records: &[Record], command: &Command) -> Result<(), Fault> {
    let header = &records[0].header;
    let asking = Asking {
        caller: header.by_rights_of(),
        impersonator: header.on_behalf_of.as_ref().map(|_| &header.actor),
        now: header.at,
        random: made(world, records).map_or(0, Uid::random),
    };
    let decided = decide(world, &asking, command).map_err(|refusal| (header.seq, NotAllowed::Refused(refusal)))?;
    same(&decided, records)?;
    check_via(world, &asking, command, &decided, records)
}

/// The object that is new, if one is.
fn made(world: &dyn World, records: &[Record]) -> Option<Uid> {
    records.iter().map(|record| record.header.object).find(|uid| world.by_uid(*uid).is_none())
}

/// Whether a decision leaves these events, but for the grants that it names.
fn same(decided: &Decided, records: &[Record]) -> Result<(), Fault> {
    for (record, draft) in records.iter().zip(&decided.drafts) {
        let header = &record.header;
        let differs = |what| Err((header.seq, NotAllowed::Differs(what)));
        if (header.kind, &header.name, header.project)
            != (draft.kind, &draft.name, draft.project.as_ref().map(|project| project.uid))
        {
            return differs("object");
        }
        if header.object != draft.object {
            return differs("uid");
        }
        if header.event != draft.event.event {
            return differs("event");
        }
        if header.authz.mode != draft.authz.mode {
            return differs("way of being allowed");
        }
        let payload = header.kind.untyped().normal(header, &record.payload);
        if payload.map_err(|error| (header.seq, error.into()))? != draft.event.payload {
            return differs("payload");
        }
    }
    match (records.get(decided.drafts.len()), records.last()) {
        (Some(more), _) => {
            Err((more.header.seq, NotAllowed::Unexplained("the command leaves no such event".to_owned())))
        }
        (None, Some(last)) if records.len() < decided.drafts.len() => {
            Err((last.header.seq, NotAllowed::Differs("number of events")))
        }
        _ => Ok(()),
    }
}
