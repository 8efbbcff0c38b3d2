//! Why somebody may do something: the chain of grants, which anybody can check again.
use std::sync::Arc;

use super::subject::{actor_of, kind_of};
use super::why_not::{WhyNot, why_not};
use crate::access::Wanted;
use crate::access::decision::{answers, delegable, inside, is_self, owned};
use crate::access::{Ask, Grant, Membership};
use crate::actor::{Actor, ActorKind};
use crate::ids::{Seq, Uid};
use crate::kinds::McpToken;
use crate::object::Object;
use crate::time::Timestamp;
use crate::world::World;

/// That a subject may do what was asked, and by what.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof<'w> {
    /// Who may.
    pub subject: Actor,
    /// By what.
    pub reason: Reason<'w>,
}

/// By what a subject may.
#[derive(Clone, Debug)]
pub enum Reason<'w> {
    /// It is the control plane itself.
    System,
    /// It is asked about itself, or about what it owns.
    Own {
        /// Version of the object that is its own.
        seq: Seq,
    },
    /// A grant to the subject, or to a group that it belongs to.
    Granted {
        /// The grant.
        grant: &'w Grant,
        /// The membership by which the subject has it; `None` when it was made to the subject itself.
        through: Option<&'w Membership>,
    },
    /// A grant to the token, which its owner's rights and its project agree with (C5).
    Token {
        /// The grant to the token.
        grant: &'w Grant,
        /// The project that it is confined to.
        project: &'w Arc<Object>,
        /// Why the owner may.
        owner: Box<Proof<'w>>,
    },
}

impl PartialEq for Reason<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::System, Self::System) => true,
            (Self::Own { seq }, Self::Own { seq: other }) => seq == other,
            (Self::Granted { grant, through }, Self::Granted { grant: g, through: t }) => grant == g && through == t,
            (Self::Token { grant, project, owner }, Self::Token { grant: g, project: p, owner: o }) => {
                grant == g && project.meta.uid == p.meta.uid && owner == o
            }
            _ => false,
        }
    }
}

/// Proves that a subject may, or says why not.
///
/// # Errors
/// When it may not: what stands in the way.
pub fn explain<'w>(world: &'w dyn World, subject: &Actor, ask: &Ask<'_>, now: Timestamp) -> Result<Proof<'w>, WhyNot> {
    let asked = Asked { world, ask, now, held: &|holder| held(world, holder, ask) };
    asked.prove(subject.clone()).ok_or_else(|| why_not(world, subject, ask, now))
}

/// A question, and the first grant to each holder itself that answers it.
pub(super) struct Asked<'a, 'w> {
    pub(super) world: &'w dyn World,
    pub(super) ask: &'a Ask<'a>,
    pub(super) now: Timestamp,
    pub(super) held: &'a dyn Fn(Uid) -> Option<&'w Grant>,
}

impl<'w> Asked<'_, 'w> {
    /// That a subject may, if it may.
    pub(super) fn prove(&self, subject: Actor) -> Option<Proof<'w>> {
        let reason = match subject.kind {
            ActorKind::System | ActorKind::Local => Some(Reason::System),
            ActorKind::User | ActorKind::ServiceAccount => self.of_subject(subject.uid),
            ActorKind::McpToken => self.of_token(subject.uid),
        };
        reason.map(|reason| Proof { subject, reason })
    }

    /// The same for a subject by its object: its name is copied only when it may.
    pub(super) fn prove_object(&self, object: &'w Arc<Object>) -> Option<Proof<'w>> {
        let kind = kind_of(object)?;
        let reason = match kind {
            ActorKind::McpToken => self.of_token(object.meta.uid),
            _ => self.of_enabled(object),
        }?;
        let subject = Actor { kind, uid: object.meta.uid, name: object.meta.name.to_string() };
        Some(Proof { subject, reason })
    }

    fn of_subject(&self, subject: Uid) -> Option<Reason<'w>> {
        self.of_enabled(self.world.by_uid(subject)?)
    }

    fn of_enabled(&self, object: &Object) -> Option<Reason<'w>> {
        if !object.body.enabled() {
            return None;
        }
        let subject = object.meta.uid;
        if let Some(grant) = (self.held)(subject) {
            return Some(Reason::Granted { grant, through: None });
        }
        let of_groups = self.world.memberships(subject).iter();
        let found = of_groups.filter_map(|member| Some((member, (self.held)(member.group)?))).next();
        if let Some((member, grant)) = found {
            return Some(Reason::Granted { grant, through: Some(member) });
        }
        owned(self.world, subject, self.ask).map(|seq| Reason::Own { seq })
    }

    fn of_token(&self, token: Uid) -> Option<Reason<'w>> {
        let (world, ask) = (self.world, self.ask);
        let (owner, project) =
            live(world, token, self.now).filter(|(_, project)| inside(project, ask) && delegable(ask))?;
        let Some(grant) = (self.held)(token) else {
            return is_self(token, ask).then_some(Reason::Own { seq: world.by_uid(token)?.meta.resource_version });
        };
        let reason = self.of_subject(owner.uid)?;
        Some(Reason::Token { grant, project, owner: Box::new(Proof { subject: owner.clone(), reason }) })
    }
}

