//! What else each step keeps to, by the second reading: nobody comes in as somebody who holds more (C7), what is applied
//! as it is changes nothing (C8), somebody can administer afterwards (C9), and the organisation's policy.
use std::collections::BTreeMap;

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::record::{AuthzMode, Record};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use crate::asked::{Asked, Question};
use crate::deeds::Took;
use crate::reference::{Reference, Thing, gives};
use crate::theorems::Taken;

/// How many grants lead to what an event gave: none to what the control plane gave.
#[derive(Clone, Default)]
pub(crate) struct Depths(BTreeMap<Seq, u32>);

impl Depths {
    pub(crate) fn read(&mut self, Record { header, .. }: &Record) {
        let deepest = header.authz.via.iter().filter_map(|seq| self.0.get(seq)).max().copied();
        let passed_on = header.actor.kind != ActorKind::System;
        self.0.insert(header.seq, if passed_on { deepest.unwrap_or(0) + 1 } else { 0 });
    }

    /// Whether the state counts the same of everything that is held.
    pub(crate) fn are_those_of(&self, state: &State) -> Result<(), String> {
        for holder in state.objects().map(|object| object.meta.uid) {
            let grants = state.grants(holder).iter().map(|grant| grant.seq);
            for seq in grants.chain(state.memberships(holder).iter().map(|member| member.seq)) {
                if state.depth(seq) != self.0[&seq] {
                    return Err(format!("the grant of seq {seq} lies {} deep, not {}", self.0[&seq], state.depth(seq)));
                }
            }
        }
        Ok(())
    }
}

/// C9: whether a person who can sign in may edit every binding and bind what they do not hold.
fn somebody_administers(known: &Reference) -> bool {
    let comes_in = |thing: &Thing| thing.kind == "user" && (thing.password || thing.spec.identity.is_some());
    let edit = Question::Object { verb: "edit", resource: "rbac", project: None, name: None, uid: None };
    let mut people = known.0.iter().filter(|(_, thing)| comes_in(thing)).filter_map(|(who, _)| known.standing(*who));
    people.any(|person| person.may(&edit, 0) && person.may(&Question::Operation("bind"), 0))
}

/// C9, whoever did it, the control plane too.
pub(crate) fn somebody_still_administers(was: &Reference, is: &Reference) -> Result<(), String> {
    if somebody_administers(was) && !somebody_administers(is) {
        return Err("C9: nobody can administer any more".to_owned());
    }
    Ok(())
}

/// C8: what is applied as it is told leaves no event, and takes no more than the right to apply it: tokens may be seen.
pub(crate) fn what_is_there_applies(was: &Reference, state: &State, took: &Took, now: u64) -> Result<(), String> {
    let Some(object) = took.again.and_then(|uid| state.by_uid(uid)) else { return Ok(()) };
    let (meta, title) = (&object.meta, object.title());
    let (resource, verb) = (meta.kind.names().plural, if object.body.owner().is_some() { "view" } else { "edit" });
    let (project, name) = (meta.project.as_ref().map(|project| project.uid), Some(meta.name.as_str()));
    let asked = Question::Object { verb, resource, project, name, uid: Some(meta.uid) };
    let may = |who: Uid| was.standing(who).is_some_and(|who| who.may(&asked, now));
    match &took.became {
        Ok(decided) if decided.drafts.is_empty() => Ok(()),
        Ok(_) => Err(format!("C8: {title} applied as it is told changed something")),
        Err(Refusal::Forbidden { .. }) if took.impersonator.is_some() || !may(took.caller.uid) => Ok(()),
        Err(refusal) => Err(format!("C8: {} could not apply {title} as it is told: {refusal}", took.caller)),
    }
}

impl Taken<'_> {
    /// C7, C9 and the policy.
    pub(crate) fn keeps_the_limits(&self, depths: &Depths, subjects: &[Actor], all: &[Asked]) -> Result<(), String> {
        self.nobody_comes_in_as_somebody_who_holds_more(all)?;
        somebody_still_administers(self.was, self.is)?;
        self.no_token_lives_too_long()?;
        self.nothing_is_passed_on_too_far(depths, subjects)
    }

    /// C7: to set a person's password takes holding what they hold; so does another identity, or the operation `bind`.
    fn nobody_comes_in_as_somebody_who_holds_more(&self, all: &[Asked]) -> Result<(), String> {
        for Record { header, .. } in self.batch.iter().filter(|_| !self.is_of_the_control_plane()) {
            let (Some(was), Some(is)) = (self.was.0.get(&header.object), self.is.0.get(&header.object)) else {
                continue;
            };
            let password = header.event == "password-set" && header.object != self.by.uid;
            let identity = is.spec.identity.is_some() && is.spec.identity != was.spec.identity;
            if !password && (!identity || self.might_bind()) {
                continue;
            }
            let (held, giver) = (self.lines(header.object).0, self.giver());
            for ask in all.iter().map(Asked::ask) {
                let asked = Question::of(&ask);
                if gives(&held, &asked) && !giver.iter().any(|one| one.may(&asked, self.now)) {
                    return Err(format!("C7: {} can be {}, who holds {ask}", self.by, header.name));
                }
            }
        }
        Ok(())
    }

    fn policy(&self) -> Option<&Thing> {
        self.was.0.values().find(|thing| thing.kind == "policy").map(|thing| &**thing)
    }

    fn no_token_lives_too_long(&self) -> Result<(), String> {
        let Some(most) = self.policy().and_then(|policy| policy.spec.max_ttl.as_deref()).map(span_ms) else {
            return Ok(());
        };
        for Record { header, .. } in self.batch.iter().filter(|record| record.header.event == "minted") {
            let token = self.is.0[&header.object].minted.as_ref().expect("it was read");
            if token.expires_at.is_none_or(|end| end > header.at.as_millis() + most) {
                return Err(format!("policy: the token {} lives longer than {most} ms", header.name));
            }
        }
        Ok(())
    }

    /// A token that was made in this step holds what its maker passed on to nobody.
    fn nothing_is_passed_on_too_far(&self, depths: &Depths, subjects: &[Actor]) -> Result<(), String> {
        let policy = self.policy().and_then(|policy| policy.spec.delegation_depth);
        let Some(most) = policy.filter(|_| !self.is_of_the_control_plane()) else { return Ok(()) };
        let is_new = |who: &&Actor| !self.batch.iter().any(|record| record.header.object == who.uid);
        let given = subjects.iter().filter(is_new).find(|who| !self.lines(who.uid).1.is_empty());
        let by_right = self.batch.iter().filter(|record| record.header.authz.mode == AuthzMode::Rbac);
        let deepest = by_right.map(|record| depths.0[&record.header.seq]).max().unwrap_or(0);
        match given.filter(|_| deepest > most) {
            Some(who) => {
                Err(format!("policy: {who} was given something by a chain of {deepest}, and {most} are allowed"))
            }
            None => Ok(()),
        }
    }
}

/// `1s`, `1h` or `1d` in milliseconds.
fn span_ms(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)].into_iter().find(|(name, _)| *name == unit);
    number.parse::<u64>().expect("a number") * unit.expect("a unit").1 * 1_000
}
