//! One server of the fleet: its open conversations, who owns them, and the task that keeps enough of them.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use mcpctl_core::kinds::FailureCause;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::conversation::Conversation;
use super::fleet::{FAILURES_MAX, FleetLimits, InstanceState, InstanceStatus};
use super::fleet_slots::{Closing, Owner, Slot, State};
use super::health::{Check, Health, ServerHealth, Transitions, cause_of};
use super::logs::{LogPen, LogSource, ServerLog};
use super::opening::Opening;
use super::watched::watched;
use super::{Era, Launch, ListTap, ServerPlan, Session, SessionKey, UpstreamError};

/// A wait for the end of a back-off that is shorter is waited out instead of refused.
const WAIT_OUT: Duration = Duration::from_millis(250);
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Longest time between two looks at what is idle.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// One server.
pub(super) struct Server {
    plan: ServerPlan,
    limits: Arc<FleetLimits>,
    log: Arc<ServerLog>,
    tap: Option<Arc<dyn ListTap>>,
    replicas: AtomicU32,
    sessions_max: AtomicU32,
    pub(super) state: Mutex<State>,
    pub(super) health: Arc<Health>,
    /// One opening at a time per key; `None` while the era is unknown, and for the modern era.
    flights: Mutex<HashMap<Option<SessionKey>, Arc<tokio::sync::Mutex<()>>>>,
    wake: Notify,
    /// No further conversation is opened.
    pub(super) retiring: CancellationToken,
    /// All conversations are closed.
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub(super) fn start(
        plan: ServerPlan,
        limits: Arc<FleetLimits>,
        log: Arc<ServerLog>,
        tap: Option<Arc<dyn ListTap>>,
        transitions: Transitions,
    ) -> Arc<Self> {
        let server = Arc::new(Self {
            health: Arc::new(Health::new(&plan.name, plan.check.clone(), transitions)),
            replicas: AtomicU32::new(plan.replicas),
            sessions_max: AtomicU32::new(plan.sessions_max.max(1)),
            plan,
            limits,
            log,
            tap,
            state: Mutex::default(),
            flights: Mutex::default(),
            wake: Notify::new(),
            retiring: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        server.tasks.spawn(server.clone().keep());
        server.tasks.spawn(server.clone().look_after());
        server
    }

    pub(super) fn name(&self) -> &str {
        &self.plan.name
    }

    pub(super) fn log(&self) -> &Arc<ServerLog> {
        &self.log
    }

    pub(super) fn same(&self, plan: &ServerPlan) -> bool {
        self.plan.revision == plan.revision && self.plan.name == plan.name
    }

    /// Puts what of a plan needs no restart in force.
    pub(super) fn adjust(&self, plan: &ServerPlan) {
        self.resize(plan.replicas, plan.sessions_max);
        self.set_check(&plan.check);
    }

    fn set_check(&self, check: &Check) {
        let now = self.health.check();
        let tool =
            |check: &Check| check.tool.as_ref().map(|(tool, arguments)| (tool.clone(), arguments.get().to_owned()));
        let same = (now.interval, now.timeout, now.failures_max) == (check.interval, check.timeout, check.failures_max);
        if !same || tool(&now) != tool(check) {
            self.health.set_check(check.clone());
        }
    }

    fn resize(&self, replicas: u32, sessions_max: u32) {
        self.replicas.store(replicas, Ordering::Relaxed);
        self.sessions_max.store(sessions_max.max(1), Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// The open conversation of this key, if there is one. This is the way of nearly every call.
    pub(super) fn open_one(&self, key: &SessionKey) -> Option<Arc<dyn Session>> {
        let mut state = self.state.lock();
        let slot = match state.era? {
            Era::Modern => {
                state.slots.iter().filter(|s| s.usable()).min_by_key(|s| s.conversation.activity().running())?
            }
            Era::Legacy => state.of_key(key)?,
        };
        slot.conversation.activity().touch();
        Some(slot.conversation.clone())
    }

    /// Opens the conversation of this key, unless it opens meanwhile. Goes on when the caller leaves: the next call of the
    /// same key, which is likely to come, then finds it open.
    pub(super) async fn session(self: &Arc<Self>, key: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        let (server, key) = (self.clone(), key.clone());
        let opened = self.tasks.spawn(async move { server.open_for(Some(&key)).await });
        opened.await.unwrap_or_else(|_| Err(self.unavailable("opening it failed: see the log of mcpctl".into())))
    }

    async fn open_for(self: &Arc<Self>, key: Option<&SessionKey>) -> Result<Arc<dyn Session>, UpstreamError> {
        loop {
            let era = self.state.lock().era;
            let flight_of = key.filter(|_| era == Some(Era::Legacy)).cloned();
            let flight = self.flights.lock().entry(flight_of.clone()).or_default().clone();
            let turn = flight.lock().await;
            if let Some(session) = self.already_open(key) {
                return Ok(session);
            }
            if self.state.lock().era != era {
                // It became known while we waited: keys need not wait for each other any more.
                continue;
            }
            let opened = self.open_now(key).await;
            drop(turn);
            let mut flights = self.flights.lock();
            // Ours and the table's: nobody else waits for this key.
            if Arc::strong_count(&flight) == 2 {
                flights.remove(&flight_of);
            }
            return opened;
        }
    }

    /// What another opened while we waited: for a key its conversation, for the keeper any, if there are enough.
    fn already_open(&self, key: Option<&SessionKey>) -> Option<Arc<dyn Session>> {
        match key {
            Some(key) => self.open_one(key),
            None if self.missing() > 0 => None,
            None => self.state.lock().slots.first().map(|slot| -> Arc<dyn Session> { slot.conversation.clone() }),
        }
    }

    async fn open_now(self: &Arc<Self>, key: Option<&SessionKey>) -> Result<Arc<dyn Session>, UpstreamError> {
        self.await_backoff().await?;
        let number = self.take_place().await?;
        let (era, limit) = {
            let state = self.state.lock();
            (state.era, if state.ever_opened { self.limits.handshake } else { self.limits.first_handshake })
        };
        let instance = self.instance(number);
        let opening = Opening {
            plan: &self.plan,
            instance: &instance,
            capabilities: key.and_then(|key| key.capabilities.clone()),
            era,
            limit,
            log: self.log.clone(),
            work_folder: self.limits.work_folder.as_deref(),
            tasks: &self.tasks,
        };
        let opened = tokio::select! {
            biased;
            () = self.retiring.cancelled() => Err(self.unavailable("it is being stopped".into())),
            opened = opening.open() => opened,
        };
        match opened {
            Ok(conversation) => Ok(self.opened(number, key, watched(conversation, self.plan.uid, self.tap.as_ref()))),
            Err(error) => Err(self.not_opened(number, error)),
        }
    }

    async fn await_backoff(&self) -> Result<(), UpstreamError> {
        let (left, error) = {
            let state = self.state.lock();
            (state.backoff.left(), state.last_error.clone())
        };
        if left <= WAIT_OUT {
            tokio::time::sleep(left).await;
            return Ok(());
        }
        let error = error.unwrap_or_else(|| "it failed".into());
        Err(self.unavailable(format!("{error}; next try in {:.1} s", left.as_secs_f32())))
    }

    /// Takes the number of a new instance; where all sessions are taken, the longest idle one makes room.
    async fn take_place(&self) -> Result<u32, UpstreamError> {
        let spared = {
            let mut state = self.state.lock();
            let limit = self.sessions_max.load(Ordering::Relaxed);
            if state.slots.len() + state.opening.len() < limit as usize {
                return Ok(state.take_number());
            }
            let Some(spared) = state.spare(self.limits.spare_after) else {
                return Err(UpstreamError::Busy { server: self.plan.name.clone(), limit });
            };
            (state.take_number(), spared)
        };
        let (number, spared) = spared;
        spared.close().await;
        Ok(number)
    }

    fn opened(
        self: &Arc<Self>,
        number: u32,
        key: Option<&SessionKey>,
        conversation: Arc<dyn Conversation>,
    ) -> Arc<dyn Session> {
        let era = conversation.handshake().era;
        let owner = match (era, key) {
            (Era::Modern, _) => Owner::Anyone,
            (Era::Legacy, None) => Owner::Nobody,
            (Era::Legacy, Some(key)) => Owner::Key(key.clone()),
        };
        conversation.activity().tell(&self.health);
        let (close, gone) = (self.stop.child_token(), CancellationToken::new());
        let watch = self.clone().watch(number, conversation.clone(), close.clone(), gone.clone());
        let mut state = self.state.lock();
        state.opening.remove(&number);
        state.era = Some(era);
        state.ever_opened = true;
        let session: Arc<dyn Session> = conversation.clone();
        let (since, opened) = (SystemTime::now(), Instant::now());
        conversation.activity().touch();
        let (probed, probes_failed) = (None, 0);
        state.slots.push(Slot { number, owner, conversation, since, opened, probed, probes_failed, close, gone });
        drop(state);
        self.health.answered();
        self.tasks.spawn(watch);
        session
    }

    fn not_opened(&self, number: u32, error: UpstreamError) -> UpstreamError {
        let words = match &error {
            UpstreamError::Unavailable { why, .. } => why.clone(),
            UpstreamError::Protocol { what, .. } => format!("it broke the protocol: {what}"),
            other => other.to_string(),
        };
        let mut state = self.state.lock();
        state.opening.remove(&number);
        state.numbers.remove(&number);
        if !self.retiring.is_cancelled() {
            state.failed(words.clone());
            if state.slots.is_empty() {
                // It may have been replaced by one of another generation.
                state.era = None;
            }
        }
        drop(state);
        if let Some(cause) = cause_of(&error).filter(|_| !self.retiring.is_cancelled()) {
            self.health.failed(cause, &words);
        }
        LogPen::new(self.log.clone(), &self.instance(number), [].into_iter()).write(LogSource::Event, &words);
        self.wake.notify_one();
        error
    }

    /// Owns the end of a conversation: it ends by itself, or is closed because its token is cancelled.
    async fn watch(
        self: Arc<Self>,
        number: u32,
        conversation: Arc<dyn Conversation>,
        close: CancellationToken,
        gone: CancellationToken,
    ) {
        let by_itself = tokio::select! {
            biased;
            () = close.cancelled() => None,
            why = conversation.closed() => Some(why),
        };
        // Closing what has ended frees what is left of it.
        conversation.close().await;
        let mut state = self.state.lock();
        let slot = state.slots.iter().position(|slot| slot.number == number).map(|at| state.slots.swap_remove(at));
        state.numbers.remove(&number);
        let failed = by_itself.clone().filter(|_| conversation.end_is_failure());
        if let Some(why) = by_itself {
            *state.restarts.entry(number).or_default() += 1;
            if let Some(slot) = slot {
                state.backoff.lived(slot.opened.elapsed());
            }
            state.failed(why);
        }
        drop(state);
        if let Some(why) = failed {
            self.health.failed(FailureCause::Gone, &why);
        }
        gone.cancel();
        self.wake.notify_one();
    }

    /// Keeps as many conversations as planned, and ends those that nobody uses.
    async fn keep(self: Arc<Self>) {
        while !self.retiring.is_cancelled() {
            let wait = self.tend().await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
                () = self.retiring.cancelled() => {}
            }
        }
    }

    /// One round; says how long nothing need be done.
    async fn tend(self: &Arc<Self>) -> Duration {
        let idle = self.state.lock().idle(self.limits.idle, self.warm() as usize);
        join_all(idle.iter().map(Closing::close)).await;
        let (missing, left) = (self.missing(), self.state.lock().backoff.left());
        if missing > 0 && left.is_zero() {
            // Its error is kept in the state.
            drop(self.open_for(None).await);
            return Duration::ZERO;
        }
        let wait = if missing > 0 { left } else { TEND_EVERY };
        wait.min((self.limits.idle / 4).max(DRAIN_POLL)).max(Duration::from_millis(1))
    }

    /// Conversations that the plan has and that are neither open nor being opened.
    fn missing(&self) -> u32 {
        let state = self.state.lock();
        let running = u32::try_from(state.slots.len() + state.opening.len()).unwrap_or(u32::MAX);
        self.warm().saturating_sub(running)
    }

    /// Conversations kept open: all replicas of a process, one for what is only reached.
    fn warm(&self) -> u32 {
        let replicas = self.replicas.load(Ordering::Relaxed).min(self.sessions_max.load(Ordering::Relaxed));
        match self.plan.launch {
            Launch::Stdio { .. } => replicas,
            Launch::Http { .. } | Launch::Sse { .. } => replicas.min(1),
        }
    }

    pub(super) async fn end(&self, key: &SessionKey) {
        self.end_where(|owner| owner == key).await;
    }

    /// Ends the conversations of some keys; answers how many.
    pub(super) async fn end_where(&self, which: impl Fn(&SessionKey) -> bool) -> usize {
        let mine = self.state.lock().closing(|slot| matches!(&slot.owner, Owner::Key(owner) if which(owner)));
        join_all(mine.iter().map(Closing::close)).await;
        mine.len()
    }

    /// Lets running calls end within the drain limit, then closes everything and waits until nothing is left.
    pub(super) async fn retire(&self) {
        self.retiring.cancel();
        let busy = || self.state.lock().slots.iter().any(|slot| slot.conversation.activity().running() > 0);
        let deadline = Instant::now() + self.limits.drain;
        while busy() && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Has everything closed without waiting for it.
    pub(super) fn abandon(&self) {
        self.retiring.cancel();
        self.stop.cancel();
    }

    /// How it is.
    pub(super) fn health(&self) -> ServerHealth {
        self.health.now()
    }

    pub(super) fn instance(&self, number: u32) -> String {
        format!("{}-{number}", self.plan.name)
    }

    fn unavailable(&self, why: String) -> UpstreamError {
        UpstreamError::Unavailable { server: self.plan.name.clone(), why }
    }

    pub(super) fn instances(&self) -> Vec<InstanceStatus> {
        let state = self.state.lock();
        let mut all: Vec<_> = state.slots.iter().map(|slot| self.status_of(&state, slot)).collect();
        let starting = state.opening.iter().map(|(number, since)| InstanceStatus {
            state: InstanceState::Starting,
            since: *since,
            ..self.status(&state, *number)
        });
        all.extend(starting);
        if all.is_empty()
            && let Some(since) = state.failed_at
        {
            let failed = state.backoff.failures() >= FAILURES_MAX;
            let now = if failed { InstanceState::Failed } else { InstanceState::Backoff };
            all.push(InstanceStatus { state: now, since, ..self.status(&state, 0) });
        }
        all
    }

    fn status_of(&self, state: &State, slot: &Slot) -> InstanceStatus {
        let said = slot.conversation.handshake();
        let now = if slot.close.is_cancelled() { InstanceState::Stopped } else { InstanceState::Running };
        InstanceStatus {
            state: now,
            pid: slot.conversation.pid(),
            era: Some(said.era),
            protocol_version: Some(said.version.clone()),
            since: slot.since,
            ..self.status(state, slot.number)
        }
    }

    fn status(&self, state: &State, number: u32) -> InstanceStatus {
        InstanceStatus {
            name: self.instance(number),
            server: self.plan.uid,
            server_name: self.plan.name.clone(),
            state: InstanceState::Starting,
            pid: None,
            era: state.era,
            protocol_version: None,
            since: SystemTime::UNIX_EPOCH,
            restarts: state.restarts.get(&number).copied().unwrap_or(0),
            last_error: state.last_error.clone(),
        }
    }
}
