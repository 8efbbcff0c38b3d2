//! What a gateway counts of its stream.
use std::sync::atomic::{AtomicU64, Ordering};

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
}

impl Figures {
    pub(super) fn resyncs(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
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
        WatchFigures {
            held: held as u64,
            resyncs: self.resyncs.load(Ordering::Relaxed),
            lapses: self.lapses.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
            lapsed: self.lapsed.load(Ordering::Relaxed),
        }
    }
}
