//! One stream of one gateway: its numbered lines, and those that it has not yet said to have done.
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mcpctl_core::ids::Seq;
use mcpctl_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::reduction::Reduction;
use crate::client::stream_wire::{Handle, News, Told};
use crate::lease::Boottime;
use crate::wire::Gateway;

/// Lines that may wait for the reader; one more, and the stream is cut.
const QUEUE: usize = 1024;
/// How long a gateway may take to do what it was told, or to ping; then its stream is cut. Its lease has run out long before.
pub(super) const SLOW: Duration = Duration::from_secs(2);

/// A stream.
pub(super) struct Stream {
    /// Nothing when it is over.
    queue: Option<mpsc::Sender<Told>>,
    /// Cancelled when it is over.
    over: CancellationToken,
    told: u64,
    /// It was not read, and is over for that; not counted yet.
    overflowed: bool,
    expected: VecDeque<(u64, Boottime, Arc<Reduction>)>,
    /// When a ping was answered last.
    pub(super) answered: Boottime,
    pub(super) holds: HashSet<Handle>,
    pub(super) address: String,
    version: String,
    since: Timestamp,
    /// Seq up to which the gateway has done all that it was told.
    done: Seq,
}

impl Stream {
    pub(super) fn open(
        version: String,
        address: String,
        since: Timestamp,
    ) -> (Self, mpsc::Receiver<Told>, CancellationToken) {
        let ((queue, lines), over) = (mpsc::channel(QUEUE), CancellationToken::new());
        let stream = Self {
            queue: Some(queue),
            over: over.clone(),
            told: 0,
            overflowed: false,
            expected: VecDeque::new(),
            answered: Boottime::now(),
            holds: HashSet::new(),
            address,
            version,
            since,
            done: Seq(0),
        };
        (stream, lines, over)
    }

    pub(super) const fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    pub(super) fn close(&mut self) {
        self.queue = None;
        self.over.cancel();
    }

    /// Whether it ended because it was not read; answered once.
    pub(super) const fn take_overflow(&mut self) -> bool {
        std::mem::replace(&mut self.overflowed, false)
    }

    /// Tells the next line; a stream that can't take it is over.
    pub(super) fn tell(&mut self, seq: Seq, what: News) -> bool {
        let Some(queue) = &self.queue else { return false };
        let told = Told { n: self.told + 1, seq, what };
        if let Err(refused) = queue.try_send(told) {
            if matches!(refused, mpsc::error::TrySendError::Full(_)) {
                tracing::warn!(address = %self.address, "a gateway's stream is cut: it is not read");
                self.overflowed = true;
            }
            self.close();
            return false;
        }
        self.told += 1;
        true
    }

    /// The line that was told last is to be done.
    pub(super) fn expect(&mut self, reduction: Arc<Reduction>, now: Boottime) {
        self.expected.push_back((self.told, now, reduction));
    }

    /// Takes out what is done with a line.
    pub(super) fn done_up_to(&mut self, n: u64) -> Vec<Arc<Reduction>> {
        let mut finished = Vec::new();
        while self.expected.front().is_some_and(|(line, _, _)| *line <= n) {
            let Some((_, _, reduction)) = self.expected.pop_front() else { break };
            self.done = self.done.max(reduction.seq);
            finished.push(reduction);
        }
        finished
    }

    /// Whether it has not pinged, or not done what it was told, for too long.
    pub(super) fn lags(&self, now: Boottime) -> bool {
        let silent = now.since(self.answered) > SLOW;
        silent || self.expected.front().is_some_and(|(_, told, _)| now.since(*told) > SLOW)
    }

    /// How `get gateways` shows it.
    pub(super) fn shown(&self, name: Handle, head: Seq) -> Gateway {
        let now = Boottime::now();
        let lease = self.answered.waited_until().since(now);
        let lag = self.expected.front().map_or(Duration::ZERO, |(_, told, _)| now.since(*told));
        // The name tells streams apart; the whole of it would let others speak for it.
        let name: String = name.to_string().chars().take(8).collect();
        Gateway {
            name,
            version: self.version.clone(),
            address: self.address.clone(),
            state: if self.is_open() { "OPEN" } else { "LOST" }.to_owned(),
            since: self.since,
            head: self.expected.front().map_or(head, |_| self.done),
            lease_ms: millis(lease),
            tokens: self.holds.len(),
            lag_ms: millis(lag),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
