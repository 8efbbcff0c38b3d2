//! The circuit of a server: whether it is asked at all. A state machine that is told the time, so that tests can make it up.
//!
//! Closed, everybody asks. After enough failures in a row it is open: whoever asks is answered at once, and the server is
//! left alone for a while that doubles with every trial that fails. Then it is half open: one trial asks, and its outcome
//! closes or opens it. A trial that nobody ends (its caller went away) is over after [`TRIAL`], so that there is another.
use std::time::{Duration, Instant};

/// How long a circuit is open at first.
pub(super) const OPEN_FIRST: Duration = Duration::from_secs(1);
/// How long it is open at most.
pub(super) const OPEN_MAX: Duration = Duration::from_secs(30);
/// How long one trial may take before another is let through.
pub(super) const TRIAL: Duration = Duration::from_secs(15);
/// How long a probe has the trial to itself. Whoever calls may ask for something that the server can't do, and what they
/// fail at would keep the server from everybody else.
pub(super) const PROBE_FIRST: Duration = Duration::from_millis(500);

/// Who wants to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// Somebody who calls.
    Caller,
    /// A probe of ours.
    Probe,
}

/// What an outcome was learnt from. What is said by more closes what was opened by less, and not the other way round: a
/// server whose own check fails is unhealthy, however well other calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    /// Calls, openings, and probes of a server without a check of its own.
    Traffic,
    /// The check that its owner declared.
    Check,
}

/// Where the circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circuit {
    /// Everybody asks.
    Closed,
    /// Nobody asks before then.
    Open {
        /// When a trial may be made.
        until: Instant,
    },
    /// A trial is being made.
    HalfOpen {
        /// When another may be made.
        until: Instant,
    },
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Breaker {
    circuit: Circuit,
    /// Failures in a row, by the evidence.
    failures: [u32; 2],
    /// How long it is open the next time.
    period: Duration,
    /// By what it was opened.
    opened_by: Evidence,
}

/// Whether somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Yes, like everybody.
    Yes,
    /// Yes, as the trial.
    Trial,
    /// Not for so long.
    NotFor(Duration),
}

impl Default for Breaker {
    fn default() -> Self {
        Self { circuit: Circuit::Closed, failures: [0; 2], period: OPEN_FIRST, opened_by: Evidence::Traffic }
    }
}

impl Breaker {
    pub(super) const fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Failures in a row, of the evidence that has more of them.
    pub(super) fn failures(&self) -> u32 {
        self.failures[0].max(self.failures[1])
    }

    /// Whether somebody may ask now; a trial is begun by asking. What was opened by a check is tried by a check.
    pub(super) fn admit(&mut self, asker: Asker, now: Instant) -> Admitted {
        let (Circuit::Open { until } | Circuit::HalfOpen { until }) = self.circuit else { return Admitted::Yes };
        let from = if asker == Asker::Probe { until } else { until + PROBE_FIRST };
        if now < from {
            return Admitted::NotFor(from - now);
        }
        if asker == Asker::Caller && self.opened_by == Evidence::Check {
            return Admitted::NotFor(PROBE_FIRST);
        }
        self.circuit = Circuit::HalfOpen { until: now + TRIAL };
        Admitted::Trial
    }

    /// It answered.
    pub(super) fn succeeded(&mut self, evidence: Evidence) {
        self.failures[evidence as usize] = 0;
        if evidence >= self.opened_by || self.circuit == Circuit::Closed {
            if evidence == Evidence::Check {
                self.failures = [0; 2];
            }
            if self.circuit != Circuit::Closed {
                *self = Self::default();
            }
            self.period = OPEN_FIRST;
        }
    }

    /// It failed. `threshold` failures in a row open the circuit; of a trial, one does.
    pub(super) fn failed(&mut self, evidence: Evidence, threshold: u32, now: Instant) {
        let failures = &mut self.failures[evidence as usize];
        *failures = failures.saturating_add(1);
        match self.circuit {
            Circuit::Closed if *failures >= threshold.max(1) => self.open(evidence, now),
            Circuit::HalfOpen { .. } => {
                self.period = (self.period * 2).min(OPEN_MAX);
                self.open(evidence.max(self.opened_by), now);
            }
            // Calls that were sent before it opened: they do not put the trial off.
            Circuit::Closed | Circuit::Open { .. } => {}
        }
    }

    /// Another check is in force: what the former one found does not count.
    pub(super) fn forget_checks(&mut self) {
        self.failures[Evidence::Check as usize] = 0;
        if self.circuit != Circuit::Closed && self.opened_by == Evidence::Check {
            *self = Self::default();
        }
    }

    fn open(&mut self, by: Evidence, now: Instant) {
        self.opened_by = by;
        self.circuit = Circuit::Open { until: now + self.period };
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
