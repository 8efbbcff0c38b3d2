//! Figures in the text format of Prometheus (OpenMetrics): counted where they arise, looked up when asked for.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mcpctl_core::kinds::Kind;
use mcpctl_core::object::Object;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::app::App;
use super::audit::open_tails;
use super::clock;
use super::evidence::LogName;
use super::revocation::RevocationFigures;
use super::traces;
use crate::upstream::{HealthState, live_children};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Label of requests that meet no route: their paths are the callers' to choose, and so no label.
const NO_ROUTE: &str = "none";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: String,
}

/// What is counted as it happens.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    /// Figures of revocation.
    pub revocations: RevocationFigures,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            revocations: RevocationFigures::default(),
        }
    }
}

/// From half a millisecond to 8 s.
fn histogram() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.0005, 4.0, 8))
}

impl Metrics {
    /// Counts an answer. The route is a pattern of the router, the method one of HTTP's own: both are few.
    pub fn answered(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let labels = Answered { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&Route { route: route.to_owned() }).observe(seconds);
    }

    /// All figures as text.
    #[must_use]
    pub fn text(&self, now: Figures) -> String {
        let mut registry = Registry::with_prefix("mcpctl");
        registry.register("http_requests", "Requests answered", self.requests.clone());
        registry.register(
            "http_request_seconds",
            "From the head of a request to the head of its answer",
            self.seconds.clone(),
        );
        self.revocations.register(&mut registry);
        registry.register_collector(Box::new(now));
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

/// One figure that is looked up when asked for.
#[derive(Clone, Copy, Debug)]
pub enum Figure {
    /// It only grows.
    Total(&'static str, &'static str, f64),
    /// It goes up and down.
    Level(&'static str, &'static str, f64),
}

/// The figures of a moment.
#[derive(Clone, Debug, Default)]
pub struct Figures(pub Vec<Figure>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        for figure in &self.0 {
            match *figure {
                Figure::Total(name, help, value) => write(&mut encoder, name, help, &ConstCounter::new(value))?,
                Figure::Level(name, help, value) => write(&mut encoder, name, help, &ConstGauge::new(value))?,
            }
        }
        Ok(())
    }
}

fn write(encoder: &mut DescriptorEncoder, name: &str, help: &str, metric: &impl EncodeMetric) -> std::fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

fn unhealthy(app: &App, state: &State) -> usize {
    let unwell = |object: &&Arc<Object>| {
        app.fleet.health(object.meta.uid).is_some_and(|health| health.state == HealthState::Unhealthy)
    };
    state.all(Kind::Server).filter(unwell).count()
}

/// Looks all figures of a control plane up.
#[expect(clippy::cast_precision_loss, reason = "a figure is read by a person or a graph")]
fn look(app: &App) -> Figures {
    use Figure::{Level, Total};
    let (state, writer, audit) = (app.published.load(), app.writer.figures(), app.audit.figures());
    let (streams, handles) = app.hub.held();
    let total = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let age = clock::now().since(state.last_at()) as f64 / 1e3;
    Figures(vec![
        Level("log_head", "Seq of the newest event", state.seq().0 as f64),
        Total("log_events", "Events appended since the start", total(&writer.events)),
        Total("log_syncs", "Batches made durable since the start", total(&writer.syncs)),
        Total("log_append_seconds", "Time spent in append and sync since the start", total(&writer.append_us) / 1e6),
        Level("log_writable", "1 when the log takes writes", f64::from(u8::from(writer.broken.lock().is_none()))),
        Level(
            "log_signed",
            "Size of the newest signed checkpoint",
            app.evidence.newest().map_or(0, |signed| signed.checkpoint.size) as f64,
        ),
        Level(
            "log_unaltered",
            "0 when the log is not the one that was signed before",
            f64::from(u8::from(app.evidence.alarm().is_none())),
        ),
        Level(
            "log_witnessed",
            "Size of the newest checkpoint with the cosignatures that the policy asks for",
            app.witnesses.witnessed(LogName::Config) as f64,
        ),
        Level(
            "log_witness_refusals",
            "Witnesses that refuse one of our logs now: they saw another one",
            app.witnesses.alarms().len() as f64,
        ),
        Level(
            "log_witnesses_silent",
            "Witnesses that did not answer when last asked",
            app.witnesses.silent().len() as f64,
        ),
        Level(
            "audit_signed",
            "Size of the newest signed checkpoint of the audit log",
            app.audit_evidence.newest().map_or(0, |signed| signed.checkpoint.size) as f64,
        ),
        Level(
            "audit_unaltered",
            "0 when the audit log is not the one that was signed before",
            f64::from(u8::from(app.audit_evidence.alarm().is_none())),
        ),
        Level("snapshot_age_seconds", "Time since the newest event that the published state holds", age),
        Level("objects", "Objects in the published state", state.len() as f64),
        Level("gateways", "Streams of gateways that are open", streams as f64),
        Level("watch_handles", "Accesses that gateways were told of", handles as f64),
        Level("children", "Child processes that run", live_children() as f64),
        Level("servers_unhealthy", "Servers that are left alone because they fail", unhealthy(app, &state) as f64),
        Total("audit_entries", "Audit entries written since the start", audit.appended as f64),
        Total("audit_refused", "Audit entries that could not be written since the start", audit.failed as f64),
        Level("audit_tails", "Streams of the audit log that are open", open_tails() as f64),
        Level(
            "audit_unindexed",
            "Parts of the audit log that queries must read through, because their index is not made yet",
            audit.index.missing as f64,
        ),
        Total("audit_looked", "Audit entries that queries read since the start", audit.looked as f64),
        Level("audit_head", "Position of the newest audit entry", audit.head.0 as f64),
        Level(
            "audit_unsynced",
            "Audit entries that a power cut would lose now",
            (audit.head.0 - audit.durable.0.min(audit.head.0)) as f64,
        ),
    ])
}

/// Answers `GET /metrics`.
pub(super) async fn page(Shared(app): Shared<Arc<App>>) -> Response {
    let mut figures = look(&app);
    figures.0.extend(traces::figures(&app));
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.metrics.text(figures)).into_response()
}

/// Counts every request.
pub(super) async fn count(Shared(app): Shared<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH") => known.to_owned(),
        _ => "OTHER".to_owned(),
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let route = route.as_deref().unwrap_or(NO_ROUTE);
    app.metrics.answered(&method, route, response.status().as_u16(), began.elapsed().as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_what_was_counted_and_what_was_looked_up() {
        let metrics = Metrics::default();
        metrics.answered("GET", "/api/v1/servers", 200, 0.001);
        metrics.answered("GET", "/api/v1/servers", 200, 0.1);
        metrics.answered("POST", "/api/v1/servers", 409, 0.1);
        let text =
            metrics.text(Figures(vec![Figure::Total("log_events", "x", 7.0), Figure::Level("log_head", "y", 9.0)]));
        for line in [
            r#"mcpctl_http_requests_total{method="GET",route="/api/v1/servers",status="200"} 2"#,
            r#"mcpctl_http_requests_total{method="POST",route="/api/v1/servers",status="409"} 1"#,
            r#"mcpctl_http_request_seconds_count{route="/api/v1/servers"} 3"#,
            "mcpctl_log_events_total 7",
            "mcpctl_log_head 9",
            "# TYPE mcpctl_log_head gauge",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    }
}
