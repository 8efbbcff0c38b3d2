//! The lease in numbers: how long a gateway may serve on the control plane's word, and how long the control plane waits for
//! one that does not answer. Both sides count by their own clock, and neither trusts the other's.
//!
//! The gateway counts from the moment at which it *sent* a ping that was answered: however long the answer was on its way,
//! the control plane made it later. The control plane counts from the moment at which it answered, which is later still, and
//! longer by the drift of two clocks. So the gateway has stopped before the control plane stops waiting.
use std::time::Duration;

/// Between two pings of a gateway.
pub const PING_MS: u64 = 200;
/// How long the word of the control plane holds.
pub const LEASE_MS: u64 = 800;
/// By how much two clocks may run apart, in percent.
pub const DRIFT_PERCENT: u64 = 1;

/// A moment of a clock that goes on while the machine sleeps, in milliseconds. `std::time::Instant` stops then, and a gateway
/// that was asleep for an hour would wake up with a living lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boottime(u64);

impl Boottime {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        Self(seconds * 1000 + nanos / 1_000_000)
    }

    /// A moment by its number.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The number of a moment.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Since an earlier moment; nothing since a later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Until when a gateway may serve that sent a ping now which was answered: L(1−ρ).
    #[must_use]
    pub const fn serves_until(self) -> Self {
        Self(self.0 + LEASE_MS * (100 - DRIFT_PERCENT) / 100)
    }

    /// Until when the control plane waits that answered a ping now: L(1+ρ), and the millisecond that the clock may hide.
    #[must_use]
    pub const fn waited_until(self) -> Self {
        Self(self.0 + LEASE_MS * (100 + DRIFT_PERCENT) / 100 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_stops_before_the_control_plane_stops_waiting_however_the_clocks_drift() {
        let sent = Boottime(1_000_000);
        // The answer is made at the same moment at the earliest. For the gateway's slow clock 1 % more time passes.
        let serves_ms = sent.serves_until().since(sent).as_millis() as f64 / 0.99;
        let waits_ms = sent.waited_until().since(sent).as_millis() as f64 / 1.01;
        assert!(serves_ms <= waits_ms + 0.000_1, "{serves_ms} {waits_ms}");
        assert!(serves_ms <= 800.0, "no call is admitted later than 0.8 s after the last word");
    }

    #[test]
    fn the_clock_goes_on() {
        let begin = Boottime::now();
        assert!(Boottime::now().since(begin) < Duration::from_secs(10));
        assert_eq!(begin.since(Boottime(begin.0 + 5)), Duration::ZERO);
    }
}
