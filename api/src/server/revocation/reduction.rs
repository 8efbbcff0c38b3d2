//! One taking away of access, from its commit until everybody who served by it has stopped.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcpctl_core::ids::Seq;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::figures::RevocationFigures;
use crate::client::stream_wire::Handle;
use crate::lease::Boottime;

pub use crate::wire::Fenced;

/// Somebody who may still serve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited {
    /// The stream that must say that it is done; nothing for one that was told and has opened no stream.
    pub(super) stream: Option<Handle>,
    /// When its lease has run out by this machine's clock; nothing for the plane of this process, which needs no lease.
    pub(super) until: Option<Boottime>,
    /// Whether it counts as a gateway.
    pub(super) gateway: bool,
    /// When it said so.
    pub(super) done: Option<Boottime>,
}

/// Access that was taken away by the events of one commit.
pub(super) struct Reduction {
    pub(super) seq: Seq,
    pub(super) committed: Boottime,
    began: Instant,
    waited: Mutex<Vec<Waited>>,
    cut: AtomicU64,
    settled: AtomicBool,
    changed: Notify,
}

/// How far it has come.
pub(super) enum Progress {
    /// Everybody has stopped.
    Over,
    /// Somebody has not, whose lease ends then.
    Until(Boottime),
    /// Only the plane of this process has not.
    Here,
}

impl Reduction {
    pub(super) fn new(seq: Seq, committed: Boottime, waited: Vec<Waited>) -> Self {
        Self {
            seq,
            committed,
            began: Instant::now(),
            waited: Mutex::new(waited),
            cut: AtomicU64::new(0),
            settled: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// A stream has done what it was told. Answers whether everybody has now.
    pub(super) fn done(&self, stream: Handle, cut: u64) -> bool {
        let now = Boottime::now();
        self.cut.fetch_add(cut, Ordering::Relaxed);
        let mut waited = self.waited.lock();
        let open = |waited: &&mut Waited| waited.stream == Some(stream) && waited.done.is_none();
        let open = waited.iter_mut().find(open);
        let first = open.map(|waited| waited.done = Some(now)).is_some();
        let all = waited.iter().all(|waited| waited.done.is_some());
        drop(waited);
        self.changed.notify_waiters();
        first && all
    }

    pub(super) fn progress(&self, now: Boottime) -> Progress {
        let waited = self.waited.lock();
        let open = || waited.iter().filter(|waited| waited.done.is_none());
        match open().filter_map(|waited| waited.until).filter(|until| *until > now).max() {
            Some(until) => Progress::Until(until),
            None if open().any(|waited| waited.until.is_none()) => Progress::Here,
            None => Progress::Over,
        }
    }

    /// Waits until everybody has stopped. Ends, because leases do, unless the plane of this process hangs.
    pub(super) async fn over(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Boottime::now();
            match self.progress(now) {
                Progress::Over => return,
                Progress::Here => changed.await,
                Progress::Until(until) => {
                    let _ = tokio::time::timeout(until.since(now) + Duration::from_millis(1), changed).await;
                }
            }
        }
    }

    /// Says whether a stream counts as a gateway.
    pub(super) fn counts(&self, stream: Handle, gateway: bool) {
        let mut waited = self.waited.lock();
        waited.iter_mut().filter(|waited| waited.stream == Some(stream)).for_each(|waited| waited.gateway = gateway);
    }

    /// Counts it, once, when it is over.
    pub(super) fn settle(&self, figures: &RevocationFigures) {
        if self.settled.swap(true, Ordering::AcqRel) {
            return;
        }
        let waited = self.waited.lock();
        let missed = waited.iter().filter(|waited| waited.done.is_none());
        let ran_out = missed.clone().filter_map(|waited| waited.until).max();
        figures.lease_misses.inc_by(missed.count() as u64);
        let took = ran_out.map_or_else(|| self.began.elapsed(), |until| until.since(self.committed));
        figures.seconds.observe(took.as_secs_f64());
    }

    /// What is to be said of it.
    pub(super) fn report(&self, into: &mut Fenced) {
        let waited = self.waited.lock();
        for waited in waited.iter().filter(|waited| waited.gateway) {
            into.gateways += 1;
            match waited.done {
                Some(at) => {
                    into.acked += 1;
                    into.acked_ms = into.acked_ms.max(millis(at.since(self.committed)));
                }
                None => into.lease_expired += 1,
            }
        }
        into.streams_closed += self.cut.load(Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Handle = Handle([1; 16]);

    fn of(until: Option<Boottime>) -> Reduction {
        let waited = Waited { stream: Some(STREAM), until, gateway: true, done: None };
        Reduction::new(Seq(7), Boottime::now(), vec![waited])
    }

    #[tokio::test]
    async fn it_is_over_when_the_stream_is_done_and_not_before() {
        let far = Boottime::from_millis(Boottime::now().as_millis() + 60_000);
        let reduction = of(Some(far));
        assert!(tokio::time::timeout(Duration::from_millis(30), reduction.over()).await.is_err(), "nobody is done");
        assert!(!reduction.done(Handle([2; 16]), 0), "that was somebody else");
        assert!(reduction.done(STREAM, 3));
        reduction.over().await;
        let mut said = Fenced::default();
        reduction.report(&mut said);
        assert_eq!((said.gateways, said.acked, said.lease_expired, said.streams_closed), (1, 1, 0, 3));
    }

    #[tokio::test]
    async fn a_stream_that_says_nothing_is_waited_for_until_its_lease_has_run_out() {
        let until = Boottime::from_millis(Boottime::now().as_millis() + 60);
        let reduction = of(Some(until));
        reduction.over().await;
        assert!(Boottime::now() >= until);
        let mut said = Fenced::default();
        reduction.report(&mut said);
        assert_eq!((said.acked, said.lease_expired), (0, 1));
    }

    #[tokio::test]
    async fn the_plane_of_this_process_is_always_waited_for() {
        let reduction = of(None);
        assert!(tokio::time::timeout(Duration::from_millis(30), reduction.over()).await.is_err());
        reduction.done(STREAM, 0);
        reduction.over().await;
    }
}
