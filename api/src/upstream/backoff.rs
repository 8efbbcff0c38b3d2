//! How long a server that failed is left alone: 200 ms, doubled with each failure in a row, at most 30 s.
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(30);
/// A conversation that lived so long was healthy: its end is a first failure again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Failures in a row, and when the next try is due.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    next_try: Option<Instant>,
}

impl Backoff {
    /// Counts a failure.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.next_try = Some(Instant::now() + wait_after(self.failures));
    }

    /// Notes how long a conversation lived, before its end is counted.
    pub(super) fn lived(&mut self, time: Duration) {
        if time >= HEALTHY_AFTER {
            self.failures = 0;
        }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Time until the next try.
    pub(super) fn left(&self) -> Duration {
        self.next_try.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

fn wait_after(failures: u32) -> Duration {
    (FIRST * 2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_a_healthy_minute_forgives() {
        let waits: Vec<_> = [1, 2, 3, 8, 9, 1_000].map(|n| wait_after(n).as_millis()).to_vec();
        assert_eq!(waits, [200, 400, 800, 25_600, 30_000, 30_000]);
        let mut backoff = Backoff::default();
        assert!(backoff.left().is_zero());
        (0..4).for_each(|_| backoff.failed());
        assert!(backoff.left() > Duration::from_secs(1));
        backoff.lived(Duration::from_secs(59));
        assert_eq!(backoff.failures(), 4);
        backoff.lived(Duration::from_secs(60));
        assert_eq!(backoff.failures(), 0);
    }
}
