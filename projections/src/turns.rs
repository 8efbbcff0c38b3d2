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

    /// The events at which a grant to a subject began or ended, or a membership of it, or a grant to one of its groups while
    /// it belonged to that.
    #[must_use]
    pub fn seqs_of_access(&self, subject: Uid) -> BTreeSet<Seq> {
        const NOT_ENDED: Seq = Seq(u64::MAX);
        let mut found: BTreeSet<Seq> = self.seqs_of_grants(subject, Seq(0), NOT_ENDED).collect();
        let now = self.memberships(subject).iter().map(|member| (member.group, member.seq, NOT_ENDED));
        for (group, from, until) in now.chain(self.history.spans_of_memberships(subject)) {
            found.extend([from, until]);
            found.extend(self.seqs_of_grants(group, from, until));
        }
        found.remove(&NOT_ENDED);
        found
    }

    /// Where grants to a holder itself began or ended between two seqs.
    fn seqs_of_grants(&self, holder: Uid, from: Seq, until: Seq) -> impl Iterator<Item = Seq> {
        let begun = self.grants(holder).iter().map(|grant| grant.seq);
        let ended = self.history.spans_of_grants(holder).flat_map(|(from, until)| [from, until]);
        begun.chain(ended).filter(move |seq| from <= *seq && *seq <= until)
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
