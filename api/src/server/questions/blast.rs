//! Who gains and loses what, in words: of two points of the past, and of commands that were only foreseen.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mcpctl_core::access::questions::{Difference, Held, Subject, Then, acting, difference};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::object::{Object, title};
use mcpctl_core::record::Header;
use mcpctl_projections::State;

use super::tell::Told;
use crate::access_wire::{SubjectChange, Turn, TurnedRight};
use crate::server::auth::Authenticated;
use crate::server::group::Foreseen;
use crate::server::point::{Point, may_know};
use crate::server::target::may_view;

/// Most subjects of one answer.
pub(super) const SUBJECTS_MAX: usize = 5_000;

/// For so many rights of one answer the event is looked for at which it turned.
const TURNS_MAX: usize = 20_000;

/// Access that comes and goes.
pub(in crate::server) struct Blast {
    /// Who gains and loses what, as far as the caller may view them.
    pub access: Vec<SubjectChange>,
    /// Whether anybody gains anything, also one whom the caller may not view.
    pub added: bool,
    /// Whether `access` is all of it.
    pub complete: bool,
}

/// What commands would do to access, told to who may view the subjects now.
pub(in crate::server) fn of_foreseen(now: &State, caller: &Authenticated, foreseen: &Foreseen) -> Blast {
    let header = |seq: Seq| {
        let first = foreseen.headers.first()?.seq;
        foreseen.headers.get(usize::try_from(seq.0.checked_sub(first.0)?).ok()?).cloned()
    };
    let changed = foreseen.headers.iter().map(|header| header.object).collect();
    let (from, to) = (Point::newest(now), Point::newest(&foreseen.state));
    let range = Range { state: &foreseen.state, now, caller, from, to, header: &header };
    range.blast(&changed, &|_| true, &|_| true)
}

/// Two points of one log.
pub(super) struct Range<'a> {
    /// A state that knows both.
    pub(super) state: &'a State,
    /// The newest state: who may be told what is decided there.
    pub(super) now: &'a State,
    pub(super) caller: &'a Authenticated,
    pub(super) from: Point,
    pub(super) to: Point,
    /// Headers of the events in between.
    pub(super) header: &'a dyn Fn(Seq) -> Option<Header>,
}

impl Range<'_> {
    /// Who gained and lost what by the changed objects; of the subjects and the rights that are wanted.
    pub(super) fn blast(
        &self,
        changed: &BTreeSet<Uid>,
        wanted: &dyn Fn(&Difference<'_>) -> bool,
        about: &dyn Fn(&Held<'_>) -> bool,
    ) -> Blast {
        let (before, after) = (self.state.at(self.from.seq), self.state.at(self.to.seq));
        let (had, has) = (Then { world: &before, now: self.from.at }, Then { world: &after, now: self.to.at });
        let mut all = difference(had, has, changed);
        all.retain_mut(|one| {
            one.gained.retain(about);
            one.lost.retain(about);
            wanted(one) && !(one.gained.is_empty() && one.lost.is_empty())
        });
        let added = all.iter().any(|one| !one.gained.is_empty());
        let total = all.len();
        all.retain(|one| may_know(self.now, self.caller, one.subject));
        all.truncate(SUBJECTS_MAX);
        let complete = all.len() == total;
        let (before, after) = (
            Told { state: self.state, world: &before, caller: self.caller },
            Told { state: self.state, world: &after, caller: self.caller },
        );
        let mut turns = Turns { range: self, known: HashMap::new(), left: TURNS_MAX };
        let access = all.iter().map(|one| self.told(one, [&before, &after], &mut turns)).collect();
        Blast { access, added, complete }
    }

    fn told(&self, one: &Difference<'_>, [before, after]: [&Told<'_>; 2], turns: &mut Turns<'_>) -> SubjectChange {
        let actor = acting(one.subject);
        let subject = Subject::of(one.subject).map_or_else(|| actor.to_string(), |subject| subject.to_string());
        let mut rows = |told: &Told<'_>, held: &[Held<'_>]| -> Vec<TurnedRight> {
            held.iter()
                .map(|held| {
                    let turn = turns.of(&actor, held, &one.by);
                    TurnedRight { right: told.right(&actor, held), turn }
                })
                .collect()
        };
        SubjectChange { subject, gained: rows(after, &one.gained), lost: rows(before, &one.lost) }
    }

    /// An event in words.
    pub(super) fn turn(&self, seq: Seq) -> Option<Turn> {
        let header = (self.header)(seq)?;
        let object =
            self.state.object_at(header.object, seq).or_else(|| self.state.object_at(header.object, Seq(seq.0 - 1)));
        let seen = |object: &Arc<Object>| may_view(self.now, self.caller, object);
        if self.caller.actor.kind == ActorKind::McpToken && !object.as_ref().is_some_and(seen) {
            return None;
        }
        let project = header.project.and_then(|uid| self.state.object_at(uid, seq));
        let object = title(header.kind, project.as_ref().map(|project| &project.meta.name), header.name.as_str());
        Some(Turn {
            seq,
            at: header.at,
            event: format!("{}.{}", header.kind, header.event),
            object,
            by: header.actor,
            on_behalf_of: header.on_behalf_of,
        })
    }
}

/// The events at which rights turned; each is read once.
struct Turns<'a> {
    range: &'a Range<'a>,
    known: HashMap<Seq, Option<Turn>>,
    left: usize,
}

impl Turns<'_> {
    fn of(&mut self, actor: &Actor, held: &Held<'_>, by: &BTreeSet<Uid>) -> Option<Turn> {
        self.left = self.left.checked_sub(1)?;
        let range = self.range;
        let seq = range.state.turned_at(actor, &held.right.ask(), by, range.from.seq, range.to.seq)?;
        self.known.entry(seq).or_insert_with(|| range.turn(seq)).clone()
    }
}
