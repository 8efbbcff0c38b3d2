//! Who holds what, who must be told, and who has said that it is done: the state of all streams, behind one lock.
//!
//! The writer calls [`Hub::committed`] after an event is published and before anybody is answered. Under the same lock pings
//! are answered, so a pong never overtakes what was taken away before it.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::reach::{Effect, Reach, Whose};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::figures::RevocationFigures;
use super::handles::{Handles, Held};
use super::reduction::{Fenced, Progress, Reduction, Waited};
use super::stream_state::Stream;
use crate::client::stream_wire::{Anchor, Ended, HANDLES_MAX, Handle, Holding, News, ShownLog, Told};
use crate::lease::Boottime;
use crate::server::clock;
use crate::server::plane_local::over;
use crate::wire::Gateway;

/// Most streams at once.
const STREAMS_MAX: usize = 20_000;
/// Most handles at once.
const ALL_HANDLES_MAX: usize = 2_000_000;
/// How long a handle is kept that no stream holds: its gateway may be on its way back.
const LOOSE: Duration = Duration::from_secs(60);
/// How long what came of a reduction is kept for whoever asks.
const KEPT: Duration = Duration::from_secs(3);
/// How often is looked for streams that lag, leases that have run out, and credentials whose time is over.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait of an answer; nothing but a plane of this process that hangs takes so long.
const FENCE_MAX: Duration = Duration::from_secs(10);

/// The state of all streams.
pub struct Hub {
    inner: Mutex<Inner>,
    here: LocalStream,
    /// Leases that were given before this process started run out then.
    safe_from: Option<Boottime>,
    figures: RevocationFigures,
}

#[derive(Default)]
struct Inner {
    head: Anchor,
    handles: Handles,
    streams: HashMap<Handle, Stream>,
    reductions: BTreeMap<Seq, Arc<Reduction>>,
}

/// The plane of this process as one more stream: told in memory, with a lease that needs no network.
pub(in crate::server) struct LocalStream {
    name: Handle,
    told: Mutex<LocalNews>,
    news: Notify,
    pending: Mutex<Vec<(u64, Arc<Reduction>)>>,
}

#[derive(Default)]
struct LocalNews {
    n: u64,
    reach: Reach,
}

/// What an introspection comes to.
pub(in crate::server) enum Registered {
    /// The handle, and whether the stream that was named holds it.
    Told { handle: Handle, held: bool },
    /// Something was committed since the state that was decided on: decide anew.
    Behind,
    /// No more can be held.
    Full,
}

/// What a handle is to be made for.
pub(in crate::server) struct About {
    pub(in crate::server) whose: Whose,
    pub(in crate::server) digest: Digest,
    pub(in crate::server) project: String,
    pub(in crate::server) expires_at: Option<Timestamp>,
}

/// A stream that was opened.
pub(super) struct OpenedStream {
    pub(super) stream: Handle,
    pub(super) lines: mpsc::Receiver<Told>,
    /// Cancelled when it is over, whoever ended it.
    pub(super) over: CancellationToken,
}

/// Why a stream is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpened {
    #[error("none of the handles is known: ask about a token first")]
    NoHandle,
    #[error("too many streams are open")]
    Full,
}

/// The answer must not be given: this process has not stopped what it should have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the change is made at seq {seq}, and it was not confirmed in time that all that ran has stopped")]
pub struct Unconfirmed {
    /// The change.
    pub seq: Seq,
}

impl Hub {
    /// A hub over the state that the log gave. On a log that has events, leases may be out that this process does not know
    /// of: nobody is told that anything is dead before they have run out.
    #[must_use]
    pub fn new(state: &State, figures: RevocationFigures) -> Self {
        let head = Anchor { seq: state.seq(), hash: state.head() };
        let safe_from = (state.seq() > Seq(0)).then(|| Boottime::now().waited_until());
        let here = LocalStream {
            name: Handle(clock::random()),
            told: Mutex::default(),
            news: Notify::new(),
            pending: Mutex::default(),
        };
        Self { inner: Mutex::new(Inner { head, ..Inner::default() }), here, safe_from, figures }
    }

    /// Takes note of what was committed, and tells everybody whom it may concern. To be called for every commit, in order,
    /// after the state is published. `reductions` says for each command the seq of its last event, and their reach.
    pub(in crate::server) fn committed(&self, state: &State, reductions: Vec<(Seq, Reach)>) {
        let now = clock::now().max(state.last_at());
        let mut inner = self.inner.lock();
        // First: each line says the seq that made it, and an answer from before that seq which it overtakes is void.
        inner.head = Anchor { seq: state.seq(), hash: state.head() };
        for (seq, reach) in reductions.into_iter().filter(|(_, reach)| !reach.is_nothing()) {
            let reduction = inner.reduce(state, seq, &reach, now, &self.here);
            inner.reductions.insert(seq, reduction);
        }
    }

