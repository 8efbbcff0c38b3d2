//! Between two seqs: which objects changed, when each did, and at which event a right came or went.
use std::collections::BTreeSet;

use mcpctl_core::access::{Ask, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::world::World;

use crate::state::State;

/// So many events are looked at one by one; when there are more, the range is halved instead.
const STEPS_MAX: usize = 1_000;

impl State {
    /// Objects that some event after `from` and up to `to` was about, those that came and went in between too.
    #[must_use]
    pub fn changed_between(&self, from: Seq, to: Seq) -> BTreeSet<Uid> {
        let now = self.objects().filter(|object| object.meta.resource_version > from).map(|object| object.meta.uid);
        let gone = self.history.gone_since(from);
        now.chain(gone).filter(|uid| self.seqs_of(*uid, from, to).next().is_some()).collect()
    }

    /// The events about an object, those after `from` and up to `to`, in order.
    pub fn seqs_of(&self, uid: Uid, from: Seq, to: Seq) -> impl Iterator<Item = Seq> {
        let last = self.by_uid(uid).map(|object| object.meta.resource_version);
        let last = last.filter(|seq| from < *seq && *seq <= to);
        self.history.seqs_between(uid, from, to).chain(last)
    }

    /// The last event after `from` and up to `to` at which the answer to a question became what it is at `to`; `None` when
    /// it was the same at `from`. `by` are the objects that can have had a part in it: when they alone don't explain it, or
    /// have too many events, it is one of the events at which the answer became so.
    #[must_use]
    pub fn turned_at(&self, subject: &Actor, ask: &Ask<'_>, by: &BTreeSet<Uid>, from: Seq, to: Seq) -> Option<Seq> {
        let answer = |seq: Seq| {
            let view = self.at(seq);
            decide(&view, subject, ask, view.last_at()).allowed
        };
        let so = answer(to);
        if answer(from) == so {
            return None;
        }
        let turns = |seq: &Seq| answer(*seq) == so && answer(Seq(seq.0 - 1)) != so;
        let seqs: BTreeSet<Seq> = by.iter().flat_map(|uid| self.seqs_of(*uid, from, to)).take(STEPS_MAX + 1).collect();
        let found = if seqs.len() <= STEPS_MAX { seqs.into_iter().rev().find(turns) } else { None };
        found.or_else(|| Some(halved(from, to, |seq| answer(seq) == so)))
    }
}

/// A seq that is so where the one before it is not. `from` is not so, `to` is.
fn halved(mut from: Seq, mut to: Seq, so: impl Fn(Seq) -> bool) -> Seq {
    while to.0 - from.0 > 1 {
        let middle = Seq(from.0 + (to.0 - from.0) / 2);
        if so(middle) {
            to = middle;
        } else {
            from = middle;
        }
    }
    to
}
