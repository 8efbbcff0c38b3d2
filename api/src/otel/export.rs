//! The way of spans to a collector: a bounded queue, batches, some patience, and a count of what was lost.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{FLUSH_WITHIN, Form, Settings, Span, TracesError, json, proto};

/// What the spans are made by.
pub(super) const SCOPE: &str = "mcpctl";
/// How often a batch is offered.
const TRIES_MAX: u32 = 5;
/// Wait before a batch is offered again; doubled each time.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Longest wait that a collector may ask for.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What became of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Taken by the collector.
    pub exported: u64,
    /// Dropped because too many waited.
    pub crowded_out: u64,
    /// Dropped because the collector did not take them.
    pub undelivered: u64,
    /// Wait to be sent.
    pub waiting: u64,
}

#[derive(Default)]
struct Counts {
    exported: AtomicU64,
    crowded_out: AtomicU64,
    undelivered: AtomicU64,
}

/// Takes spans, and never waits.
pub(super) struct Queue {
    spans: mpsc::Sender<Span>,
    batch_max: usize,
    /// Told when there is enough for a batch.
    enough: Arc<Notify>,
    counts: Arc<Counts>,
}

impl Queue {
    /// Hands a span over, or drops it.
    pub(super) fn put(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.counts.crowded_out.fetch_add(1, Ordering::Relaxed);
        } else if self.waiting() >= self.batch_max {
            self.enough.notify_one();
        }
    }

    fn waiting(&self) -> usize {
        self.spans.max_capacity() - self.spans.capacity()
    }

    pub(super) fn figures(&self) -> Figures {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures {
            exported: count(&self.counts.exported),
            crowded_out: count(&self.counts.crowded_out),
            undelivered: count(&self.counts.undelivered),
            waiting: self.waiting() as u64,
        }
    }
}

/// The queue, and the task that empties it until it is stopped.
pub(super) fn start(
    settings: Settings,
    stop: CancellationToken,
) -> Result<(Queue, impl Future<Output = ()> + Send + 'static), TracesError> {
    let (spans, waiting) = mpsc::channel(settings.waiting_max);
    let (enough, counts) = (Arc::<Notify>::default(), Arc::<Counts>::default());
    let queue = Queue { spans, batch_max: settings.batch_max, enough: enough.clone(), counts: counts.clone() };
    let sending = Sending { http: client(&settings)?, settings, waiting, enough, counts, stop, is_told: false };
    Ok((queue, sending.run()))
}

fn client(settings: &Settings) -> Result<reqwest::Client, TracesError> {
    let mut client = reqwest::Client::builder()
        .default_headers(settings.headers.clone())
        .user_agent(concat!("OTel-OTLP-Exporter-mcpctl/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(settings.timeout);
    if let Some(path) = &settings.certificate {
        let pem = std::fs::read(path).map_err(|_| TracesError::Certificate)?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| TracesError::Certificate)?;
        client = client.tls_certs_merge(certificates);
    }
    client.build().map_err(TracesError::Http)
}

struct Sending {
    http: reqwest::Client,
    settings: Settings,
    waiting: mpsc::Receiver<Span>,
    enough: Arc<Notify>,
    counts: Arc<Counts>,
    stop: CancellationToken,
    /// It was said that the collector takes nothing.
    is_told: bool,
}

/// What came of an offer.
enum Offered {
    Taken,
    /// It may be taken later.
    Later(String, Option<Duration>),
    Refused(String),
}

impl Sending {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(FLUSH_WITHIN).await;
        };
        tokio::select! {
            biased;
            () = self.work() => {}
            () = late => tracing::warn!("the collector of traces took too long at the end: the last spans are lost"),
        }
    }

    /// Sends batches until it is stopped, and then what still waits.
    async fn work(&mut self) {
        let mut batch = Vec::with_capacity(self.settings.batch_max);
        while self.gather(&mut batch).await {
            self.deliver(&batch).await;
            batch.clear();
        }
        self.waiting.close();
        loop {
            let room = self.settings.batch_max - batch.len();
            let taken = if room > 0 { self.waiting.recv_many(&mut batch, room).await } else { 0 };
            if taken > 0 && batch.len() < self.settings.batch_max {
                continue;
            }
            if batch.is_empty() {
                return;
            }
            self.deliver(&batch).await;
            batch.clear();
        }
    }

    /// Gathers a batch for as long as it may wait. `false` when it is stopped.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        let first = tokio::select! {
            biased;
            () = self.stop.cancelled() => return false,
            first = self.waiting.recv() => first,
        };
        let Some(first) = first else { return false };
        batch.push(first);
        let goes_on = tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(self.settings.delay) => true,
            // Said before and stale, it makes one batch a small one.
            () = self.enough.notified() => true,
        };
        while batch.len() < self.settings.batch_max {
            let Ok(span) = self.waiting.try_recv() else { break };
            batch.push(span);
        }
        goes_on
    }

    /// Offers a batch, more than once where that may help; once when the program stops.
    async fn deliver(&mut self, batch: &[Span]) {
        let count = batch.len() as u64;
        let body = bytes::Bytes::from(match self.settings.form {
            Form::Protobuf => proto::request(&self.settings, batch),
            Form::Json => json::request(&self.settings, batch),
        });
        let mut wait = AGAIN_AFTER;
        for again in 1..=TRIES_MAX {
            let (why, after) = match self.offer(body.clone(), count).await {
                Offered::Taken => return self.is_told = false,
                Offered::Later(why, after) if again < TRIES_MAX => (why, after),
                Offered::Later(why, _) | Offered::Refused(why) => return self.lose(count, &why),
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return self.lose(count, &why),
                () = tokio::time::sleep(after.unwrap_or(wait).min(AGAIN_AFTER_MAX)) => {}
            }
            wait *= 2;
        }
    }

    async fn offer(&self, body: bytes::Bytes, count: u64) -> Offered {
        let kind = match self.settings.form {
            Form::Protobuf => "application/x-protobuf",
            Form::Json => "application/json",
        };
        let request = self.http.post(self.settings.endpoint.clone()).header(CONTENT_TYPE, kind).body(body);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => return Offered::Later("it did not answer in time".to_owned(), None),
            Err(_) => return Offered::Later("it can't be reached".to_owned(), None),
        };
        let status = answer.status();
        if status.is_success() {
            let rejected = self.rejected(answer).await.min(count);
            self.counts.exported.fetch_add(count - rejected, Ordering::Relaxed);
            self.counts.undelivered.fetch_add(rejected, Ordering::Relaxed);
            return Offered::Taken;
        }
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let why = format!("it answered HTTP {status}");
        // OTLP/HTTP, failures: these and no others.
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Offered::Later(why, after.map(Duration::from_secs)),
            _ => Offered::Refused(why),
        }
    }

    /// A success may say that some spans were not wanted.
    async fn rejected(&self, mut answer: reqwest::Response) -> u64 {
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > ANSWER_BYTES_MAX {
                return 0;
            }
        }
        match self.settings.form {
            Form::Protobuf => proto::rejected(&text),
            Form::Json => json::rejected(&text),
        }
    }

    /// A failure is told once, until it goes well again.
    fn lose(&mut self, count: u64, why: &str) {
        self.counts.undelivered.fetch_add(count, Ordering::Relaxed);
        if !self.is_told {
            tracing::warn!(why, "the collector of traces takes no spans: they are dropped until it does");
        }
        self.is_told = true;
    }
}
