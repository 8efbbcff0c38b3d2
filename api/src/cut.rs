//! The end of an access, in one value that every stream and every call of it holds.
//!
//! It says when the access is over: because it was taken away, or because nobody has said for too long that it still holds.
//! And it knows who is still inside, so that whoever takes an access away can wait until the last one has stopped.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mcpctl_core::ids::Seq;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::lease::Boottime;
use crate::plane::Denial;

/// Why an access is over: what `session.cut` says in the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// In one word, to be looked for.
    pub word: &'static str,
    /// In words for people.
    pub text: String,
    /// The event that took it away; zero where it was none, or it is not known.
    pub seq: Seq,
}

impl Why {
    /// All words.
    pub const WORDS: [&str; 11] = [
        "token-revoked",
        "token-expired",
        "token-gone",
        "user-gone",
        "login-over",
        "right-gone",
        "project-gone",
        "unavailable",
        "changed",
        "tool-quarantined",
        "lease-ran-out",
    ];

    /// The control plane denies it.
    #[must_use]
    pub fn denied(denial: &Denial, seq: Seq) -> Self {
        let word = match denial {
            Denial::Ended("revoked") => "token-revoked",
            Denial::Ended("expired") => "token-expired",
            Denial::Ended("unknown") => "token-gone",
            Denial::Ended("of a disabled user" | "of a disabled or deleted owner") => "user-gone",
            Denial::Ended(_) | Denial::NotAToken(_) => "login-over",
            Denial::Forbidden(_) => "right-gone",
            Denial::NoProject(_) | Denial::OtherProject => "project-gone",
            Denial::Unavailable(_) => "unavailable",
        };
        Self { word, text: denial.to_string(), seq }
    }

    /// The caller is still admitted, to something else than before.
    #[must_use]
    pub fn changed(seq: Seq) -> Self {
        let text = "what it opens was changed: the project, a server, a tool or a secret".to_owned();
        Self { word: "changed", text, seq }
    }

    /// The caller is still admitted, and a tool that it might call waits for approval.
    #[must_use]
    pub fn quarantined(seq: Seq) -> Self {
        let text =
            "a tool of the project waits for approval: its definition changed, or is approved no more".to_owned();
        Self { word: "tool-quarantined", text, seq }
    }

    /// Whether the caller is still admitted to the project.
    #[must_use]
    pub fn leaves_admitted(&self) -> bool {
        matches!(self.word, "changed" | "tool-quarantined")
    }

    /// Nobody has said for too long that it still holds.
    #[must_use]
    pub fn lapsed() -> Self {
        let text = "the lease ran out: the control plane was not heard in time".to_owned();
        Self { word: "lease-ran-out", text, seq: Seq(0) }
    }

    /// The gateway stops.
    #[must_use]
    pub fn stopped() -> Self {
        Self { word: "stopped", text: "the gateway stops".to_owned(), seq: Seq(0) }
    }
}

/// The end of an access. Clones are the same access.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    over: CancellationToken,
    why: Arc<OnceLock<Why>>,
    inside: TaskTracker,
    /// How many were inside when it was taken away.
    ended: Arc<AtomicUsize>,
    /// Until when somebody's word holds; nothing when it needs none, in the process that decides.
    until: Option<Arc<AtomicU64>>,
}

/// Somebody is inside: a call that runs, a stream that is open. Dropped when it has stopped.
#[derive(Debug)]
pub struct Inside(#[expect(dead_code, reason = "it counts while it is there")] TaskTrackerToken);

impl Cut {
    /// An access that lasts until it is taken away.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An access that lasts until a moment, unless it is told to last longer.
    #[must_use]
    pub fn until(moment: Boottime) -> Self {
        Self { until: Some(Arc::new(AtomicU64::new(moment.as_millis()))), ..Self::default() }
    }

    /// Lasts until a later moment. What is over stays over.
    pub fn extend(&self, moment: Boottime) {
        if let Some(until) = &self.until
            && !self.is_cancelled()
        {
            until.fetch_max(moment.as_millis(), Ordering::AcqRel);
        }
    }

    /// Until when it lasts without another word.
    #[must_use]
    pub fn lasts_until(&self) -> Option<Boottime> {
        self.until.as_ref().map(|until| Boottime::from_millis(until.load(Ordering::Acquire)))
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.over.is_cancelled() || self.lasts_until().is_some_and(|until| Boottime::now() >= until)
    }

    /// Waits until it is taken away.
    pub async fn cancelled(&self) {
        self.over.cancelled().await;
    }

    /// Takes it away. The first reason is kept.
    pub fn cancel(&self, why: Why) {
        // Before anybody hears of it: whoever does can ask why, and is not counted any more when it has stopped.
        if self.why.set(why).is_ok() {
            self.ended.store(self.inside.len(), Ordering::Release);
        }
        self.over.cancel();
        self.inside.close();
    }

    /// Why it is over; before that, why it will be when nobody says another word.
    #[must_use]
    pub fn why(&self) -> Why {
        self.why.get().cloned().unwrap_or_else(Why::lapsed)
    }

    /// Goes inside; `None` when it is over. The order matters: counted first and looked at then, nobody who was let in is
    /// missed by [`Self::emptied`].
    #[must_use]
    pub fn enter(&self) -> Option<Inside> {
        let token = self.inside.token();
        (!self.is_cancelled()).then_some(Inside(token))
    }

    /// How many it ended: those that were inside when it was taken away.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::Acquire)
    }

    /// How many are inside.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside.len()
    }

    /// Waits until nobody is inside any more, within a limit. Says whether that came to be. To be called when it was
    /// taken away.
    pub async fn emptied(&self, limit: Duration) -> bool {
        self.inside.close();
        tokio::time::timeout(limit, self.inside.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_takes_it_away_waits_for_those_inside() {
        let cut = Cut::new();
        let inside = cut.enter().expect("it is open");
        cut.cancel(Why::denied(&Denial::Ended("revoked"), Seq(7)));
        cut.cancel(Why::lapsed());
        assert!(cut.enter().is_none() && cut.is_cancelled());
        assert_eq!((cut.why().word, cut.why().seq), ("token-revoked", Seq(7)), "the first reason is kept");
        assert!(!cut.emptied(Duration::from_millis(20)).await, "one is inside");
        drop(inside);
        assert!(cut.emptied(Duration::from_secs(5)).await);
        assert_eq!((cut.ended(), cut.inside()), (1, 0), "who has stopped by now was ended all the same");
    }

    #[test]
    fn without_another_word_it_is_over_and_stays_so() {
        let now = Boottime::now();
        let cut = Cut::until(Boottime::from_millis(now.as_millis() + 60_000));
        assert!(!cut.is_cancelled());
        let past = Cut::until(now);
        assert!(past.is_cancelled() && past.enter().is_none() && past.why().word == "lease-ran-out");
        past.extend(Boottime::from_millis(now.as_millis() + 60_000));
        assert!(past.is_cancelled(), "a late word revives nothing");
    }
}
