//! The control plane as a whole: opens its data folder, starts its parts, serves, and stops without leaving anything behind.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mcpctl_core::log::{EventLog, LogError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::App;
use super::audit::{ARGUMENTS_KEY, AuditLog};
use super::clock::Clock;
use super::data_folder::{self, FolderError};
use super::effects::password::Passwords;
use super::effects::sealed_store::{SealError, SealedStore};
use super::evidence::witnesses::Witnesses;
use super::evidence::{Evidence, EvidenceError, Heads, LogName};
use super::plane_local::LocalPlane;
use super::published::Published;
use super::rate_limit::RateLimits;
use super::recovery::{Recovery, RecoveryError};
use super::revocation::Hub;
use super::router::router;
use super::snapshot::{self, Snapshots, this_program};
use super::start::open_log;
use super::tools::{KeptDefinitions, Noticing};
use super::writer::{Writer, WriterThread};
use super::{anchoring, audit, embedded, health, listener, metrics, oidc, prepare, reconcile};
use crate::otel::Tracer;
use crate::upstream::{Fleet, FleetLimits};

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
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// There is no way in for somebody at the machine.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The evidence tree can't be used, or says that the log lacks records.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
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
    snapshots: Arc<Snapshots>,
    noticing: Arc<Noticing>,
    /// The log's folder.
    log: PathBuf,
}

