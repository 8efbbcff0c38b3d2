//! T1 to T4 as checks of one step or one state. The judge is the second reading of the rules (`reference.rs`), not the
//! code that decides. What else a step must keep to is in `limits.rs`.
use mcpctl_core::access::decide;
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::McpToken;
use mcpctl_core::record::{AuthzMode, Record};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use crate::asked::{Asked, Question, actors};
use crate::reference::{Line, Reference, Standing, Thing, gives};

/// A step that left events: what the second reading knew before and after, and who took it.
pub(crate) struct Taken<'a> {
    pub(crate) was: &'a Reference,
    pub(crate) is: &'a Reference,
    /// The state that it was decided in.
    pub(crate) state: &'a State,
    /// By whose rights, and who acted as them.
    pub(crate) by: &'a Actor,
    pub(crate) impersonator: Option<&'a Actor>,
    pub(crate) batch: &'a [Record],
    /// The moment of the decision.
    pub(crate) now: u64,
}

/// C7: whether somebody may act as an account that is in force. No token may, whoever owns it.
fn acts_as(who: &Standing<'_>, uid: Uid, account: &Thing) -> bool {
    let (resource, name) = ("serviceaccounts", Some(account.name.as_str()));
    let run = Question::Object { verb: "run", resource, project: None, name, uid: Some(uid) };
    let may = who.may(&Question::Operation("impersonate"), 0) || who.may(&run, 0);
    may && who.me.kind != "mcptoken" && account.kind == "serviceaccount" && !account.spec.disabled
}

/// Somebody, and all whom they may act as, and those in turn: what C7 counts as one.
fn selves(known: &Reference, who: Uid) -> Vec<Standing<'_>> {
    let mut found: Vec<Standing<'_>> = known.standing(who).into_iter().collect();
    let mut next = 0;
    while let Some(one) = found.get(next) {
        let others = known.0.iter().filter(|(uid, account)| acts_as(one, **uid, account)).map(|(uid, _)| *uid);
        let new = others.filter(|uid| found.iter().all(|one| one.who != *uid)).filter_map(|uid| known.standing(uid));
        let new: Vec<Standing<'_>> = new.collect();
        found.extend(new);
        next += 1;
    }
    found
}

impl<'a> Taken<'a> {
    /// T1 and T3. Whose rights are looked at: `subjects`; about what: `all`.
    pub(crate) fn keeps_the_theorems(&self, subjects: &[Actor], all: &[Asked]) -> Result<(), String> {
        self.nobody_was_given_more_than_the_giver_held(subjects, all)?;
        self.each_event_was_allowed()
    }

    pub(crate) fn is_of_the_control_plane(&self) -> bool {
        self.by.kind == ActorKind::System
    }

    /// What somebody had been given, and what they were given by this step.
    pub(crate) fn lines(&self, who: Uid) -> (Vec<Line<'a>>, Vec<Line<'a>>) {
        let of = |known: &'a Reference| known.standing(who).map(|standing| standing.lines).unwrap_or_default();
        let (had, mut new) = (of(self.was), of(self.is));
        new.retain(|line| !had.contains(line));
        (had, new)
    }

