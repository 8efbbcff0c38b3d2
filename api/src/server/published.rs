//! The newest state, published by the writer: readers never lock, followers are told.
use std::sync::Arc;

use arc_swap::ArcSwap;
use mcpctl_core::time::Timestamp;
use mcpctl_projections::State;
use tokio::sync::watch;

use super::clock::Clock;

/// The newest state.
#[derive(Clone)]
pub struct Published {
    current: Arc<ArcSwap<State>>,
    changed: Arc<watch::Sender<Arc<State>>>,
    clock: Clock,
}

impl Published {
    /// Begins with the state that the log gave.
    #[must_use]
    pub fn new(state: State) -> Self {
        let state = Arc::new(state);
        let (changed, _) = watch::channel(state.clone());
        Self { current: Arc::new(ArcSwap::new(state)), changed: Arc::new(changed), clock: Clock::Wall }
    }

    /// The same by another clock.
    #[must_use]
    pub fn by_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The clock by which is decided.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Now, by that clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The newest state.
    #[must_use]
    pub fn load(&self) -> Arc<State> {
        self.current.load_full()
    }

    /// To be told of each newer state. One that lags sees the newest only.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<State>> {
        self.changed.subscribe()
    }

    /// Publishes. Only the writer does, and only what is durable.
    pub(super) fn publish(&self, state: Arc<State>) {
        self.current.store(state.clone());
        self.changed.send_replace(state);
    }
}
