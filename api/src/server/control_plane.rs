//! The control plane as a whole: opens its data folder, starts its parts, serves, and stops without leaving anything behind.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::log::durable::{DurableLog, OpenOptions};
use mcpctl_core::log::{EventLog as _, LogError};
use mcpctl_core::record::Record;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::{App, IdleLogins};
use super::audit::AuditLog;
use super::effects::password::Passwords;
use super::effects::sealed_store::{SealError, SealedStore};
use super::plane_local::LocalPlane;
use super::problem::{not_found, problem};
use super::published::Published;
use super::rate_limit::RateLimits;
use super::watch::ForGateways;
use super::writer::{Writer, WriterThread};
use super::{
    apply_all, audit, clock, embedded, instances, limits, login, metrics, objects, openapi, prepare, reconcile, tokens,
    watch,
};
use crate::upstream::{Fleet, FleetLimits};
use crate::wire::{AT_LEAST, REVISION};

/// Most bytes of a request body; a manifest is small.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a request may wait for a state that it asks for.
const AT_LEAST_WAIT: Duration = Duration::from_millis(500);
/// How long running requests may go on at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the control plane does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log does not open.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The sealed store does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The data folder can't be used.
    #[error("can't use the data folder {path}: choose another with --data-dir, or make it writable")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A thread can't be started.
    #[error("can't start a thread")]
    Thread(#[source] std::io::Error),
}

/// A running control plane.
pub struct ControlPlane {
    app: Arc<App>,
    tasks: TaskTracker,
    stop: CancellationToken,
    writer_thread: WriterThread,
}

impl ControlPlane {
    /// Opens the data folder and starts everything but the listener.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(data: &Path) -> Result<Self, OpenError> {
        make_private(data)?;
        let (log, state) = open_log(&data.join("log"))?;
        let sealed = Arc::new(SealedStore::open(data)?);
        let shredded = sealed.shred_all_but(&prepare::live_commitments(&state))?;
        if shredded > 0 {
            tracing::info!(shredded, "shredded sealed values that the log does not speak of");
        }
        let audit = Arc::new(AuditLog::open(&data.join("audit"), sealed.derive("mcpctl audit arguments 1"))?);
        let published = Published::new(state);
        let reader = log.reader();
        let (writer, writer_thread) = Writer::start(Box::new(log), published.clone()).map_err(OpenError::Thread)?;
        let fleet =
            Arc::new(Fleet::new(FleetLimits { work_folder: Some(data.join("work")), ..FleetLimits::default() }));
        let plane = Arc::new(LocalPlane::new(published.clone(), fleet.clone(), audit.clone()));
        let app = Arc::new(App {
            passwords: Passwords::new(sealed.clone()),
            idle: IdleLogins::default(),
            limits: RateLimits::default(),
            metrics: metrics::Metrics::default(),
            log: reader,
            published,
            writer,
            sealed,
            audit,
            fleet,
            plane,
        });
        let control = Self { app, tasks: TaskTracker::new(), stop: CancellationToken::new(), writer_thread };
        control.start_tasks();
        Ok(control)
    }

    /// The parts.
    #[must_use]
    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Stops everything when cancelled.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    fn start_tasks(&self) {
        let (app, stop) = (&self.app, &self.stop);
        self.tasks.spawn(embedded::keep_registered(app.clone(), stop.clone()));
        self.tasks.spawn(reconcile::follow(app.clone(), stop.clone()));
        self.tasks.spawn(app.plane.clone().follow(stop.clone()));
        self.tasks.spawn(expire(app.clone(), stop.clone()));
    }

    /// Serves the API until stopped, then lets running requests end, within a limit.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(&self, listener: TcpListener) -> std::io::Result<()> {
        let stop = self.stop.clone();
        let service = router(self.app.clone(), stop.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::select! {
            ended = serving.into_future() => ended,
            () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    }

    /// Stops: servers first, then the tasks, then the log. Nothing is left running.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.app.fleet.stop_all().await;
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN, self.tasks.wait()).await;
        drop(self.app);
        let joined = tokio::task::spawn_blocking(move || self.writer_thread.join());
        let _ = tokio::time::timeout(DRAIN, joined).await;
    }
}

