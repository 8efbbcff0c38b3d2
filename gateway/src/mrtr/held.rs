//! Calls of modern clients that wait at a legacy server for the client's answers: few, for a short time, each with an owner.
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcpctl_api::upstream::Reply;
use mcpctl_core::ids::Uid;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Round;
use crate::call::Unanswered;
use crate::client::Busy;
use crate::gateway::Gateway;

/// How long a call waits for its client to come back. A person may have to be asked, so it is long.
pub(crate) const HELD: Duration = Duration::from_secs(600);
/// Calls that wait at once.
const HELD_MAX: usize = 1024;
/// Calls of one caller that wait at once.
const HELD_OF_ONE_MAX: usize = 64;

/// A call on its way: what comes of it.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<Reply, Unanswered>> + Send>>;

/// All calls that wait.
#[derive(Default)]
pub(crate) struct HeldCalls {
    last: AtomicU64,
    calls: Mutex<HashMap<u64, Arc<Held>>>,
}

/// A call that waits.
pub(super) struct Held {
    pub(super) number: u64,
    subject: Uid,
    pub(super) round: Arc<Round>,
    turn: Mutex<Turn>,
    outcome: Mutex<Option<Result<Reply, Unanswered>>>,
    ended: Notify,
    /// Nobody will come for it.
    over: CancellationToken,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The client's, with the state of this number, since a moment.
    Client(u32, Instant),
    /// The server's: a request of the client waits for it.
    Server(u32),
}

impl HeldCalls {
    /// Takes a call in; it goes on in the background until the client comes back. `None` if there are too many.
    pub(super) fn hold(
        &self,
        gateway: &Arc<Gateway>,
        (subject, busy): (Uid, Busy),
        running: Running,
        round: Arc<Round>,
    ) -> Option<Arc<Held>> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let held = Arc::new(Held {
            number,
            subject,
            round,
            turn: Mutex::new(Turn::Client(0, Instant::now())),
            outcome: Mutex::default(),
            ended: Notify::new(),
            over: CancellationToken::new(),
        });
        {
            let mut calls = self.calls.lock();
            let own = calls.values().filter(|one| one.subject == subject).count();
            if calls.len() >= HELD_MAX || own >= HELD_OF_ONE_MAX {
                return None;
            }
            calls.insert(number, held.clone());
        }
        let (owner, one) = (gateway.clone(), held.clone());
        gateway.metrics.held.inc();
        gateway.tasks.spawn(async move {
            one.keep(&owner.stop, running).await;
            owner.held.calls.lock().remove(&one.number);
            owner.metrics.held.dec();
            drop(busy);
        });
        Some(held)
    }

    /// The call of a number, for the request that brings the state of this turn: each is good for once.
    pub(super) fn take(&self, number: u64, turn: u32) -> Option<Taken> {
        let held = self.calls.lock().get(&number).cloned()?;
        {
            let mut now = held.turn.lock();
            match *now {
                Turn::Client(expected, _) if expected == turn => *now = Turn::Server(turn),
                Turn::Client(..) | Turn::Server(_) => return None,
            }
        }
        Some(Taken { held, given_back: false })
    }
}

impl Held {
    /// The number of the client's turn.
    pub(super) fn turn(&self) -> u32 {
        match *self.turn.lock() {
            Turn::Client(turn, _) | Turn::Server(turn) => turn,
        }
    }

    /// Drives the call, and then keeps its outcome until the client comes for it.
    async fn keep(&self, stop: &CancellationToken, mut running: Running) {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = self.over.cancelled() => return,
            () = self.abandoned() => return,
            outcome = &mut running => outcome,
        };
        drop(running);
        *self.outcome.lock() = Some(ended);
        self.ended.notify_one();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.over.cancelled() => {}
            () = self.abandoned() => {}
        }
    }

    /// Waits until it has been the client's turn for too long.
    async fn abandoned(&self) {
        loop {
            let until = match *self.turn.lock() {
                Turn::Client(_, since) => since + HELD,
                Turn::Server(_) => Instant::now() + HELD,
            };
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// What came of the call.
    pub(super) async fn outcome(&self) -> Result<Reply, Unanswered> {
        loop {
            if let Some(outcome) = self.outcome.lock().take() {
                return outcome;
            }
            self.ended.notified().await;
        }
    }
}

/// A held call in the hands of a request. Dropped without being given back, as when the client goes away, it is given up:
/// that is how a modern client cancels.
pub(super) struct Taken {
    pub(super) held: Arc<Held>,
    given_back: bool,
}

impl Taken {
    /// It is the client's turn again.
    pub(super) fn give_back(mut self) -> Arc<Held> {
        self.given_back = true;
        let mut turn = self.held.turn.lock();
        if let Turn::Server(last) = *turn {
            *turn = Turn::Client(last + 1, Instant::now());
        }
        drop(turn);
        self.held.clone()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.given_back {
            self.held.over.cancel();
        }
    }
}
