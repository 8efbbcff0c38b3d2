//! What this gateway was told about each caller and project, and whether it may serve by it now. Nothing is remembered by
//! time: what holds is what the control plane keeps saying to hold.
use std::collections::HashMap;
use std::sync::Arc;

use mcpctl_core::ids::{Seq, Uid};

use super::Pair;
use crate::client::gateway_wire::AdmittedView;
use crate::client::stream_wire::{Ended, Handle, Holding};
use crate::cut::{Cut, Why};
use crate::lease::Boottime;
use crate::plane::{Admission, Caller, CallerBearer, Denial, ProjectView};

/// Most pairs of caller and project; beyond that the one that was quiet longest is let go.
const PAIRS_MAX: usize = 65_536;

/// All of them.
#[derive(Default)]
pub(super) struct Views {
    seen: HashMap<Pair, Seen>,
    by_handle: HashMap<Handle, Pair>,
    /// The stream that is open.
    stream: Option<Handle>,
    /// Something was taken away at this seq from somebody unknown here: an answer on its way that is older, and about
    /// somebody new, may be about them.
    floor: Seq,
    /// Handles that are needed no more, to be said to the control plane.
    dropped: Vec<Handle>,
}

struct Seen {
    handle: Handle,
    /// The open stream holds it.
    held: bool,
    view: Option<View>,
    /// The project as it was last seen: for names only, never for a decision.
    names: Arc<ProjectView>,
    /// Answers from before this seq are void.
    since: Seq,
    cut: Cut,
    last_used: Boottime,
}

struct View {
    caller: Arc<Caller>,
    project: Arc<ProjectView>,
    via: Arc<[Seq]>,
    seq: Seq,
}

impl Seen {
    fn served(&self) -> Option<Admission> {
        let view = self.view.as_ref().filter(|_| !self.cut.is_cancelled())?;
        Some(Admission {
            caller: view.caller.clone(),
            project: view.project.clone(),
            seq: view.seq,
            via: view.via.clone(),
            cut: self.cut.clone(),
        })
    }

    /// Ends what runs by it.
    fn end(&mut self, why: Why) -> Cut {
        self.view = None;
        self.cut.cancel(why);
        self.cut.clone()
    }
}

impl Views {
    /// What may be served now without asking.
    pub(super) fn served(&mut self, pair: &Pair) -> Option<Admission> {
        let seen = self.seen.get_mut(pair)?;
        seen.last_used = Boottime::now();
        seen.served()
    }

    /// The open stream, and the handle that is known for a pair: what an introspection names.
    pub(super) fn known(&self, pair: &Pair) -> (Option<Handle>, Option<Handle>) {
        (self.stream, self.seen.get(pair).map(|seen| seen.handle))
    }

    /// Takes an answer to a question that was sent at a moment and named a stream; `None` when something was taken away
    /// since that may have made it void.
    pub(super) fn install(
        &mut self,
        pair: Pair,
        asked: Boottime,
        named: Option<Handle>,
        told: AdmittedView,
    ) -> Option<Admission> {
        let handle = told.watch_handle;
        let void_before = self.seen.get(&pair).map_or(self.floor, |seen| seen.since);
        let unknown = !self.by_handle.contains_key(&handle);
        if told.seq < void_before || (unknown && told.seq < self.floor) {
            return None;
        }
        if self.seen.len() >= PAIRS_MAX && !self.seen.contains_key(&pair) {
            self.let_go_of_quietest();
        }
        let held = told.held && named.is_some() && named == self.stream;
        let project = Arc::new(told.project);
        let view = View { caller: Arc::new(told.caller), project, via: told.via.into(), seq: told.seq };
        let until = asked.serves_until();
        let seen = self.seen.entry(pair.clone()).or_insert_with(|| Seen {
            handle,
            held: false,
            view: None,
            names: view.project.clone(),
            since: Seq(0),
            cut: Cut::until(until),
            last_used: Boottime::now(),
        });
        if seen.handle != handle {
            self.by_handle.remove(&seen.handle);
            self.dropped.push(std::mem::replace(&mut seen.handle, handle));
            seen.held = false;
        }
        self.by_handle.insert(handle, pair);
        seen.held |= held;
        if seen.cut.is_cancelled() {
            seen.cut.cancel(Why::lapsed());
            seen.cut = Cut::until(until);
        }
        seen.cut.extend(until);
        if seen.view.as_ref().is_none_or(|old| old.seq <= view.seq) {
            seen.names = view.project.clone();
            seen.view = Some(view);
        }
        seen.served()
    }

    fn let_go_of_quietest(&mut self) {
        let quietest = self.seen.iter().min_by_key(|(_, seen)| seen.last_used).map(|(pair, _)| pair.clone());
        if let Some(pair) = quietest {
            self.forget(&pair, Why::denied(&Denial::Unavailable("too many callers are held".to_owned()), Seq(0)));
        }
    }

    /// The caller is refused: whatever was served to it ends.
    pub(super) fn forget(&mut self, pair: &Pair, why: Why) -> Option<Cut> {
        let mut seen = self.seen.remove(pair)?;
        self.by_handle.remove(&seen.handle);
        self.dropped.push(seen.handle);
        Some(seen.end(why))
    }

    /// The same, unless something newer is known.
    pub(super) fn refused(&mut self, pair: &Pair, asked: Boottime, denial: &Denial) -> Option<Cut> {
        let newer = self.seen.get(pair).is_some_and(|seen| seen.cut.lasts_until() > Some(asked.serves_until()));
        if newer { None } else { self.forget(pair, Why::denied(denial, Seq(0))) }
    }

