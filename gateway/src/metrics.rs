//! Counters and gauges of the gateway, as Prometheus reads them at `/metrics`. No label holds what a client chose freely.
use std::time::Duration;

use mcpctl_api::otel::Figures;
use mcpctl_api::plane::WatchFigures;
use mcpctl_api::upstream::trace::METHODS;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Labels of a request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfServer {
    server: String,
}

/// All of them.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Histogram,
    left_out: Family<OfServer, Gauge>,
    missing: Family<OfServer, Counter>,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Legacy sessions that are open.
    pub(crate) sessions: Gauge,
    /// Streams to clients that are open besides those of calls.
    pub(crate) streams: Gauge,
    /// Calls that wait for their client to come back with answers.
    pub(crate) held: Gauge,
    /// Messages to clients that were dropped because they did not read.
    pub(crate) dropped: Counter,
    /// Refusals of requests without a well-formed token.
    pub(crate) anonymous: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut all = Self {
            registry: Registry::with_prefix("mcpctl_gateway"),
            requests: Family::default(),
            seconds: Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0]),
            left_out: Family::default(),
            missing: Family::default(),
            connections: Gauge::default(),
            sessions: Gauge::default(),
            streams: Gauge::default(),
            held: Gauge::default(),
            dropped: Counter::default(),
            anonymous: Counter::default(),
        };
        let r = &mut all.registry;
        r.register("requests", "Requests by method and outcome", all.requests.clone());
        r.register("request_seconds", "From the first byte parsed to the answer", all.seconds.clone());
        r.register("servers_left_out", "1 while lists are made without the server", all.left_out.clone());
        r.register("servers_missing", "Lists that were made without the server", all.missing.clone());
        r.register("connections", "Connections that are open", all.connections.clone());
        r.register("sessions", "Sessions of legacy clients that are open", all.sessions.clone());
        r.register("streams", "Streams to clients besides those of calls", all.streams.clone());
        r.register("calls_held", "Calls that wait for their client's answers", all.held.clone());
        r.register("messages_dropped", "Messages to clients that did not read them", all.dropped.clone());
        r.register("anonymous_refusals", "Requests without a well-formed token", all.anonymous.clone());
        all
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(&self, method: &str, outcome: &'static str, took: Duration) {
        let request = Request { method: known(method), outcome };
        self.requests.get_or_create(&request).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Notes whether lists are made without a server for now.
    pub(crate) fn left_out(&self, server: &str, out: bool) {
        self.left_out.get_or_create(&OfServer { server: server.to_owned() }).set(i64::from(out));
    }

    /// Counts a list that was made without a server.
    pub(crate) fn missing(&self, server: &str) {
        self.missing.get_or_create(&OfServer { server: server.to_owned() }).inc();
    }

    /// The page for Prometheus, with what is known of the word by which this gateway serves, and of spans.
    pub(crate) fn page(&self, watch: WatchFigures, spans: Option<Figures>) -> String {
        let mut page = String::new();
        let mut looked_up = Registry::with_prefix("mcpctl_gateway");
        looked_up.register_collector(Box::new(LookedUp(watch, spans)));
        text::encode_registry(&mut page, &self.registry).expect("writing to a string does not fail");
        text::encode(&mut page, &looked_up).expect("writing to a string does not fail");
        page
    }
}

/// Figures that are looked up when asked for.
#[derive(Debug)]
struct LookedUp(WatchFigures, Option<Figures>);

impl Collector for LookedUp {
    #[expect(clippy::cast_precision_loss, reason = "a figure is read by a person or a graph")]
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Self(watch, spans) = self;
        let mut total = |name, help, value: u64| write(&mut encoder, name, help, &ConstCounter::new(value));
        total(
            "watch_resyncs",
            "Streams to the control plane that began anew because something was missed",
            watch.resyncs,
        )?;
        total(
            "watch_lease_misses",
            "Accesses that ended because the control plane was not heard in time",
            watch.lapses,
        )?;
        total("watch_cut_streams", "Calls and streams that a revocation ended", watch.cut)?;
        total("watch_lapsed_streams", "Calls and streams that a lapsed lease ended", watch.lapsed)?;
        if let Some(spans) = spans {
            total("spans_exported", "Spans that the collector took", spans.exported)?;
            total("spans_crowded_out", "Spans that were dropped because too many waited", spans.crowded_out)?;
            let help = "Spans that were dropped because the collector did not take them";
            total("spans_undelivered", help, spans.undelivered)?;
        }
        let mut level = |name, help, value: f64| write(&mut encoder, name, help, &ConstGauge::new(value));
        if let Some(spans) = spans {
            level("spans_waiting", "Spans that wait to be sent", spans.waiting as f64)?;
        }
        level("watch_held", "Accesses that are held", watch.held as f64)?;
        let help = "1 while nobody is served because the log of the control plane is not the one that was seen before";
        level("control_plane_refused", help, f64::from(u8::from(watch.refused)))?;
        let lag = watch.lag_ms as f64 / 1e3;
        level("watch_lag_seconds", "For how long a revocation was told and is not done", lag)?;
        if let Some(age) = watch.lease_age_ms {
            let help = "How old the word of the control plane is by which is served; absent without a stream";
            level("watch_lease_age_seconds", help, age as f64 / 1e3)?;
        }
        Ok(())
    }
}

fn write(encoder: &mut DescriptorEncoder, name: &str, help: &str, metric: &impl EncodeMetric) -> std::fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

/// The method as a label: clients may send any text.
fn known(method: &str) -> &'static str {
    const BESIDES: [&str; 5] = ["ping", "GET", "POST", "DELETE", "batch"];
    METHODS.into_iter().chain(BESIDES).find(|name| *name == method).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_a_client_made_up_becomes_no_label() {
        let metrics = Metrics::new();
        metrics.answered("canary/method", "error", Duration::from_millis(1));
        metrics.answered("tasks/get", "ok", Duration::from_millis(1));
        metrics.left_out("everything", true);
        let watch =
            WatchFigures { held: 3, lapses: 2, lease_age_ms: Some(150), refused: true, ..WatchFigures::default() };
        assert!(!metrics.page(watch, None).contains("spans"), "nobody collects them");
        let page = metrics.page(watch, Some(Figures { crowded_out: 7, ..Figures::default() }));
        for line in [
            "mcpctl_gateway_watch_held 3.0",
            "mcpctl_gateway_control_plane_refused 1.0",
            "mcpctl_gateway_watch_lease_misses_total 2",
            "mcpctl_gateway_watch_lease_age_seconds 0.15",
            "mcpctl_gateway_spans_crowded_out_total 7",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        assert!(page.ends_with("# EOF\n") && page.matches("# EOF").count() == 1);
        assert!(!page.contains("canary") && page.contains("method=\"other\""), "{page}");
        assert!(page.contains("method=\"tasks/get\""), "{page}");
        assert!(page.contains("mcpctl_gateway_servers_left_out{server=\"everything\"} 1"), "{page}");
    }
}
