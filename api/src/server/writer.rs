//! The one writer: decide and authorize in the same critical section, append, make durable, fold, publish, answer.
//!
//! It takes what is queued, decides each command against the state as it will be, and syncs once for all of them.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcpctl_core::actor::Actor;
use mcpctl_core::command::{Command, Outcome};
use mcpctl_core::ids::{RequestId, Seq};
use mcpctl_core::log::{EventLog, LogError};
use mcpctl_core::object::Object;
use mcpctl_core::record::AuditAnchor;
use mcpctl_core::refusal::Refusal;
use mcpctl_projections::State;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::auth::Authenticated;
use super::group::Group;
use super::process::chain;
use super::published::Published;
use super::revocation::Hub;

/// How often a log that takes no writes is tried again.
const RECOVER_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between two events that say where the audit log stands.
const ANCHOR_EVERY: Duration = Duration::from_secs(1);
/// Commands that may wait; one more waits outside, up to [`QUEUE_WAIT`].
const QUEUE: usize = 1024;
/// Most commands, or batches of commands, that share one sync.
const GROUP_MAX: usize = 256;
/// A group that has so many records takes no further command.
const GROUP_RECORDS_MAX: usize = 4096;
/// How long a command may wait for its place in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(2);
/// How long a command may wait for its answer once queued.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A command, and who gives it.
pub struct Submission {
    /// What to do.
    pub command: Command,
    /// By whose rights: from the credential, never from the request body.
    pub caller: Actor,
    /// The identity of the credential, when it acts as `caller`, a service account.
    pub impersonator: Option<Actor>,
    /// Makes a retry harmless.
    pub request: Option<RequestId>,
}

impl Submission {
    /// A command of one who acts as itself.
    #[must_use]
    pub const fn of(caller: Actor, command: Command) -> Self {
        Self { command, caller, impersonator: None, request: None }
    }

    /// A command of an authenticated caller.
    #[must_use]
    pub fn by(caller: &Authenticated, command: Command, request: Option<RequestId>) -> Self {
        Self { command, caller: caller.actor.clone(), impersonator: caller.impersonator.clone(), request }
    }

    /// The identity of the credential.
    pub(super) fn credential(&self) -> &Actor {
        self.impersonator.as_ref().unwrap_or(&self.caller)
    }
}

/// What became of a command.
#[derive(Clone, Debug)]
pub struct Committed {
    /// What became of the object.
    pub outcome: Outcome,
    /// Seq of its last event, or of the state when nothing changed.
    pub seq: Seq,
    /// The object after it (before it, for a deletion).
    pub object: Option<Arc<Object>>,
    /// The object before it.
    pub before: Option<Arc<Object>>,
    /// Other objects that changed with it.
    pub also: Vec<String>,
    /// It was done before, by the same request.
    pub repeated: bool,
    /// It may have taken access away: it is not to be answered before that is dead everywhere.
    pub reduces: bool,
}

/// Why a command was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// It was decided against.
    #[error("{refusal}")]
    Refused {
        /// Which of the commands given together, counted from 0.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// The log takes no writes.
    #[error("the log takes no writes: {0}")]
    ReadOnly(String),
    /// Too much is queued, or the writer is gone.
    #[error("the control plane is too busy to take the change: try again in a moment")]
    Busy,
    /// It was queued, and there is no answer.
    #[error("there is no answer from the log yet: the change may or may not be made")]
    NoAnswer,
    /// Deciding it failed in a way that must not happen.
    #[error("deciding the change failed, and nothing was changed: this is a bug in mcpctl")]
    Bug,
}

/// What commands given together come to: all of them, or none.
pub(super) type Answered = Result<Vec<Committed>, WriteError>;
/// Commands that follow from the state which those before them would leave.
pub(super) type Following = Box<dyn FnOnce(&State) -> Vec<Submission> + Send>;

/// Commands that are done together or not at all.
pub(super) struct Job {
    pub(super) submissions: Vec<Submission>,
    pub(super) following: Option<Following>,
    pub(super) dry_run: bool,
    pub(super) reason: Option<String>,
    pub(super) reply: oneshot::Sender<Answered>,
}