    /// The project of a caller, by identity, as it was last seen.
    pub(super) fn names(&self, bearer: &CallerBearer, project: Uid) -> Option<Arc<ProjectView>> {
        let of = |(digest, _): &Pair| *digest == bearer.digest();
        let mut seen = self.seen.iter().filter(|(pair, _)| of(pair)).map(|(_, seen)| &seen.names);
        seen.find(|names| names.uid == project).cloned()
    }

    /// Everything that a stream is opened with.
    pub(super) fn holdings(&self) -> Vec<Holding> {
        self.seen.values().map(|seen| seen.holding()).collect()
    }

    /// What the open stream does not hold yet, and what it need not hold any more.
    pub(super) fn take_unsaid(&mut self) -> (Vec<Holding>, Vec<Handle>) {
        let new = self.seen.values().filter(|seen| !seen.held).map(Seen::holding).collect();
        (new, std::mem::take(&mut self.dropped))
    }

    /// Whether the open stream holds an access that is served.
    #[cfg(test)]
    pub(super) fn is_held(&self, pair: &Pair) -> bool {
        self.stream.is_some() && self.seen.get(pair).is_some_and(|seen| seen.held && seen.served().is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// How many accesses are held.
    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    /// A stream is open and holds what it was opened with, but for what is void.
    pub(super) fn opened(&mut self, stream: Handle, held: &[Holding], void: &[Handle]) -> Vec<Cut> {
        self.stream = Some(stream);
        self.dropped.clear();
        self.held(&held.iter().map(|holding| holding.handle).collect::<Vec<_>>(), void)
    }

    /// The open stream holds these; those that are void are not as they were told, or were never known.
    pub(super) fn held(&mut self, handles: &[Handle], void: &[Handle]) -> Vec<Cut> {
        let cuts = void.iter().filter_map(|handle| self.by_handle.get(handle).cloned());
        let gone = || Why::denied(&Denial::Unavailable("the control plane knows no more of it".to_owned()), Seq(0));
        let cuts = cuts.collect::<Vec<_>>().iter().filter_map(|pair| self.forget(pair, gone())).collect();
        for handle in handles {
            if let Some(seen) = self.by_handle.get(handle).and_then(|pair| self.seen.get_mut(pair)) {
                seen.held = true;
            }
        }
        cuts
    }

    /// A ping that was sent at a moment is answered: all that the stream holds is as it was told up to a seq.
    pub(super) fn ponged(&mut self, sent: Boottime, seq: Seq) {
        for seen in self.seen.values_mut().filter(|seen| seen.held) {
            seen.cut.extend(sent.serves_until());
            if let Some(view) = &mut seen.view {
                view.seq = view.seq.max(seq);
            }
        }
    }

    /// Access was taken away, or may have been. Answers what is to end; nobody is admitted by any of it any more.
    pub(super) fn reduced(&mut self, seq: Seq, cut: &[Ended], void: &[Handle]) -> Vec<Cut> {
        for handle in void {
            match self.by_handle.get(handle).and_then(|pair| self.seen.get_mut(pair)) {
                Some(seen) => {
                    seen.view = None;
                    seen.since = seen.since.max(seq);
                }
                None => self.floor = self.floor.max(seq),
            }
        }
        let mut cuts = Vec::new();
        for ended in cut {
            let Some(pair) = self.by_handle.get(&ended.handle).cloned() else {
                self.floor = self.floor.max(seq);
                continue;
            };
            if let Some(why) = &ended.why {
                self.floor = self.floor.max(seq);
                cuts.extend(self.forget(&pair, Why::denied(&why.clone().into(), seq)));
            } else if let Some(seen) = self.seen.get_mut(&pair) {
                seen.since = seen.since.max(seq);
                let why = if ended.quarantine { Why::quarantined(seq) } else { Why::changed(seq) };
                cuts.push(seen.end(why));
            }
        }
        cuts
    }

    /// The stream is over. What it held is served until the lease runs out.
    pub(super) fn lost(&mut self) {
        self.stream = None;
        self.seen.values_mut().for_each(|seen| seen.held = false);
    }

    /// Ends what nobody's word holds any more. Answers what is to end, and when to look again.
    pub(super) fn lapsed(&mut self, now: Boottime) -> (Vec<Cut>, Option<Boottime>) {
        let (mut cuts, mut next) = (Vec::new(), None::<Boottime>);
        for seen in self.seen.values_mut().filter(|seen| seen.view.is_some()) {
            match seen.cut.lasts_until() {
                Some(until) if until <= now => cuts.push(seen.end(Why::lapsed())),
                Some(until) => next = Some(next.map_or(until, |next| next.min(until))),
                None => {}
            }
        }
        (cuts, next)
    }

    /// Ends everything.
    pub(super) fn end_all(&mut self, why: &Why) {
        let pairs: Vec<Pair> = self.seen.keys().cloned().collect();
        pairs.iter().for_each(|pair| drop(self.forget(pair, why.clone())));
    }
}

impl Seen {
    fn holding(&self) -> Holding {
        // What is not served is held too, so that the next answer is about the same handle.
        let rev = self.view.as_ref().map_or(Seq(u64::MAX), |view| view.seq);
        Holding { handle: self.handle, rev }
    }
}
