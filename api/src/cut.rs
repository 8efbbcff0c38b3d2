//! The end of an access, in one value that every stream and every call of it holds.
//!
//! It says when the access is over: because it was taken away, or because nobody has said for too long that it still holds.
//! And it knows who is still inside, so that whoever takes an access away can wait until the last one has stopped.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::lease::Boottime;

/// The end of an access. Clones are the same access.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    over: CancellationToken,
    inside: TaskTracker,
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

    /// Takes it away.
    pub fn cancel(&self) {
        self.over.cancel();
        self.inside.close();
    }

    /// Goes inside; `None` when it is over. The order matters: counted first and looked at then, nobody who was let in is
    /// missed by [`Self::emptied`].
    #[must_use]
    pub fn enter(&self) -> Option<Inside> {
        let token = self.inside.token();
        (!self.is_cancelled()).then_some(Inside(token))
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
        cut.cancel();
        assert!(cut.enter().is_none() && cut.is_cancelled());
        assert!(!cut.emptied(Duration::from_millis(20)).await, "one is inside");
        drop(inside);
        assert!(cut.emptied(Duration::from_secs(5)).await);
    }

    #[test]
    fn without_another_word_it_is_over_and_stays_so() {
        let now = Boottime::now();
        let cut = Cut::until(Boottime::from_millis(now.as_millis() + 60_000));
        assert!(!cut.is_cancelled());
        let past = Cut::until(now);
        assert!(past.is_cancelled() && past.enter().is_none());
        past.extend(Boottime::from_millis(now.as_millis() + 60_000));
        assert!(past.is_cancelled(), "a late word revives nothing");
    }
}
