//! OpenTelemetry traces: a span for each request and each call to a server, sent over OTLP where somebody says where to.
//!
//! Without `OTEL_EXPORTER_OTLP_ENDPOINT` there is no [`Tracer`], and nothing is made or allocated. What a span says is less
//! than the audit log says of a request: never an argument, a result, a token, an address of a resource, or a text that a
//! client chose freely. Nobody waits for a collector: what it does not take in time is dropped and counted.
mod context;
mod export;
pub mod json;
mod proto;
mod sampler;
mod settings;
mod span;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use context::{NoContext, Parent, TRACEPARENT, TRACESTATE, TraceContext};
pub use export::Figures;
pub use sampler::Sampler;
pub use settings::{BadVariable, Form, Settings};
pub use span::{Attribute, Place, Span, SpanKind};

use export::Queue;

/// How long the last spans are sent for when a program stops.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// Makes spans and hands them over to be sent.
pub struct Tracer {
    queue: Queue,
    sampler: Sampler,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

impl Tracer {
    /// What became of the spans so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.queue.figures()
    }

    pub(super) fn put(&self, span: Span) {
        self.queue.put(span);
    }

    pub(super) const fn sampler(&self) -> Sampler {
        self.sampler
    }
}

/// The task that sends spans.
pub struct Traces {
    tracer: Arc<Tracer>,
    stop: CancellationToken,
    sending: JoinHandle<()>,
}

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A variable can't be followed.
    #[error(transparent)]
    Variable(#[from] BadVariable),
    /// A certificate can't be read.
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE names no file with certificates in PEM")]
    Certificate,
    /// There is no HTTP client to be had.
    #[error("there is no HTTP client to send them with")]
    Http(#[source] reqwest::Error),
}

impl Traces {
    /// Starts to send spans if the environment says where to. Whoever can't be followed there is told on the log, and the
    /// program serves without traces: they are no reason not to.
    #[must_use]
    pub fn from_environment(program: &str) -> Option<Self> {
        let settings = Settings::read(program, |name| std::env::var(name).ok()).map_err(TracesError::from);
        let started = settings.and_then(|settings| settings.map(Self::start).transpose());
        started.unwrap_or_else(|error| {
            tracing::error!(%error, "no traces are sent");
            None
        })
    }

    /// Starts to send spans.
    ///
    /// # Errors
    /// When the certificates can't be read, or there is no HTTP client to be had.
    pub fn start(settings: Settings) -> Result<Self, TracesError> {
        let stop = CancellationToken::new();
        let sampler = settings.sampler;
        let (queue, sending) = export::start(settings, stop.clone())?;
        Ok(Self { tracer: Arc::new(Tracer { queue, sampler }), stop, sending: tokio::spawn(sending) })
    }

    /// What makes spans.
    #[must_use]
    pub fn tracer(&self) -> Arc<Tracer> {
        self.tracer.clone()
    }

    /// Sends what waits, for three seconds at most.
    pub async fn finish(self) {
        self.stop.cancel();
        if self.sending.await.is_err() {
            tracing::error!("sending traces ended early: this is a bug in mcpctl");
        }
    }
}