    /// Waits until nobody serves any more by what was taken away up to a seq, and says how that went.
    ///
    /// # Errors
    /// When this process has not stopped what it should have.
    pub async fn fence(&self, seq: Seq) -> Result<Fenced, Unconfirmed> {
        let wait = async {
            if let Some(safe_from) = self.safe_from {
                tokio::time::sleep(safe_from.since(Boottime::now())).await;
            }
            let (all, began) = {
                let inner = self.inner.lock();
                let all: Vec<_> = inner.reductions.range(..=seq).map(|(_, reduction)| reduction.clone()).collect();
                (all, Boottime::now())
            };
            for reduction in &all {
                reduction.over().await;
            }
            let mut said = Fenced { seq, ..Fenced::default() };
            let own = all.last().filter(|reduction| reduction.seq == seq);
            let since = own.map_or(began, |own| own.committed);
            own.inspect(|own| own.report(&mut said));
            said.took_ms = u64::try_from(Boottime::now().since(since).as_millis()).unwrap_or(u64::MAX);
            said
        };
        tokio::time::timeout(FENCE_MAX, wait).await.map_err(|_| Unconfirmed { seq })
    }

    /// A handle for an access that was admitted in the state at `rev`.
    pub(in crate::server) fn register(
        &self,
        about: About,
        rev: Seq,
        given: Option<Handle>,
        stream: Option<Handle>,
    ) -> Registered {
        let mut inner = self.inner.lock();
        if inner.head.seq > rev {
            return Registered::Behind;
        }
        let same = |held: &&Held| held.digest == about.digest && held.project == about.project;
        let known = given.and_then(|given| inner.handles.get(&given).filter(same).map(|held| (given, held.clone())));
        if known.is_none() && inner.handles.len() >= ALL_HANDLES_MAX {
            return Registered::Full;
        }
        let (handle, reduced, on) = match known {
            Some((handle, held)) => (handle, held.reduced, held.on),
            None => (Handle(clock::random()), Seq(0), Vec::new()),
        };
        let About { whose, digest, project, expires_at } = about;
        inner.handles.insert(handle, Held { whose, digest, project, reduced, expires_at, told: Boottime::now(), on });
        let held = stream.is_some_and(|stream| inner.hold(stream, handle));
        Registered::Told { handle, held }
    }

    /// Opens a stream. `log` is what the log has at the place that the gateway saw, and its newest checkpoint.
    pub(super) fn open(
        &self,
        version: String,
        holds: &[Holding],
        log: (Option<Anchor>, Option<ShownLog>),
        address: String,
    ) -> Result<OpenedStream, NotOpened> {
        let mut inner = self.inner.lock();
        if inner.streams.len() >= STREAMS_MAX {
            return Err(NotOpened::Full);
        }
        if !holds.iter().any(|holding| inner.handles.get(&holding.handle).is_some()) {
            return Err(NotOpened::NoHandle);
        }
        let stream = Handle(clock::random());
        let (made, lines, over) = Stream::open(version, address, clock::now());
        inner.streams.insert(stream, made);
        let void = inner.take(stream, holds);
        let (log, shown) = log;
        inner.tell(stream, News::Opened { stream, void, log, shown });
        Ok(OpenedStream { stream, lines, over })
    }

    /// Answers a ping. `false` when the stream is over.
    pub(super) fn ping(&self, stream: Handle, ping: u64, lapsed: u64) -> bool {
        self.figures.lapsed.inc_by(lapsed);
        let mut inner = self.inner.lock();
        let log = inner.head;
        let Some(open) = inner.streams.get_mut(&stream).filter(|open| open.is_open()) else { return false };
        open.answered = Boottime::now();
        inner.tell(stream, News::Pong { ping, log })
    }

    /// Shows the log's newest checkpoint to a gateway that asked. `false` when the stream is over.
    pub(super) fn show(&self, stream: Handle, shown: Option<ShownLog>) -> bool {
        let mut inner = self.inner.lock();
        inner.streams.get(&stream).is_some_and(Stream::is_open) && inner.tell(stream, News::Log { shown })
    }

    /// A gateway has done all up to a line.
    pub(super) fn done(&self, stream: Handle, n: u64, cut: u64) {
        let mut inner = self.inner.lock();
        let Some(open) = inner.streams.get_mut(&stream) else { return };
        let finished = open.done_up_to(n);
        drop(inner);
        self.finished(stream, &finished, cut);
    }