/// The first grant to a holder itself that answers.
pub(super) fn held<'w>(world: &'w dyn World, holder: Uid, ask: &Ask<'_>) -> Option<&'w Grant> {
    world.answering(holder, &Wanted::of(ask))
}

/// The owner and the project of a token that is alive.
pub(super) fn live(world: &dyn World, token: Uid, now: Timestamp) -> Option<(&Actor, &Arc<Object>)> {
    let object = world.by_uid(token)?;
    let (_, status) = object.of::<McpToken>()?;
    let project = world.by_uid(object.meta.project.as_ref()?.uid)?;
    status.owner.as_ref().filter(|_| status.ended(now).is_none()).map(|owner| (owner, project))
}

impl Proof<'_> {
    /// Seqs of the grants used and of the memberships by which they are held, ascending: what the verdict says as `via`.
    #[must_use]
    pub fn via(&self) -> Vec<Seq> {
        let mut via = match &self.reason {
            Reason::System => Vec::new(),
            // A token that looks at itself uses no grant.
            Reason::Own { .. } if self.subject.kind == ActorKind::McpToken => Vec::new(),
            Reason::Own { seq } => vec![*seq],
            Reason::Granted { grant, through } => {
                through.map(|member| member.seq).into_iter().chain([grant.seq]).collect()
            }
            Reason::Token { grant, owner, .. } => [owner.via(), vec![grant.seq]].concat(),
        };
        via.sort_unstable();
        via.dedup();
        via
    }

    /// Checks each link anew: that the grant is in force and answers, that the membership is, that nobody ended.
    #[must_use]
    pub fn holds(&self, world: &dyn World, ask: &Ask<'_>, now: Timestamp) -> bool {
        let uid = self.subject.uid;
        let in_force = |holder: Uid, grant: &Grant| {
            answers(&grant.permission, ask) && world.grants(holder).iter().any(|other| other == grant)
        };
        // What is enough for a person is not for a token, whatever the proof calls it.
        let is_person = |object: &Object| {
            actor_of(object).is_some_and(|actor| actor.kind == self.subject.kind && actor.kind != ActorKind::McpToken)
        };
        let enabled = || world.by_uid(uid).is_some_and(|object| is_person(object) && object.body.enabled());
        match &self.reason {
            Reason::System => self.subject.kind.is_unbound(),
            Reason::Own { .. } if self.subject.kind == ActorKind::McpToken => {
                live(world, uid, now).is_some_and(|(_, project)| inside(project, ask)) && is_self(uid, ask)
            }
            Reason::Own { seq } => enabled() && owned(world, uid, ask) == Some(*seq),
            Reason::Granted { grant, through: None } => enabled() && in_force(uid, grant),
            Reason::Granted { grant, through: Some(member) } => {
                enabled() && world.memberships(uid).contains(member) && in_force(member.group, grant)
            }
            Reason::Token { grant, project, owner } => {
                let confined = |(by, inner): (&Actor, &Arc<Object>)| {
                    by.uid == owner.subject.uid && inner.meta.uid == project.meta.uid && inside(inner, ask)
                };
                live(world, uid, now).is_some_and(confined)
                    && delegable(ask)
                    && in_force(uid, grant)
                    && owner.holds(world, ask, now)
            }
        }
    }
}
