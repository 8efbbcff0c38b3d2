//! What the fleet needs of a conversation beyond what its callers may do with it.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Session, UpstreamError};

/// A conversation that the fleet owns.
#[async_trait]
pub(super) trait Conversation: Session {
    /// Calls and their age.
    fn activity(&self) -> &Activity;

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
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), running: AtomicUsize::new(0), last_used_us: AtomicU64::new(0) }
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