    /// Who took the step, and all whom they may act as.
    pub(crate) fn giver(&self) -> Vec<Standing<'a>> {
        selves(self.was, self.by.uid)
    }

    /// Whether the giver had the operation that lets one give what one does not hold.
    pub(crate) fn might_bind(&self) -> bool {
        self.was.standing(self.by.uid).is_some_and(|giver| giver.may(&Question::Operation("bind"), self.now))
    }

    /// T1, and C1 to C4 by their effect: whatever somebody was given, the giver held.
    fn nobody_was_given_more_than_the_giver_held(&self, subjects: &[Actor], all: &[Asked]) -> Result<(), String> {
        if self.is_of_the_control_plane() || self.might_bind() {
            return Ok(());
        }
        let giver = self.giver();
        for subject in subjects {
            let (had, new) = self.lines(subject.uid);
            for ask in all.iter().map(Asked::ask).filter(|_| !new.is_empty()) {
                let asked = Question::of(&ask);
                let gained = gives(&new, &asked) && !gives(&had, &asked);
                if gained && !giver.iter().any(|one| one.may(&asked, self.now)) {
                    return Err(format!("T1: {subject} was given {ask} by {}, who did not hold it", self.by));
                }
            }
        }
        Ok(())
    }

    /// T3 by the second reading: whoever caused an event might do that, in the state before it.
    fn each_event_was_allowed(&self) -> Result<(), String> {
        if self.is_of_the_control_plane() {
            return Ok(());
        }
        self.standing_in()?;
        for Record { header, .. } in self.batch {
            let wrong = |what: String| format!("T3: {} {}.{}: {what}", header.seq, header.kind, header.event);
            let (actor, stood_for) = (self.impersonator.unwrap_or(self.by), self.impersonator.map(|_| self.by));
            if (&header.actor, header.on_behalf_of.as_ref(), header.authz.at) != (actor, stood_for, self.state.seq()) {
                return Err(wrong("it says another actor or state".to_owned()));
            }
            let there = self.state.by_uid(header.object);
            let verb = match (header.authz.mode, header.event.as_str()) {
                (AuthzMode::System, _) => continue,
                // Whoever holds a token may end it with it, and everybody sets their own password.
                (AuthzMode::Own, "revoked" | "password-set") if header.object == self.by.uid => continue,
                (_, "applied" | "minted") if there.is_none() => "create",
                (_, "applied" | "revoked" | "password-set") => "edit",
                (_, "deleted") => "delete",
                (mode, event) => return Err(wrong(format!("nobody does {event} by {mode:?}"))),
            };
            let (resource, project) = (header.kind.names().plural, header.project);
            let (name, uid) = (Some(header.name.as_str()), there.map(|object| object.meta.uid));
            let asked = Question::Object { verb, resource, project, name, uid };
            if !self.was.standing(self.by.uid).is_some_and(|by| by.may(&asked, self.now)) {
                return Err(wrong(format!("{} might not {verb}", self.by)));
            }
        }
        Ok(())
    }

    /// C7: whoever acted as somebody else might.
    fn standing_in(&self) -> Result<(), String> {
        let Some(who) = self.impersonator else { return Ok(()) };
        let might = |account: &std::sync::Arc<Thing>| {
            self.was.standing(who.uid).is_some_and(|who| acts_as(&who, self.by.uid, account))
        };
        if self.was.0.get(&self.by.uid).is_some_and(might) {
            return Ok(());
        }
        Err(format!("T3: {who} acted as {} and might not", self.by))
    }
}

/// T2 and T4: what is decided is what the second reading says, and no token has what its owner has not. Looks at one pair
/// of subject and question in `stride`; answers how many.
pub(crate) fn every_answer_agrees(
    state: &State,
    known: &Reference,
    all: &[Asked],
    now: Timestamp,
    from: usize,
    stride: usize,
) -> Result<u64, String> {
    let (actors, mut compared) = (actors(state), 0);
    let owners: Vec<Option<Actor>> = actors.iter().map(|actor| owner(state, actor.uid)).collect();
    let standings: Vec<Option<Standing<'_>>> = actors.iter().map(|actor| known.standing(actor.uid)).collect();
    for pair in (from % stride..actors.len() * all.len()).step_by(stride) {
        let (who, ask) = (pair % actors.len(), all[pair / actors.len()].ask());
        let (actor, asked) = (&actors[who], Question::of(&ask));
        let verdict = decide(state, actor, &ask, now);
        if verdict.allowed != standings[who].as_ref().is_some_and(|known| known.may(&asked, now.as_millis())) {
            return Err(format!("T4: {actor} {ask}: decided {verdict:?}, and the reference says the opposite"));
        }
        if let Some(owner) = owners[who].as_ref().filter(|_| verdict.allowed)
            && !decide(state, owner, &ask, now).allowed
        {
            return Err(format!("T2: {actor} may {ask}, and its owner {owner} may not"));
        }
        compared += 1;
    }
    Ok(compared)
}

fn owner(state: &State, token: Uid) -> Option<Actor> {
    state.by_uid(token)?.of::<McpToken>()?.1.owner.clone()
}
