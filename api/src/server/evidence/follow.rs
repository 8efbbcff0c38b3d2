//! Keeping a tree level with its log: within a moment of what became durable, and once more at an orderly end.
use std::sync::Arc;
use std::time::Duration;

use mcpctl_core::ids::Seq;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Evidence;

/// Shortest time between two checkpoints of the config log: under load one signature stands for all that was committed.
const SIGN_CONFIG_EVERY: Duration = Duration::from_millis(50);
/// The same of the audit log; with the sync before it, a checkpoint follows an entry within 250 ms.
const SIGN_AUDIT_EVERY: Duration = Duration::from_millis(100);

/// Says how far a log may be signed.
pub(in crate::server) enum Heads {
    /// The config log, up to what is published.
    Config(watch::Receiver<Arc<State>>),
    /// The audit log, up to what is durable.
    Audit(watch::Receiver<Seq>),
}

impl Heads {
    fn now(&mut self) -> u64 {
        match self {
            Self::Config(states) => states.borrow_and_update().seq().0,
            Self::Audit(durable) => durable.borrow_and_update().0,
        }
    }

    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        match self {
            Self::Config(states) => states.changed().await,
            Self::Audit(durable) => durable.changed().await,
        }
    }

    const fn sign_every(&self) -> Duration {
        match self {
            Self::Config(_) => SIGN_CONFIG_EVERY,
            Self::Audit(_) => SIGN_AUDIT_EVERY,
        }
    }
}

impl Evidence {
    /// Keeps the tree level with its log, until stopped; then leaves the last checkpoint on disk.
    pub(in crate::server) async fn follow(self: Arc<Self>, mut heads: Heads, stop: CancellationToken) {
        loop {
            let (head, this) = (heads.now(), self.clone());
            let caught_up = tokio::task::spawn_blocking(move || this.catch_up(head)).await;
            if let Ok(Err(error)) = caught_up {
                tracing::error!(log = %self.name(), %error, "the evidence tree is not level with the log");
            }
            let wait = async {
                tokio::time::sleep(heads.sign_every()).await;
                heads.changed().await
            };
            tokio::select! {
                () = stop.cancelled() => break,
                changed = wait => if changed.is_err() { break },
            }
        }
        let (head, this) = (heads.now(), self.clone());
        let last = tokio::task::spawn_blocking(move || this.catch_up(head).and_then(|()| this.keep())).await;
        if let Ok(Err(error)) = last {
            tracing::warn!(log = %self.name(), %error, "the last checkpoint is not on disk");
        }
    }
}
