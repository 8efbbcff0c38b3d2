//! The one writer: decide and authorize in the same critical section, append, make durable, fold, publish, answer.
//!
//! It takes what is queued, decides each command against the state as it will be, and syncs once for all of them.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcpctl_core::actor::Actor;
use mcpctl_core::command::{self, Asking, Command, Draft, Outcome, Place};
use mcpctl_core::ids::{RequestId, Seq, Uid};
use mcpctl_core::log::{EventLog, LogError, LogReader};
use mcpctl_core::object::Object;
use mcpctl_core::record::{Record, StoredRecord};
use mcpctl_core::refusal::{Refusal, Violation};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use tokio::sync::{mpsc, oneshot};

use super::clock;
use super::published::Published;

/// Commands that may wait; one more waits outside, up to [`QUEUE_WAIT`].
const QUEUE: usize = 1024;
/// Most commands that share one sync.
const GROUP_MAX: usize = 256;
/// How long a command may wait for its place in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(2);
/// How long a command may wait for its answer once queued.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A command, and who gives it.
pub struct Submission {
    /// What to do.
    pub command: Command,
    /// Whose command: from the credential, never from the request body.
    pub caller: Actor,
    /// Makes a retry harmless.
    pub request: Option<RequestId>,
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
    /// Other objects that changed with it.
    pub also: Vec<String>,
    /// It was done before, by the same request.
    pub repeated: bool,
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
}

struct Job {
    submissions: Vec<Submission>,
    dry_run: bool,
    reply: oneshot::Sender<Result<Vec<Committed>, WriteError>>,
}

enum Message {
    Do(Job),
    Due,
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
    pub fn start(log: Box<dyn EventLog>, published: Published) -> std::io::Result<(Self, WriterThread)> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let figures = Arc::new(Figures::default());
        let room = Room { log, published, figures: figures.clone() };
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
        self.send(vec![submission], false).await?.pop().ok_or(WriteError::Busy)
    }

    /// Does several commands, all or none.
    ///
    /// # Errors
    /// See [`WriteError`]; then none is done.
    pub async fn submit_all(&self, submissions: Vec<Submission>) -> Result<Vec<Committed>, WriteError> {
        self.send(submissions, false).await
    }

    /// Decides a command and appends nothing.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn dry_run(&self, submission: Submission) -> Result<Committed, WriteError> {
        self.send(vec![submission], true).await?.pop().ok_or(WriteError::Busy)
    }

    /// Decides several commands, each against what the ones before it would leave, and appends nothing.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn dry_run_all(&self, submissions: Vec<Submission>) -> Result<Vec<Committed>, WriteError> {
        self.send(submissions, true).await
    }

    /// Has the writer look for events that are due.
    pub(super) async fn look_for_due(&self) {
        let _ = self.queue.send_timeout(Message::Due, QUEUE_WAIT).await;
    }

    async fn send(&self, submissions: Vec<Submission>, dry_run: bool) -> Result<Vec<Committed>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let job = Message::Do(Job { submissions, dry_run, reply });
        self.queue.send_timeout(job, QUEUE_WAIT).await.map_err(|_| WriteError::Busy)?;
        match tokio::time::timeout(ANSWER_WAIT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(WriteError::Busy),
        }
    }
}

/// What the writing thread owns.
struct Room {
    log: Box<dyn EventLog>,
    published: Published,
    figures: Arc<Figures>,
}

/// A group of commands that share one sync: the state as it will be, and what waits for it.
struct Group {
    state: State,
    records: Vec<StoredRecord>,
    waiting: Vec<(oneshot::Sender<Result<Vec<Committed>, WriteError>>, Vec<Committed>)>,
}

impl Room {
    fn run(mut self, mut jobs: mpsc::Receiver<Message>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = Group { state: (*self.published.load()).clone(), records: Vec::new(), waiting: Vec::new() };
            group.take(first, &*self.log.reader());
            for _ in 1..GROUP_MAX {
                let Ok(next) = jobs.try_recv() else { break };
                group.take(next, &*self.log.reader());
            }
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Group) {
        if !group.records.is_empty() {
            let began = Instant::now();
            if let Err(error) = self.log.append(&group.records) {
                return self.fail(group, &error);
            }
            let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.figures.append_us.fetch_add(took, Ordering::Relaxed);
            self.figures.syncs.fetch_add(1, Ordering::Relaxed);
            self.figures.events.fetch_add(group.records.len() as u64, Ordering::Relaxed);
            *self.figures.broken.lock() = None;
            self.published.publish(Arc::new(group.state));
        }
        for (reply, committed) in group.waiting {
            let _ = reply.send(Ok(committed));
        }
    }

