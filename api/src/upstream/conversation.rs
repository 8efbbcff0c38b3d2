//! What the fleet needs of a conversation beyond what its callers may do with it.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::health::{Health, cause_of, words_of};
use super::{Call, Reply, Session, UpstreamError};

/// A conversation that the fleet owns.
#[async_trait]
pub(super) trait Conversation: Session {
    /// Calls and their age.
    fn activity(&self) -> &Activity;

    /// Asks something of our own, such as a probe: it does not count as use.
    async fn ask(&self, call: Call) -> Result<Reply, UpstreamError>;

    /// Whether its end is a failure by itself. That of a HTTP session is found by a call that fails, which counts already.
    fn end_is_failure(&self) -> bool {
        true
    }

    /// The process behind it, if there is one.
    fn pid(&self) -> Option<u32>;

    /// Waits until it has ended, and tells why in words fit for `mcpctl get instances`.
    async fn closed(&self) -> String;

    /// Ends it and waits until nothing of it is left.
    async fn close(&self);
}

/// The error of a limit that passed. Parts of a second count as one: "within 0 s" would puzzle its reader.
pub(super) fn timed_out(server: &str, limit: Duration) -> UpstreamError {
    let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
    UpstreamError::TimedOut { server: server.to_owned(), seconds }
}

/// How busy a conversation is. Read by the fleet to find the one that can be spared.
pub(super) struct Activity {
    started: Instant,
    running: AtomicUsize,
    last_used_us: AtomicU64,
    /// Whose health outcomes of calls tell of.
    health: OnceLock<Arc<Health>>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            running: AtomicUsize::new(0),
            last_used_us: AtomicU64::new(0),
            health: OnceLock::new(),
        }
    }

    /// Has outcomes of calls count for the health of a server.
    pub(super) fn tell(&self, health: &Arc<Health>) {
        self.health.get_or_init(|| health.clone());
    }

    /// Notes how a call ended. What only its own request can be the reason of says nothing about the server, nor does the end
    /// of a conversation that counts by itself.
    pub(super) fn outcome(&self, outcome: &Result<Reply, UpstreamError>, end_counts: bool) {
        let Some(health) = self.health.get() else { return };
        match outcome {
            Ok(_) => health.answered(),
            Err(UpstreamError::Protocol { .. }) => {}
            Err(UpstreamError::Gone { .. }) if end_counts => {}
            Err(UpstreamError::Unavailable { why, .. }) if is_about_the_request(why) => health.answered(),
            Err(error) => {
                if let Some(cause) = cause_of(error) {
                    health.failed(cause, &words_of(error));
                }
            }
        }
    }

    /// Calls that wait for their answer.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// How long ago the last call began or ended.
    pub(super) fn idle(&self) -> Duration {
        if self.running() > 0 {
            return Duration::ZERO;
        }
        self.started.elapsed().saturating_sub(Duration::from_micros(self.last_used_us.load(Ordering::Relaxed)))
    }

    /// Notes that the conversation was just handed out or used.
    pub(super) fn touch(&self) {
        let us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_used_us.store(us, Ordering::Relaxed);
    }

    /// Counts a call for as long as the guard lives.
    pub(super) fn begin(&self) -> Busy<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }
}

/// A call is running.
pub(super) struct Busy<'a>(&'a Activity);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A status that says that the server is there and did not like the request: whoever sends such requests shall not have it
/// kept from everybody else.
fn is_about_the_request(why: &str) -> bool {
    why.strip_prefix("it answered HTTP ").is_some_and(|status| {
        status.starts_with('4') && !["404", "405", "408", "429"].iter().any(|other| status.starts_with(other))
    })
}
