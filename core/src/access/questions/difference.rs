//! What changes for whom between two states: every right that a subject has in one of them and not in the other.
//!
//! Only rights that somebody gave count: what is everybody's own (to look at oneself, to end one's tokens) comes and goes
//! with the objects. Only those are looked at whom a changed object can touch, so that it costs what the change is worth.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::proof::Reason;
use super::subject::acting;
use super::what_can::{Held, Right, what_can};
use crate::access::Verb;
use crate::ids::Uid;
use crate::kinds::{Kind, SubjectRef};
use crate::object::Object;
use crate::time::Timestamp;
use crate::world::World;

/// A state, and the moment from which it is looked at.
#[derive(Clone, Copy)]
pub struct Then<'w> {
    /// The state.
    pub world: &'w dyn World,
    /// What has a time to live is looked at from here.
    pub now: Timestamp,
}

/// What changed for one subject.
#[derive(Clone, Debug)]
pub struct Difference<'w> {
    /// The user, group, service account or token, as it is after, or was before when it is gone.
    pub subject: &'w Arc<Object>,
    /// What it may after and might not before, by what it may it after.
    pub gained: Vec<Held<'w>>,
    /// What it might before and may not after, by what it might it before.
    pub lost: Vec<Held<'w>>,
    /// The changed objects that can have touched it.
    pub by: BTreeSet<Uid>,
}

/// Who gained or lost what, by kind, project and name of the subject. `changed` are the objects that differ between the two
/// states; one that is left out is taken to be the same.
#[must_use]
pub fn difference<'w>(before: Then<'w>, after: Then<'w>, changed: &BTreeSet<Uid>) -> Vec<Difference<'w>> {
    let touched = touched(before.world, after.world, changed).into_iter();
    let mut found: Vec<Difference<'w>> =
        touched.filter_map(|(uid, by)| difference_of(before, after, uid, by)).collect();
    found.sort_by(|a, b| key(a.subject).cmp(&key(b.subject)));
    found
}

fn key(object: &Object) -> impl Ord + '_ {
    let meta = &object.meta;
    (meta.kind, meta.project.as_ref().map(|project| &project.name), &meta.name, meta.uid)
}

/// What changed for one subject; `None` when nothing did. `by` is only handed on.
#[must_use]
pub fn difference_of<'w>(before: Then<'w>, after: Then<'w>, uid: Uid, by: BTreeSet<Uid>) -> Option<Difference<'w>> {
    let subject = after.world.by_uid(uid).or_else(|| before.world.by_uid(uid))?;
    let (had, has) = (given(before, uid), given(after, uid));
    let (gained, lost) = (beyond(&has, &had), beyond(&had, &has));
    (!gained.is_empty() || !lost.is_empty()).then_some(Difference { subject, gained, lost, by })
}

/// What a subject may by somebody's grant; nothing when it is not there, or has ended.
fn given(then: Then<'_>, uid: Uid) -> Vec<Held<'_>> {
    let Some(object) = then.world.by_uid(uid) else { return Vec::new() };
    let mut held = what_can(then.world, &acting(object), then.now).held;
    held.retain(|held| !matches!(held.reason, Reason::Own { .. }));
    held
}

/// Of some rights those, verb by verb, that others don't give; each once.
fn beyond<'w>(some: &[Held<'w>], others: &[Held<'w>]) -> Vec<Held<'w>> {
    let mut found: Vec<Held<'w>> = Vec::new();
    for held in some {
        let is_new = |verb| !others.iter().chain(&found).any(|other| other.right.gives(verb, &held.right));
        let right = match &held.right {
            Right::Operation(_) => is_new(Verb::Run).then(|| held.right.clone()),
            Right::Objects { verbs, .. } => {
                let verbs: Vec<Verb> = verbs.iter().copied().filter(|verb| is_new(*verb)).collect();
                (!verbs.is_empty()).then(|| held.right.with(verbs))
            }
        };
        found.extend(right.map(|right| Held { right, reason: held.reason.clone() }));
    }
    found
}

/// Subjects that a changed object can touch, each with the objects by which.
fn touched(before: &dyn World, after: &dyn World, changed: &BTreeSet<Uid>) -> BTreeMap<Uid, BTreeSet<Uid>> {
    let mut reach = Reach { worlds: [before, after], touched: BTreeMap::new() };
    let mut projects = BTreeSet::new();
    for uid in changed {
        for object in reach.both(*uid) {
            if object.meta.kind == Kind::Project {
                projects.insert(*uid);
            }
            reach.named_by(object);
            reach.subject(*uid, *uid);
        }
    }
    if !projects.is_empty() {
        reach.tokens_of(&projects);
    }
    reach.touched
}

struct Reach<'w> {
    worlds: [&'w dyn World; 2],
    touched: BTreeMap<Uid, BTreeSet<Uid>>,
}

impl<'w> Reach<'w> {
    fn both(&self, uid: Uid) -> impl Iterator<Item = &'w Arc<Object>> + use<'w> {
        self.worlds.into_iter().filter_map(move |world| world.by_uid(uid))
    }

    /// Everybody whom an object names: those it gives rights to, its members.
    fn named_by(&mut self, object: &Object) {
        for subject in subjects_of(object) {
            self.subject(subject, object.meta.uid);
        }
        for (subject, _) in object.body.grants(&object.meta.name) {
            let SubjectRef::McpToken { name } = subject else { continue };
            for world in self.worlds {
                if let Some(token) = world.credential(&name.0) {
                    self.subject(token, object.meta.uid);
                }
            }
        }
    }

    /// A subject, and who has rights through it: the members of a group, the tokens of an owner.
    fn subject(&mut self, uid: Uid, by: Uid) {
        let kinds: Vec<&Arc<Object>> = self.both(uid).filter(|object| is_subject(object.meta.kind)).collect();
        if kinds.is_empty() || !self.touched.entry(uid).or_default().insert(by) {
            return;
        }
        for object in kinds {
            if object.meta.kind == Kind::Group {
                subjects_of(object).for_each(|member| self.subject(member, by));
                object.body.claimed().into_iter().for_each(|member| self.subject(member, by));
            }
        }
        for world in self.worlds {
            world.owned_by(uid).iter().for_each(|owned| self.subject(owned.meta.uid, by));
        }
    }

    /// What a project's tokens may use hangs on its servers.
    fn tokens_of(&mut self, projects: &BTreeSet<Uid>) {
        for world in self.worlds {
            for token in world.all(Kind::McpToken) {
                if let Some(project) = token.meta.project.as_ref().filter(|project| projects.contains(&project.uid)) {
                    self.subject(token.meta.uid, project.uid);
                }
            }
        }
    }
}

/// Subjects that an object names, those too that belong to it by what somebody else says of them.
fn subjects_of(object: &Object) -> impl Iterator<Item = Uid> {
    let named = object.refs.iter().filter(|r| is_subject(r.kind)).map(|r| r.uid);
    named.chain(object.body.claimed())
}

const fn is_subject(kind: Kind) -> bool {
    matches!(kind, Kind::User | Kind::Group | Kind::ServiceAccount | Kind::McpToken)
}
