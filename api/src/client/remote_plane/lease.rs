//! The lease: how long a gateway may serve on what it was told. The one place that knows, made to be replaced.
//!
//! A ping says how long its stream is open by the control plane's clock. Since the control plane can't have opened it
//! before it was asked to, *moment of asking + that time* is never later than the moment the ping was sent, however
//! long it was on its way: a stalled connection that delivers everything at once revives nothing. The clocks may run
//! apart by ρ, so the estimate falls behind with the age of the stream, and streams are opened anew before that tells.
use std::time::Duration;

/// How long the word of the control plane holds.
pub(super) const LEASE_MS: u64 = 800;
/// By how much two clocks may run apart, in percent.
const DRIFT_PERCENT: u64 = 1;
/// A stream is replaced when it is this old: the estimate is 150 ms behind then.
pub(super) const STREAM_MS_MAX: u64 = 15_000;

/// Milliseconds of a clock that goes on in suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Boottime(u64);

impl Boottime {
    /// Now.
    pub(super) fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        Self(seconds * 1000 + nanos / 1_000_000)
    }

    /// Since an earlier moment.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Until when may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    sent: Boottime,
}

impl Lease {
    /// From a ping of a stream that was asked for at `asked` and is open for `open_ms` by the control plane's clock.
    pub(super) const fn of_ping(asked: Boottime, open_ms: u64) -> Self {
        Self { sent: Boottime(asked.0 + open_ms * (100 - DRIFT_PERCENT) / 100) }
    }

    /// The one that lasts longer.
    pub(super) fn later(self, other: Self) -> Self {
        Self { sent: self.sent.max(other.sent) }
    }

    /// Whether it still holds.
    pub(super) const fn is_alive(&self, now: Boottime) -> bool {
        now.0 < self.sent.0 + LEASE_MS * (100 - DRIFT_PERCENT) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Boottime = Boottime(1_000_000);

    #[test]
    fn a_lease_lasts_less_than_800_ms_from_the_moment_of_asking() {
        let lease = Lease::of_ping(ASKED, 0);
        assert!(lease.is_alive(Boottime(ASKED.0 + 791)));
        assert!(!lease.is_alive(Boottime(ASKED.0 + 792)));
    }

    #[test]
    fn pings_that_were_held_up_revive_nothing() {
        let late = Boottime(ASKED.0 + 60_000);
        assert!(!Lease::of_ping(ASKED, 1_000).is_alive(late), "sent after one second, however late it came");
        assert!(Lease::of_ping(ASKED, 60_000).is_alive(late));
    }

    #[test]
    fn a_control_plane_whose_clock_runs_fast_gives_no_longer_lease() {
        // It says 10.1 s, and 10 s have passed: the ping was sent at the very latest now.
        let lease = Lease::of_ping(ASKED, 10_100);
        assert!(!lease.is_alive(Boottime(ASKED.0 + 10_000 + LEASE_MS)));
    }

    #[test]
    fn at_the_end_of_its_life_a_stream_still_leaves_room_for_two_pings() {
        let lease = Lease::of_ping(ASKED, STREAM_MS_MAX);
        assert!(lease.is_alive(Boottime(ASKED.0 + STREAM_MS_MAX + 2 * 200)));
    }

    #[test]
    fn an_older_word_never_shortens_a_lease() {
        let (old, new) = (Lease::of_ping(ASKED, 100), Lease::of_ping(ASKED, 300));
        assert_eq!(new.later(old), old.later(new));
    }

    #[test]
    fn the_clock_goes_on() {
        let begin = Boottime::now();
        assert!(Boottime::now().since(begin) < Duration::from_secs(10));
    }
}