    /// Nothing of the group became true: the state is thrown away with it.
    fn fail(&self, group: Group, error: &LogError) {
        let why = error_chain(error);
        tracing::error!(%why, "the log takes no writes");
        *self.figures.broken.lock() = Some(why.clone());
        for (reply, _) in group.waiting {
            let _ = reply.send(Err(WriteError::ReadOnly(why.clone())));
        }
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Group {
    fn take(&mut self, message: Message, log: &dyn LogReader) {
        match message {
            Message::Due => self.take_due(),
            Message::Do(job) => self.take_job(job, log),
        }
    }

    fn take_job(&mut self, job: Job, _log: &dyn LogReader) {
        let (state, records) = (self.state.clone(), self.records.len());
        let mut done = Vec::with_capacity(job.submissions.len());
        for (index, submission) in job.submissions.iter().enumerate() {
            match self.one(submission) {
                Ok(committed) => done.push(committed),
                Err(refusal) => {
                    self.state = state;
                    self.records.truncate(records);
                    let _ = job.reply.send(Err(WriteError::Refused { index, refusal }));
                    return;
                }
            }
        }
        if job.dry_run {
            self.state = state;
            self.records.truncate(records);
            let _ = job.reply.send(Ok(done));
        } else {
            self.waiting.push((job.reply, done));
        }
    }

    fn one(&mut self, submission: &Submission) -> Result<Committed, Refusal> {
        if let Some(before) = self.repeated(submission) {
            return Ok(before);
        }
        let now = clock::now().max(self.state.last_at());
        let asking = Asking { caller: &submission.caller, now, random: u128::from_be_bytes(clock::random()) };
        let decided = command::decide(&self.state, &asking, &submission.command)?;
        let gone = self.state.by_uid(decided.object).cloned();
        let mut also = Vec::new();
        for draft in &decided.drafts {
            if draft.object != decided.object {
                also.push(format!("{}/{} {}", draft.kind, draft.name, draft.event.event));
            }
            self.append(draft, now, &submission.caller, submission.request.as_ref())?;
        }
        Ok(Committed {
            outcome: decided.outcome,
            seq: self.state.seq(),
            object: self.state.by_uid(decided.object).cloned().or(gone),
            also,
            repeated: false,
        })
    }

    /// A request that was done before, by the same actor, is answered and not done again.
    fn repeated(&self, submission: &Submission) -> Option<Committed> {
        let (first, last) = self.state.request(submission.caller.uid, submission.request.as_ref()?)?;
        let command = &submission.command;
        let project =
            command.project.as_ref().and_then(|name| self.state.by_name(mcpctl_core::kinds::Kind::Project, None, name));
        let uid = self.state.uids_named(command.kind, project.map(|p| p.meta.uid), &command.name).pop()?;
        let created = self.state.object_at(uid, Seq(first.0 - 1)).is_none();
        let after = self.state.object_at(uid, last);
        let outcome = match (&after, created) {
            (None, _) => Outcome::Deleted,
            (Some(_), true) => Outcome::Created,
            (Some(_), false) => Outcome::Changed,
        };
        let object = after.or_else(|| self.state.object_at(uid, Seq(first.0 - 1)));
        Some(Committed { outcome, seq: last, object, also: Vec::new(), repeated: true })
    }

    fn append(
        &mut self,
        draft: &Draft,
        now: Timestamp,
        actor: &Actor,
        request: Option<&RequestId>,
    ) -> Result<(), Refusal> {
        let place = Place {
            seq: self.state.seq().next(),
            id: clock::event_id(now),
            at: now,
            prev: self.state.head(),
            actor,
            request,
        };
        let record = Record { header: draft.header(place), payload: draft.event.payload.clone() };
        let invalid = |message: String| Refusal::Invalid(vec![Violation { field: String::new(), message, hint: None }]);
        let stored = record.store().map_err(|error| invalid(error.to_string()))?;
        self.state.fold(&record, stored.hash).map_err(|error| invalid(error.to_string()))?;
        self.records.push(stored);
        Ok(())
    }

    /// Appends every event whose moment has come. A batch of them is bounded; the rest is found at the next look.
    fn take_due(&mut self) {
        let now = clock::now().max(self.state.last_at());
        let actor = Actor::system("expiry");
        for _ in 0..GROUP_MAX {
            let Some((_, uid)) = self.state.next_due().filter(|(at, _)| *at <= now) else { return };
            let Some(draft) = self.due_draft(uid, now) else { return };
            if let Err(error) = self.append(&draft, now, &actor, None) {
                tracing::error!(%error, "an event that is due can't be appended");
                return;
            }
        }
    }

    fn due_draft(&self, uid: Uid, now: Timestamp) -> Option<Draft> {
        command::due(&self.state, self.state.by_uid(uid)?, now)
    }
}