    fn finished(&self, stream: Handle, finished: &[Arc<Reduction>], cut: u64) {
        self.figures.cut.inc_by(cut);
        for (index, reduction) in finished.iter().enumerate() {
            // What was ended by several lines at once is said of the last.
            let cut = if index + 1 == finished.len() { cut } else { 0 };
            if reduction.done(stream, cut) {
                reduction.settle(&self.figures);
            }
        }
    }

    /// A gateway holds further handles.
    pub(super) fn hold(&self, stream: Handle, holds: &[Holding]) -> bool {
        let mut inner = self.inner.lock();
        if !inner.streams.get(&stream).is_some_and(Stream::is_open) {
            return false;
        }
        let void = inner.take(stream, holds);
        let handles = holds.iter().map(|holding| holding.handle).filter(|handle| !void.contains(handle)).collect();
        inner.tell(stream, News::Held { handles, void })
    }

    /// A gateway needs handles no more.
    pub(super) fn release(&self, stream: Handle, handles: &[Handle]) {
        let mut inner = self.inner.lock();
        for handle in handles {
            if inner.streams.get_mut(&stream).is_some_and(|open| open.holds.remove(handle)) {
                inner.handles.release(handle, stream);
            }
        }
    }

    /// A stream has ended. Its gateway may serve on until its lease has run out, and is waited for until then.
    pub(super) fn close(&self, stream: Handle) {
        if let Some(open) = self.inner.lock().streams.get_mut(&stream) {
            open.close();
        }
    }

    /// A gateway began anew because it had missed something.
    pub(super) fn resynced(&self) {
        self.figures.resyncs.inc();
    }

    /// Every gateway that has a stream, the longest open first.
    pub(super) fn gateways(&self) -> Vec<Gateway> {
        let inner = self.inner.lock();
        let mut all: Vec<Gateway> =
            inner.streams.iter().map(|(name, open)| open.shown(*name, inner.head.seq)).collect();
        all.sort_by(|a, b| (a.since, &a.name).cmp(&(b.since, &b.name)));
        all
    }

    /// How many streams are open, and how many accesses are held.
    pub(in crate::server) fn held(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.streams.values().filter(|open| open.is_open()).count(), inner.handles.len())
    }

    /// The stream of the plane in this process.
    pub(in crate::server) const fn here(&self) -> &LocalStream {
        &self.here
    }

    /// The plane of this process has done all up to a line. `held` says whether it was a gateway to any of it.
    pub(in crate::server) fn done_here(&self, n: u64, held: bool, cut: u64) {
        let finished: Vec<Arc<Reduction>> =
            self.here.pending.lock().extract_if(.., |(line, _)| *line <= n).map(|(_, reduction)| reduction).collect();
        finished.iter().for_each(|reduction| reduction.counts(self.here.name, held));
        self.finished(self.here.name, &finished, cut);
    }

    /// Looks after streams that lag, leases that have run out, and credentials whose time is over.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK) => self.look(),
            }
        }
        self.inner.lock().streams.values_mut().for_each(Stream::close);
    }

    fn look(&self) {
        let (now, wall) = (Boottime::now(), clock::now());
        let mut inner = self.inner.lock();
        for open in inner.streams.values_mut().filter(|open| open.is_open() && open.lags(now)) {
            tracing::warn!(address = %open.address, "a gateway's stream is cut: it lags");
            open.close();
            self.figures.slow.inc();
        }
        // Those whose queue was full were closed where that was found.
        let full = inner.streams.values_mut().map(Stream::take_overflow).filter(|full| *full).count();
        self.figures.slow.inc_by(full as u64);
        inner.forget(now);
        inner.cut_expired(wall);
        let over: Vec<Seq> = (inner.reductions.values())
            .filter(|reduction| matches!(reduction.progress(now), Progress::Over))
            .inspect(|reduction| reduction.settle(&self.figures))
            .filter(|reduction| now.since(reduction.committed) > KEPT)
            .map(|reduction| reduction.seq)
            .collect();
        over.iter().for_each(|seq| drop(inner.reductions.remove(seq)));
    }
}

