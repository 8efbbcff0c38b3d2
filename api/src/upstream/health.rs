//! What is known of a server's health: its circuit, what failed last, when it was probed and when it is next.
//!
//! Who calls looks at one atomic flag on the way in and, when all is well, at another on the way out; everything else is
//! done only when something fails, or has just stopped failing.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mcpctl_core::kinds::FailureCause;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};

use super::UpstreamError;
use super::breaker::{Admitted, Asker, Breaker, Circuit, Evidence};

/// Failures of calls in a row that open the circuit.
pub const CALL_FAILURES_MAX: u32 = 5;
/// How long a server with nothing to probe is left alone.
const NOTHING_TO_PROBE: Duration = Duration::from_secs(2);

/// How a server is checked.
#[derive(Clone, Debug)]
pub struct Check {
    /// The tool that is called, with its arguments; without one its tools are listed.
    pub tool: Option<(Arc<str>, Box<RawValue>)>,
    /// Time between checks.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Failures in a row after which an instance is started again, and a server with a tool to check is unhealthy.
    pub failures_max: u32,
}

impl Default for Check {
    fn default() -> Self {
        Self { tool: None, interval: Duration::from_secs(30), timeout: Duration::from_secs(5), failures_max: 3 }
    }
}

impl Check {
    pub(super) const fn evidence(&self) -> Evidence {
        if self.tool.is_some() { Evidence::Check } else { Evidence::Traffic }
    }

    const fn threshold(&self) -> u32 {
        if self.tool.is_some() { self.failures_max } else { CALL_FAILURES_MAX }
    }

    /// In words, such as `tools/list every 30 s`.
    #[must_use]
    pub fn words(&self) -> String {
        let what = self.tool.as_ref().map_or_else(|| "tools/list".to_owned(), |(tool, _)| format!("tool {tool}"));
        format!("{what} every {} s", self.interval.as_secs())
    }
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// It has not been started or reached yet, and nothing failed.
    Unknown,
    /// It answers.
    Healthy,
    /// It failed last, but not often enough in a row to be left alone.
    Failing,
    /// It is left alone but for trials: whoever asks is answered at once.
    Unhealthy,
}

/// What a probe found.
#[derive(Clone, Debug)]
pub struct Probed {
    /// When it began.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Whether the server passed.
    pub passed: bool,
}

/// What went wrong last.
#[derive(Clone, Debug)]
pub struct LastFailure {
    /// When.
    pub at: SystemTime,
    /// What sort of failure: fit for the log.
    pub cause: FailureCause,
    /// In words, fit for whoever may see the server; parts may be the server's own.
    pub why: String,
}

/// The health of a server at a moment.
#[derive(Clone, Debug)]
pub struct ServerHealth {
    /// How it is.
    pub state: HealthState,
    /// Since when.
    pub since: SystemTime,
    /// Failures in a row.
    pub failures: u32,
    /// What went wrong last, also when all is well again.
    pub last_failure: Option<LastFailure>,
    /// The last probe.
    pub last_probe: Option<Probed>,
    /// When it is probed next, or tried while it is left alone.
    pub next_probe: Option<SystemTime>,
    /// How it is checked, in words.
    pub check: String,
    /// How often it became unhealthy or healthy again, since this process looks after it.
    pub transitions: u64,
}

/// Told when any server becomes unhealthy or healthy again.
pub(super) type Transitions = Arc<watch::Sender<u64>>;

/// The health of one server.
pub(super) struct Health {
    server: String,
    /// The circuit is closed: everybody asks.
    closed: AtomicBool,
    /// An answer to a call has nothing to mend.
    well: AtomicBool,
    known: Mutex<Known>,
    /// Something changed that the next probe depends on.
    pub(super) wake: Notify,
    transitions: Transitions,
}

struct Known {
    breaker: Breaker,
    check: Arc<Check>,
    answered: bool,
    since: SystemTime,
    last_failure: Option<LastFailure>,
    last_probe: Option<Probed>,
    /// The next probe of a server that is not left alone.
    next_probe: Instant,
    /// There was nothing to probe: it is not looked again before.
    not_before: Instant,
    transitions: u64,
}

impl Known {
    /// When a probe is due.
    fn due(&self) -> Instant {
        match self.breaker.circuit() {
            Circuit::Closed => self.next_probe,
            Circuit::Open { until } | Circuit::HalfOpen { until } => until.max(self.not_before),
        }
    }
}

impl Health {
    pub(super) fn new(server: &str, check: Check, transitions: Transitions) -> Self {
        // A declared check shall not let a broken server look well for long after its start.
        let first = if check.tool.is_some() { check.interval.min(NOTHING_TO_PROBE) } else { check.interval };
        Self {
            server: server.to_owned(),
            closed: AtomicBool::new(true),
            well: AtomicBool::new(false),
            known: Mutex::new(Known {
                breaker: Breaker::default(),
                check: Arc::new(check),
                answered: false,
                since: SystemTime::now(),
                last_failure: None,
                last_probe: None,
                next_probe: Instant::now() + first,
                not_before: Instant::now(),
                transitions: 0,
            }),
            wake: Notify::new(),
            transitions,
        }
    }

