//! What a gateway counts of its stream.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::lease::Boottime;
use crate::plane::WatchFigures;

/// Counters since the start.
#[derive(Default)]
pub(super) struct Figures {
    resyncs: AtomicU64,
    lapses: AtomicU64,
    cut: AtomicU64,
    lapsed: AtomicU64,
    /// Streams and calls that were ended by a lapse, not yet said to the control plane.
    unsaid: AtomicU64,
    stream: Mutex<OfStream>,
}

/// What is counted of the open stream.
#[derive(Default)]
struct OfStream {
    /// When the ping was sent that was answered last.
    word: Option<Boottime>,
    /// When each line came that is not done yet, oldest first.
    undone: VecDeque<Boottime>,
}

impl Figures {
    pub(super) fn resyncs(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }

    /// A ping that was sent at a moment is answered.
    pub(super) fn heard(&self, sent: Boottime) {
        self.stream.lock().word = Some(sent);
    }

    /// A line came that takes something away.
    pub(super) fn told(&self) {
        self.stream.lock().undone.push_back(Boottime::now());
    }

    /// The oldest of them is done.
    pub(super) fn done(&self) {
        self.stream.lock().undone.pop_front();
    }

    /// The stream is over: nobody waits for what is not done.
    pub(super) fn lost(&self) {
        *self.stream.lock() = OfStream::default();
    }

    pub(super) fn cut(&self, inside: u64) {
        self.cut.fetch_add(inside, Ordering::Relaxed);
    }

    pub(super) fn lapsed(&self, callers: usize, inside: usize) {
        self.lapses.fetch_add(callers as u64, Ordering::Relaxed);
        self.lapsed.fetch_add(inside as u64, Ordering::Relaxed);
        self.unsaid.fetch_add(inside as u64, Ordering::Relaxed);
    }

    pub(super) fn take_lapsed(&self) -> u64 {
        self.unsaid.swap(0, Ordering::Relaxed)
    }

    pub(super) fn shown(&self, held: usize) -> WatchFigures {
        let stream = self.stream.lock();
        let now = Boottime::now();
        let since = |moment: &Boottime| u64::try_from(now.since(*moment).as_millis()).unwrap_or(u64::MAX);
        WatchFigures {
            lease_age_ms: stream.word.as_ref().map(since),
            lag_ms: stream.undone.front().map_or(0, since),
            held: held as u64,
            resyncs: self.resyncs.load(Ordering::Relaxed),
            lapses: self.lapses.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
            lapsed: self.lapsed.load(Ordering::Relaxed),
            refused: false,
        }
    }
}