impl Inner {
    /// Who is reached is told, and all who may still serve are to be waited for.
    fn reduce(&mut self, state: &State, seq: Seq, reach: &Reach, now: Timestamp, here: &LocalStream) -> Arc<Reduction> {
        let committed = Boottime::now();
        let mut lines: HashMap<Handle, (Vec<Ended>, Vec<Handle>)> = HashMap::new();
        let mut until: HashMap<Option<Handle>, Boottime> = HashMap::new();
        for (handle, effect) in self.handles.reached(reach) {
            let Some(held) = self.handles.get_mut(&handle) else { continue };
            held.reduced = seq;
            let refused = over(state, &held.whose, held.digest, &held.project, now);
            let told = held.told;
            for stream in &held.on {
                let (cut, void) = lines.entry(*stream).or_default();
                match (&refused, effect) {
                    (None, Effect::Recheck) => void.push(handle),
                    (why, effect) => {
                        let quarantine = why.is_none() && effect == Effect::Quarantine;
                        cut.push(Ended { handle, why: why.as_ref().map(Into::into), quarantine });
                    }
                }
                let answered = self.streams.get(stream).map_or(told, |open| open.answered.max(told));
                let known = until.entry(Some(*stream)).or_default();
                *known = answered.waited_until().max(*known);
            }
            if held.on.is_empty() {
                let known = until.entry(None).or_default();
                *known = told.waited_until().max(*known);
            }
        }
        let waits = until.into_iter().filter(|(_, until)| *until > committed);
        let mut waited: Vec<Waited> =
            waits.map(|(stream, until)| Waited { stream, until: Some(until), gateway: true, done: None }).collect();
        waited.push(Waited { stream: Some(here.name), until: None, gateway: false, done: None });
        let reduction = Arc::new(Reduction::new(seq, committed, waited));
        for (stream, (cut, void)) in lines {
            if self.tell(stream, News::Reduced { cut, void })
                && let Some(open) = self.streams.get_mut(&stream)
            {
                open.expect(reduction.clone(), committed);
            }
        }
        here.tell(reach, &reduction);
        reduction
    }

    /// Puts a line into a stream's queue. A stream whose queue is full is cut: nothing is left out.
    fn tell(&mut self, stream: Handle, what: News) -> bool {
        let seq = self.head.seq;
        self.streams.get_mut(&stream).is_some_and(|open| open.tell(seq, what))
    }

    fn hold(&mut self, stream: Handle, handle: Handle) -> bool {
        let Some(open) = self.streams.get_mut(&stream).filter(|open| open.is_open()) else { return false };
        if open.holds.len() >= HANDLES_MAX {
            return false;
        }
        open.holds.insert(handle);
        self.handles.hold(&handle, stream)
    }

    /// A stream holds these; answers which are not as it was told.
    fn take(&mut self, stream: Handle, holds: &[Holding]) -> Vec<Handle> {
        let as_told = |inner: &mut Self, holding: &Holding| {
            let reduced = inner.handles.get(&holding.handle).map(|held| held.reduced);
            reduced.is_some_and(|reduced| reduced <= holding.rev) && inner.hold(stream, holding.handle)
        };
        holds.iter().filter(|holding| !as_told(self, holding)).map(|holding| holding.handle).collect()
    }

    /// Forgets streams that are over and whose leases have run out, and handles that nobody came back for.
    fn forget(&mut self, now: Boottime) {
        let over = |open: &Stream| !open.is_open() && open.answered.waited_until() < now;
        let gone: Vec<(Handle, HashSet<Handle>)> =
            self.streams.extract_if(|_, open| over(open)).map(|(name, open)| (name, open.holds)).collect();
        for (stream, holds) in gone {
            holds.iter().for_each(|handle| self.handles.release(handle, stream));
        }
        let loose = u64::try_from(LOOSE.as_millis()).unwrap_or(u64::MAX);
        self.handles.forget_loose(Boottime::from_millis(now.as_millis().saturating_sub(loose)));
    }

    /// The end of a login is no event: it is told like one.
    fn cut_expired(&mut self, now: Timestamp) {
        for handle in self.handles.expired(now) {
            let Some(held) = self.handles.get_mut(&handle) else { continue };
            held.expires_at = None;
            let (on, why) = (held.on.clone(), crate::plane::Denial::Ended("expired"));
            for stream in on {
                let cut = vec![Ended { handle, why: Some((&why).into()), quarantine: false }];
                self.tell(stream, News::Reduced { cut, void: Vec::new() });
            }
        }
    }
}

impl LocalStream {
    fn tell(&self, reach: &Reach, reduction: &Arc<Reduction>) {
        let mut told = self.told.lock();
        told.n += 1;
        told.reach.merge(reach.clone());
        self.pending.lock().push((told.n, reduction.clone()));
        self.news.notify_one();
    }

    /// Waits for news: what was reached since the last time, and the number of the line up to which that is.
    pub(in crate::server) async fn next(&self) -> (u64, Reach) {
        loop {
            {
                let mut told = self.told.lock();
                if !told.reach.is_nothing() {
                    return (told.n, std::mem::take(&mut told.reach));
                }
            }
            self.news.notified().await;
        }
    }
}

impl Default for Anchor {
    fn default() -> Self {
        Self { seq: Seq(0), hash: Digest::default() }
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