    /// Whether a caller may ask; the way of every call.
    pub(super) fn admit(&self) -> Result<(), UpstreamError> {
        if self.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut known = self.known.lock();
        match known.breaker.admit(Asker::Caller, Instant::now()) {
            Admitted::Yes | Admitted::Trial => Ok(()),
            Admitted::NotFor(wait) => {
                let last = known.last_failure.as_ref().map_or("it failed", |last| &last.why);
                let failures = known.breaker.failures();
                let why = format!(
                    "it failed {failures} times in a row, the last time because {last}; tried again in {:.1} s",
                    wait.as_secs_f32()
                );
                Err(UpstreamError::Unavailable { server: self.server.clone(), why })
            }
        }
    }

    /// Whether a probe may be made; begins a trial when the circuit is not closed.
    pub(super) fn admit_probe(&self) -> bool {
        let mut known = self.known.lock();
        !matches!(known.breaker.admit(Asker::Probe, Instant::now()), Admitted::NotFor(_))
    }

    /// A call was answered, or a conversation opened.
    pub(super) fn answered(&self) {
        if !self.well.load(Ordering::Relaxed) {
            self.change(|known| {
                known.answered = true;
                known.breaker.succeeded(Evidence::Traffic);
            });
        }
    }

    /// A call was not answered, or no conversation opened, because of the server.
    pub(super) fn failed(&self, cause: FailureCause, why: &str) {
        self.change(|known| {
            known.last_failure = Some(LastFailure { at: SystemTime::now(), cause, why: why.to_owned() });
            known.breaker.failed(Evidence::Traffic, CALL_FAILURES_MAX, Instant::now());
        });
    }

    /// A round of probes has ended: none of them failed, or one did.
    pub(super) fn probed(&self, probed: Probed, failure: Option<(FailureCause, String)>) {
        self.change(|known| {
            let (evidence, threshold, now) = (known.check.evidence(), known.check.threshold(), Instant::now());
            known.next_probe = now + known.check.interval;
            match failure {
                None => {
                    known.answered = true;
                    known.breaker.succeeded(evidence);
                }
                Some((cause, why)) => {
                    known.last_failure = Some(LastFailure { at: probed.at, cause, why });
                    known.breaker.failed(evidence, threshold, now);
                }
            }
            known.last_probe = Some(probed);
        });
    }

    /// Nothing was there to be probed.
    pub(super) fn nothing_to_probe(&self) {
        let mut known = self.known.lock();
        known.not_before = Instant::now() + known.check.interval.min(NOTHING_TO_PROBE);
        known.next_probe = known.next_probe.max(known.not_before);
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock();
        let (was, answered) = (known.breaker.circuit() == Circuit::Closed, known.answered);
        change(&mut known);
        let closed = known.breaker.circuit() == Circuit::Closed;
        if was != closed || answered != known.answered {
            known.since = SystemTime::now();
        }
        self.closed.store(closed, Ordering::Relaxed);
        self.well.store(closed && known.answered && known.breaker.failures() == 0, Ordering::Relaxed);
        if was != closed {
            known.transitions += 1;
            drop(known);
            self.transitions.send_modify(|count| *count += 1);
        }
        self.wake.notify_one();
    }

    pub(super) fn check(&self) -> Arc<Check> {
        self.known.lock().check.clone()
    }

    /// Puts another check in force. What the former one found does not count any more.
    pub(super) fn set_check(&self, check: Check) {
        self.change(|known| {
            known.next_probe = Instant::now() + check.interval.min(NOTHING_TO_PROBE);
            known.breaker.forget_checks();
            known.check = Arc::new(check);
        });
    }

    /// How long until the next probe.
    pub(super) fn until_probe(&self) -> Duration {
        self.known.lock().due().saturating_duration_since(Instant::now())
    }

    pub(super) fn now(&self) -> ServerHealth {
        let known = self.known.lock();
        let failures = known.breaker.failures();
        let state = match known.breaker.circuit() {
            Circuit::Open { .. } | Circuit::HalfOpen { .. } => HealthState::Unhealthy,
            Circuit::Closed if failures > 0 => HealthState::Failing,
            Circuit::Closed if known.answered => HealthState::Healthy,
            Circuit::Closed => HealthState::Unknown,
        };
        ServerHealth {
            state,
            since: known.since,
            failures,
            last_failure: known.last_failure.clone(),
            last_probe: known.last_probe.clone(),
            next_probe: Some(SystemTime::now() + known.due().saturating_duration_since(Instant::now())),
            check: known.check.words(),
            transitions: known.transitions,
        }
    }
}

/// What sort of failure an error is; `None` when it says nothing about the server.
pub(super) fn cause_of(error: &UpstreamError) -> Option<FailureCause> {
    match error {
        UpstreamError::Unavailable { .. } => Some(FailureCause::Unavailable),
        UpstreamError::TimedOut { .. } => Some(FailureCause::TimedOut),
        UpstreamError::Gone { .. } => Some(FailureCause::Gone),
        UpstreamError::Protocol { .. } => Some(FailureCause::Protocol),
        UpstreamError::Busy { .. } | UpstreamError::Unrecorded { .. } => None,
    }
}

/// Why, without the server's name: who reads it knows that.
pub(super) fn words_of(error: &UpstreamError) -> String {
    match error {
        UpstreamError::Unavailable { why, .. } => why.clone(),
        UpstreamError::TimedOut { seconds, .. } => format!("it did not answer within {seconds} s"),
        UpstreamError::Gone { .. } => "it went away during a call".to_owned(),
        UpstreamError::Protocol { what, .. } => format!("it broke the protocol: {what}"),
        other => other.to_string(),
    }
}
