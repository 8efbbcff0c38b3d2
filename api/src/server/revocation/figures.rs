//! Figures of revocation for `/metrics`.
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Figures of revocation. Clones are the same figures.
#[derive(Clone)]
pub struct RevocationFigures {
    /// From the commit of an event that takes access away until the last gateway has stopped.
    pub(super) seconds: Histogram,
    /// Gateways that were waited for until their lease ran out.
    pub(super) lease_misses: Counter,
    /// Streams on which a gateway began anew because something was missed.
    pub(super) resyncs: Counter,
    /// Streams of gateways that were ended because they were not read, or did nothing of what they were told.
    pub(super) slow: Counter,
    /// Calls and streams to agents that were ended by a revocation.
    pub(super) cut: Counter,
    /// Calls and streams to agents that gateways ended because their lease ran out.
    pub(super) lapsed: Counter,
}

impl Default for RevocationFigures {
    fn default() -> Self {
        let buckets = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.81, 2.0];
        Self {
            seconds: Histogram::new(buckets),
            lease_misses: Counter::default(),
            resyncs: Counter::default(),
            slow: Counter::default(),
            cut: Counter::default(),
            lapsed: Counter::default(),
        }
    }
}

impl RevocationFigures {
    /// Adds them to what is shown.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry;
        r.register(
            "revocation_seconds",
            "From the commit of a revocation until the last gateway has stopped",
            self.seconds.clone(),
        );
        r.register(
            "revocation_lease_misses",
            "Gateways that were waited for until their lease ran out",
            self.lease_misses.clone(),
        );
        r.register(
            "revocation_resyncs",
            "Streams of gateways that began anew because something was missed",
            self.resyncs.clone(),
        );
        r.register(
            "revocation_slow_streams",
            "Streams of gateways that were cut because they lagged",
            self.slow.clone(),
        );
        r.register("revocation_cut_streams", "Calls and streams that a revocation ended", self.cut.clone());
        r.register("revocation_lapsed_streams", "Calls and streams that a lapsed lease ended", self.lapsed.clone());
    }
}