/// What the writer is sent.
pub(super) enum Message {
    Do(Job),
    Due,
    Anchor,
    Recover,
}

/// The way to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Message>,
    figures: Arc<Figures>,
}

/// Figures for `/metrics` and `status`.
#[derive(Default)]
pub struct Figures {
    /// Events appended since the start.
    pub events: AtomicU64,
    /// Syncs since the start.
    pub syncs: AtomicU64,
    /// Microseconds spent in append and sync since the start.
    pub append_us: AtomicU64,
    /// Why the log takes no writes, if it does not.
    pub broken: parking_lot::Mutex<Option<String>>,
}

/// The thread that writes; joined on shutdown.
pub struct WriterThread {
    thread: std::thread::JoinHandle<()>,
}

impl WriterThread {
    /// Waits until the writer has answered all and closed the log. Every [`Writer`] must be gone before.
    pub fn join(self) {
        let _ = self.thread.join();
    }
}

impl Writer {
    /// Starts the writer on a log whose records are folded into `published` already.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(log: Box<dyn EventLog>, published: Published, hub: Arc<Hub>) -> std::io::Result<(Self, WriterThread)> {
        Self::start_anchoring(log, published, hub, Box::new(|| None))
    }

    /// The same, with word of where the audit log stands, as it was signed last: events say so, at most once a second.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start_anchoring(
        log: Box<dyn EventLog>,
        published: Published,
        hub: Arc<Hub>,
        audit: AuditStands,
    ) -> std::io::Result<(Self, WriterThread)> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let figures = Arc::new(Figures::default());
        let room = Room { log, published, hub, figures: figures.clone(), audit, anchored: None };
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || room.run(jobs))?;
        Ok((Self { queue, figures }, WriterThread { thread }))
    }

    /// Figures since the start.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Does one command.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn submit(&self, submission: Submission) -> Result<Committed, WriteError> {
        self.send(vec![submission], None, false).await?.pop().ok_or(WriteError::Busy)
    }

    /// Does several commands, all or none.
    ///
    /// # Errors
    /// See [`WriteError`]; then none is done.
    pub async fn submit_all(&self, submissions: Vec<Submission>) -> Result<Vec<Committed>, WriteError> {
        self.send(submissions, None, false).await
    }

    /// Does several commands, and those that follow from the state which they would leave: all or none.
    ///
    /// # Errors
    /// See [`WriteError`]; then none is done.
    pub async fn submit_then(
        &self,
        submissions: Vec<Submission>,
        following: impl FnOnce(&State) -> Vec<Submission> + Send + 'static,
    ) -> Result<Vec<Committed>, WriteError> {
        self.send(submissions, Some(Box::new(following)), false).await
    }

    /// Decides a command and appends nothing.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn dry_run(&self, submission: Submission) -> Result<Committed, WriteError> {
        self.send(vec![submission], None, true).await?.pop().ok_or(WriteError::Busy)
    }

    /// Decides several commands, each against what the ones before it would leave, and appends nothing.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn dry_run_all(&self, submissions: Vec<Submission>) -> Result<Vec<Committed>, WriteError> {
        self.send(submissions, None, true).await
    }

    /// Has the writer try the disk again, as long as the log takes no writes, until stopped.
    pub(super) async fn keep_writable(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RECOVER_EVERY) => {}
            }
            let broken = self.figures.broken.lock().is_some();
            if broken {
                let _ = self.queue.send_timeout(Message::Recover, QUEUE_WAIT).await;
            }
        }
    }

    /// Has the writer look for events that are due.
    pub(super) async fn look_for_due(&self) {
        let _ = self.queue.send_timeout(Message::Due, QUEUE_WAIT).await;
    }

    /// Has the writer say where the audit log stands, by an event of its own if need be.
    pub(super) async fn anchor(&self) {
        let _ = self.queue.send_timeout(Message::Anchor, QUEUE_WAIT).await;
    }

    /// Does the commands that follow from the state of the moment, all or none, and writes down what for.
    ///
    /// # Errors
    /// See [`WriteError`]; then none is done.
    pub async fn submit_for(
        &self,
        reason: String,
        following: impl FnOnce(&State) -> Vec<Submission> + Send + 'static,
    ) -> Result<Vec<Committed>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let (following, reason): (Option<Following>, _) = (Some(Box::new(following)), Some(reason));
        self.ask(Job { submissions: Vec::new(), following, dry_run: false, reason, reply }, answer).await
    }

    async fn send(&self, submissions: Vec<Submission>, following: Option<Following>, dry_run: bool) -> Answered {
        let (reply, answer) = oneshot::channel();
        self.ask(Job { submissions, following, dry_run, reason: None, reply }, answer).await
    }

    async fn ask(&self, job: Job, answer: oneshot::Receiver<Answered>) -> Answered {
        let job = Message::Do(job);
        self.queue.send_timeout(job, QUEUE_WAIT).await.map_err(|_| WriteError::Busy)?;
        match tokio::time::timeout(ANSWER_WAIT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(WriteError::NoAnswer),
        }
    }
}