impl ControlPlane {
    /// Opens the data folder and starts everything but the listener.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(data: &Path) -> Result<Self, OpenError> {
        Self::open_with(data, Clock::Wall, |log| log).await
    }

    /// The same by a clock, and with something put around the log: a disk that fails, in tests.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_with(
        data: &Path,
        clock: Clock,
        around: impl FnOnce(Box<dyn EventLog>) -> Box<dyn EventLog>,
    ) -> Result<Self, OpenError> {
        data_folder::prepare(data)?;
        let sealed = Arc::new(SealedStore::open(data)?);
        let key = sealed.derive(snapshot::KEY);
        let snapshots = Arc::new(Snapshots::new(data.join("snapshot"), key, this_program()));
        let (log, state) = open_log(&data.join("log"), &snapshots)?;
        let recovery = Recovery::open(data)?;
        let shredded = sealed.shred_all_but(&prepare::live_commitments(&state))?;
        if shredded > 0 {
            tracing::info!(shredded, "shredded sealed values that the log does not speak of");
        }
        let audit = Arc::new(AuditLog::open(&data.join("audit"), sealed.derive(ARGUMENTS_KEY))?);
        if let Some(erased) = audit.finish_erasure()? {
            tracing::info!(entries = erased.entries, "an erasure that was broken off is finished");
        }
        let metrics = metrics::Metrics::default();
        let hub = Arc::new(Hub::new(&state, metrics.revocations.clone()));
        let anchored = state.anchored();
        let published = Published::new(state).by_clock(clock);
        let reader = log.reader();
        let origin = std::env::var("MCPD_LOG_ORIGIN").ok().filter(|origin| !origin.is_empty());
        let evidence = Arc::new(Evidence::open(data, origin.as_deref(), reader.clone())?);
        let audit_evidence = Arc::new(Evidence::open_audit(data, evidence.key(), audit.clone(), anchored)?);
        let state_evidence = Arc::new(Evidence::open_state(data, evidence.key(), reader.clone(), published.clone())?);
        let audit_stands = audit_evidence.clone();
        let audit_stands = Box::new(move || audit_stands.anchor());
        let writer = Writer::start_anchoring(around(Box::new(log)), published.clone(), hub.clone(), audit_stands);
        let (writer, writer_thread) = writer.map_err(OpenError::Thread)?;
        let unusable = |source| FolderError::Unusable { path: data.join("definitions"), source };
        let definitions = Arc::new(KeptDefinitions::open(&data.join("definitions")).map_err(unusable)?);
        let noticing = Arc::new(Noticing::new(definitions.clone()));
        let limits = FleetLimits { work_folder: Some(data.join("work")), ..FleetLimits::default() };
        let fleet = Arc::new(Fleet::watched(limits, noticing.clone()));
        let plane = Arc::new(LocalPlane::new(published.clone(), fleet.clone(), audit.clone()));
        let stop = CancellationToken::new();
        let app = Arc::new(App {
            passwords: Passwords::new(sealed.clone()),
            idle: plane.idle().clone(),
            oidc: std::sync::OnceLock::new(),
            tracer: std::sync::OnceLock::new(),
            stop: stop.clone(),
            limits: RateLimits::default(),
            metrics,
            hub,
            log: reader,
            evidence,
            audit_evidence,
            state_evidence,
            witnesses: Arc::new(Witnesses::of(data)),
            published,
            writer,
            sealed,
            audit,
            definitions,
            fleet,
            plane,
        });
        noticing.write_to(&app);
        let (tasks, log) = (TaskTracker::new(), data.join("log"));
        let control = Self { app, tasks, stop, writer_thread, snapshots, noticing, log };
        control.start_tasks(recovery);
        Ok(control)
    }

    /// The parts.
    #[must_use]
    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Lets people sign in at an OpenID Connect provider too. To be said before it serves.
    pub fn sign_in_at(&self, provider: oidc::Settings) {
        if self.app.oidc.set(oidc::Provider::new(provider)).is_err() {
            tracing::warn!("the identity provider was configured already");
        }
    }

    /// Makes spans of requests. To be said before it serves.
    pub fn trace_with(&self, tracer: Arc<Tracer>) {
        if self.app.tracer.set(tracer).is_err() {
            tracing::warn!("traces were configured already");
        }
    }

    /// Stops everything when cancelled.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    fn start_tasks(&self, recovery: Recovery) {
        let (app, stop) = (&self.app, &self.stop);
        self.tasks.spawn(embedded::keep_registered(app.clone(), stop.clone()));
        self.tasks.spawn(reconcile::follow(app.clone(), stop.clone()));
        self.tasks.spawn(health::record(app.clone(), stop.clone()));
        self.tasks.spawn(app.plane.clone().follow(app.hub.clone(), stop.clone()));
        self.tasks.spawn(app.hub.clone().keep(stop.clone()));
        // Before anything is served, so that no entry is written without knowing the values in use.
        let known = audit::learn(app, None);
        self.tasks.spawn(audit::keep_level(app.clone(), known, stop.clone()));
        self.tasks.spawn(audit::retain(app.clone(), stop.clone()));
        self.tasks.spawn(recovery.serve(app.clone(), stop.clone()));
        self.tasks.spawn(expire(app.clone(), stop.clone()));
        self.tasks.spawn(anchoring::keep(app.clone(), stop.clone()));
        for (log, heads) in [
            (LogName::Config, Heads::Config(app.published.follow())),
            (LogName::Audit, Heads::Audit(app.audit.follow())),
            (LogName::State, Heads::Config(app.published.follow())),
        ] {
            self.tasks.spawn(app.evidence_of(log).clone().follow(heads, stop.clone()));
        }
        self.tasks.spawn(app.witnesses.clone().follow(app.all_evidence(), stop.clone()));
        self.tasks.spawn(app.writer.clone().keep_writable(stop.clone()));
        self.tasks.spawn(snapshot::keep(self.snapshots.clone(), self.log.clone(), app.published.clone(), stop.clone()));
    }

    /// Serves the API until stopped, then lets running requests end, within a limit.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(&self, listener: TcpListener) -> std::io::Result<()> {
        listener::serve(listener, router(self.app.clone()), self.stop.clone(), DRAIN).await
    }

    /// Stops: servers first, then the tasks, then the log. Nothing is left running.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.app.fleet.stop_all().await;
        let _ = tokio::time::timeout(DRAIN, self.noticing.finish()).await;
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN, self.tasks.wait()).await;
        let last = self.app.published.clone();
        drop(self.app);
        let joined = tokio::task::spawn_blocking(move || {
            self.writer_thread.join();
            self.snapshots.close(&last.load());
        });
        let _ = tokio::time::timeout(DRAIN, joined).await;
    }
}

/// Has events appended when they are due (expiry): sleeps until the next, or until the state changes.
async fn expire(app: Arc<App>, stop: CancellationToken) {
    const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(60);
    const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
    let (mut states, mut clock, mut tried) = (app.published.follow(), app.published.clock().clone(), None);
    loop {
        let next = states.borrow_and_update().next_due().map(|(at, _)| at);
        let wait = next.map_or(LOOK_AT_LEAST_EVERY, |at| Duration::from_millis(at.since(app.published.now())));
        // What was due at the last look and still is could not be appended: it is tried again in a while.
        let wait = if next.is_some() && next == tried { LOOK_AGAIN_AFTER } else { wait };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
            () = clock.turned() => {}
            () = tokio::time::sleep(wait.min(LOOK_AT_LEAST_EVERY)), if next.is_some() => {
                tried = next.filter(|at| *at <= app.published.now());
                app.writer.look_for_due().await;
            }
        }
    }
}