fn make_private(data: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = |source| OpenError::Folder { path: data.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(folder)
}

/// Opens the log and folds it, in one reading.
fn open_log(dir: &Path) -> Result<(DurableLog, State), OpenError> {
    let mut state = State::default();
    let log = DurableLog::open(dir, OpenOptions::default(), &mut |seq, bytes| {
        let record = Record::load(bytes).map_err(|source| LogError::Record { seq, source })?;
        let folded = state.fold(&record, Digest::blake3(bytes));
        folded
            .map(drop)
            .map_err(|error| LogError::Index { what: format!("the event at seq {seq} does not fold: {error}") })
    })?;
    Ok((log, state))
}

/// Has events appended when they are due (expiry): sleeps until the next, or until the state changes.
async fn expire(app: Arc<App>, stop: CancellationToken) {
    const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(60);
    let mut states = app.published.follow();
    loop {
        let next = states.borrow_and_update().next_due().map(|(at, _)| at);
        let wait = next.map_or(LOOK_AT_LEAST_EVERY, |at| Duration::from_millis(at.since(clock::now())));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait.min(LOOK_AT_LEAST_EVERY)), if next.is_some() => app.writer.look_for_due().await,
        }
    }
}

/// Everything that the API port serves.
pub fn router(app: Arc<App>, stop: CancellationToken) -> Router {
    Router::new()
        .merge(objects::routes())
        .merge(apply_all::routes())
        .merge(login::routes())
        .merge(tokens::routes())
        .merge(instances::routes())
        .merge(audit::routes())
        .merge(watch::routes(ForGateways::new(app.plane.clone(), app.published.follow(), stop)))
        .layer(middleware::from_fn_with_state(app.clone(), limits::per_principal))
        .route("/healthz", get(health))
        .route("/health", get(health))
        .route("/metrics", get(metrics::page))
        .route("/openapi.json", get(openapi::page))
        .fallback(async || not_found("nothing is at this address").hint("see /openapi.json"))
        .method_not_allowed_fallback(async || {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "Method not allowed",
                "this address does not take this method",
            )
        })
        .layer(middleware::from_fn_with_state(app.clone(), metrics::count))
        .layer(middleware::from_fn_with_state(app.clone(), revision))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

async fn health(Shared(app): Shared<Arc<App>>) -> Response {
    let state = app.published.load();
    let broken = app.writer.figures().broken.lock().clone();
    let status = if broken.is_some() { "read-only" } else { "ok" };
    axum::Json(serde_json::json!({ "status": status, "seq": state.seq(), "version": env!("CARGO_PKG_VERSION") }))
        .into_response()
}

/// Waits for the state that a request asks for, and says from which one it was answered.
async fn revision(Shared(app): Shared<Arc<App>>, request: Request, next: Next) -> Response {
    let wanted = request.headers().get(AT_LEAST).and_then(|value| value.to_str().ok()?.parse::<Seq>().ok());
    if let Some(wanted) = wanted {
        let mut states = app.published.follow();
        let arrived = tokio::time::timeout(AT_LEAST_WAIT, states.wait_for(|state| state.seq() >= wanted)).await;
        if arrived.is_err() {
            let seq = app.published.load().seq();
            return problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "behind",
                "Not there yet",
                format!("the state is at seq {seq}, and {wanted} was asked for"),
            )
            .into_response();
        }
    }
    let mut response = next.run(request).await;
    let seq = app.published.load().seq();
    if let Ok(value) = HeaderValue::from_str(&seq.to_string()) {
        response.headers_mut().insert(REVISION, value);
    }
    response
}