/// Where the audit log stands, as it was signed last.
pub type AuditStands = Box<dyn Fn() -> Option<AuditAnchor> + Send>;

/// What the writing thread owns.
struct Room {
    log: Box<dyn EventLog>,
    published: Published,
    hub: Arc<Hub>,
    figures: Arc<Figures>,
    audit: AuditStands,
    /// When that was written down last.
    anchored: Option<Instant>,
}

impl Room {
    fn run(mut self, mut jobs: mpsc::Receiver<Message>) {
        while let Some(first) = jobs.blocking_recv() {
            if matches!(first, Message::Recover) {
                self.recover();
                continue;
            }
            let state = (*self.published.load()).clone();
            let anchor = self.anchor(&state);
            let mut group = Group::on(state, self.published.clock().clone()).anchored(anchor);
            group.take(first);
            for _ in 1..GROUP_MAX {
                let full = group.records().len() >= GROUP_RECORDS_MAX;
                let Some(next) = (!full).then(|| jobs.try_recv().ok()).flatten() else { break };
                group.take(next);
            }
            self.commit(group);
        }
    }

    /// Where the audit log stands, when that is to be written down.
    fn anchor(&self, state: &State) -> Option<AuditAnchor> {
        if self.anchored.is_some_and(|last| last.elapsed() < ANCHOR_EVERY) {
            return None;
        }
        (self.audit)().filter(|anchor| state.anchored().is_none_or(|(_, last)| anchor.size != last.size))
    }

    fn commit(&mut self, mut group: Group) {
        if group.records().is_empty() {
            return group.answer();
        }
        let began = Instant::now();
        if let Err(error) = self.log.append(group.records()) {
            return self.fail(group, &error);
        }
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.figures.append_us.fetch_add(took, Ordering::Relaxed);
        self.figures.syncs.fetch_add(1, Ordering::Relaxed);
        self.figures.events.fetch_add(group.records().len() as u64, Ordering::Relaxed);
        *self.figures.broken.lock() = None;
        if group.state().anchored() != self.published.load().anchored() {
            self.anchored = Some(began);
        }
        self.published.publish(Arc::new(group.state().clone()));
        let reductions = group.reductions();
        self.hub.committed(group.state(), reductions);
        group.answer();
    }

    /// What failed was not appended: once the log is sure of its end and has space again, writing goes on.
    fn recover(&mut self) {
        let recovered = self.log.recover();
        let mut broken = self.figures.broken.lock();
        match recovered {
            Ok(()) if broken.is_some() => {
                tracing::info!("the log takes writes again");
                *broken = None;
            }
            Ok(()) => {}
            Err(error) => *broken = Some(chain(&error)),
        }
    }

    /// Nothing of the group became true: the state is thrown away with it.
    fn fail(&self, group: Group, error: &LogError) {
        let why = chain(error);
        tracing::error!(%why, "the log takes no writes");
        *self.figures.broken.lock() = Some(why.clone());
        group.answer_failed(&WriteError::ReadOnly(why));
    }
}
