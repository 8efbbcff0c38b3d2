//! Streams that a client may take up again where they broke off (2025-11-25, Streamable HTTP, resumability): events have ids,
//! what was sent is kept for a while within bounds, and what goes on behind a lost connection goes on.
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::message::Message;

/// How long a client should wait before it takes a stream up again, in milliseconds.
pub(crate) const RETRY_MS: u64 = 1_000;
/// Events of one stream that are kept.
const EVENTS_MAX: usize = 128;
/// Bytes of one stream that are kept. The last event is, however large: it may be the answer.
const BYTES_MAX: usize = 256 << 10;
/// Streams of one session that can be taken up again. The oldest gives way.
const STREAMS_MAX: usize = 16;
/// How long a stream that nobody reads is kept.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// How long who reads a stream now may take to let it go.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(1);

/// The id of an event: which stream of the session, and the how-manieth there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) stream: u64,
    pub(crate) number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.stream, self.number)
    }
}

/// The text is the id of no event of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;
    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| NoEventId);
        let (stream, at) = text.split_once('-').ok_or(NoEventId)?;
        Ok(Self { stream: number(stream)?, number: number(at)? })
    }
}

/// What was sent on a stream, as far as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    stream: u64,
    last: u64,
    kept: VecDeque<(u64, Message)>,
    bytes: usize,
}

impl Replay {
    fn new(stream: u64) -> Self {
        Self { stream, last: 0, kept: VecDeque::new(), bytes: 0 }
    }

    /// The id of the newest event.
    pub(crate) const fn newest(&self) -> EventId {
        EventId { stream: self.stream, number: self.last }
    }

    /// Keeps an event, and gives its id.
    pub(crate) fn push(&mut self, message: Message) -> EventId {
        self.last += 1;
        self.bytes += message.len();
        self.kept.push_back((self.last, message));
        while self.kept.len() > EVENTS_MAX || (self.bytes > BYTES_MAX && self.kept.len() > 1) {
            let Some((_, oldest)) = self.kept.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        self.newest()
    }

    /// What came after an event, as far as it is kept.
    pub(crate) fn after(&self, number: u64) -> Vec<(EventId, Message)> {
        let later = self.kept.iter().filter(|(at, _)| *at > number);
        later.map(|(at, message)| (EventId { stream: self.stream, number: *at }, message.clone())).collect()
    }
}

/// Asks who reads a stream now to let it go.
pub(crate) type Claim<S> = oneshot::Sender<oneshot::Sender<S>>;
/// Where that is heard.
pub(crate) type Claimed<S> = oneshot::Receiver<oneshot::Sender<S>>;

/// A stream that may be taken up again.
enum Held<S> {
    /// Somebody reads it, or it goes on with nobody reading.
    Live(Claim<S>),
    /// Everything was sent; whether it arrived nobody knows.
    Over(Replay),
}

struct Entry<S> {
    stream: u64,
    since: Instant,
    held: Held<S>,
}

/// What a client that comes back finds.
pub(crate) enum Resumed<S> {
    /// The stream, to be gone on with.
    Live(S),
    /// All that is left of it.
    Over(Replay),
}

/// The streams of one session. `S` is what goes on behind one.
pub(crate) struct Streams<S> {
    last: AtomicU64,
    entries: Mutex<Vec<Entry<S>>>,
    /// The stream of what belongs to no call, while nobody reads it.
    own: Mutex<Option<Replay>>,
}

impl<S> Default for Streams<S> {
    fn default() -> Self {
        Self { last: AtomicU64::new(0), entries: Mutex::default(), own: Mutex::default() }
    }
}

impl<S> Streams<S> {
    /// A new stream.
    pub(crate) fn begin(&self) -> (Replay, Claimed<S>) {
        let replay = Replay::new(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let claimed = self.register(&replay);
        (replay, claimed)
    }

    /// Lets a stream be claimed.
    pub(crate) fn register(&self, replay: &Replay) -> Claimed<S> {
        let (claim, claimed) = oneshot::channel();
        self.put(replay.stream, Held::Live(claim));
        claimed
    }

    fn put(&self, stream: u64, held: Held<S>) {
        let mut entries = self.entries.lock();
        let now = Instant::now();
        entries.retain(|entry| entry.stream != stream && entry.is_kept(now));
        if entries.len() >= STREAMS_MAX {
            entries.remove(0);
        }
        entries.push(Entry { stream, since: now, held });
    }

    /// Everything of a stream was sent.
    pub(crate) fn finished(&self, replay: Replay) {
        self.put(replay.stream, Held::Over(replay));
    }

    /// Forgets a stream.
    pub(crate) fn forget(&self, stream: u64) {
        self.entries.lock().retain(|entry| entry.stream != stream);
    }

    /// Takes a stream up again; `None` when nothing is kept of it.
    pub(crate) async fn resume(&self, stream: u64) -> Option<Resumed<S>> {
        // Once more, since it may have ended while it was claimed.
        for _ in 0..2 {
            let claim = match self.take(stream)? {
                Held::Over(replay) => return Some(Resumed::Over(replay)),
                Held::Live(claim) => claim,
            };
            let (give, given) = oneshot::channel();
            if claim.send(give).is_ok()
                && let Ok(source) = tokio::time::timeout(HANDED_OVER_WITHIN, given).await.ok()?
            {
                return Some(Resumed::Live(source));
            }
        }
        None
    }

    fn take(&self, stream: u64) -> Option<Held<S>> {
        let mut entries = self.entries.lock();
        let at = entries.iter().position(|entry| entry.stream == stream)?;
        // What is over may be asked for once more: that it was sent again does not say that it arrived.
        if let Held::Over(replay) = &entries[at].held {
            return Some(Held::Over(replay.clone()));
        }
        Some(entries.remove(at).held)
    }

    /// The stream of what belongs to no call, for somebody who reads it from now on: the one kept, if there is one.
    pub(crate) fn take_own(&self) -> Replay {
        let kept = self.own.lock().take();
        kept.unwrap_or_else(|| Replay::new(self.last.fetch_add(1, Ordering::Relaxed) + 1))
    }

    /// Nobody reads the stream of what belongs to no call any more.
    pub(crate) fn leave_own(&self, replay: Replay) {
        *self.own.lock() = Some(replay);
    }

    /// Keeps what belongs to no call for whoever reads that stream next. Nothing is kept before somebody did once.
    pub(crate) fn keep(&self, message: impl FnOnce() -> Message) {
        if let Some(replay) = &mut *self.own.lock() {
            replay.push(message());
        }
    }

    /// Forgets what nobody came back for.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.entries.lock().retain(|entry| entry.is_kept(now));
    }
}

impl<S> Entry<S> {
    fn is_kept(&self, now: Instant) -> bool {
        match &self.held {
            Held::Live(claim) => !claim.is_closed(),
            Held::Over(_) => now.saturating_duration_since(self.since) < KEPT_FOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(size: usize) -> Message {
        Message::whole("x".repeat(size))
    }

    #[test]
    fn an_id_reads_back_and_nothing_else_is_one() {
        let id = EventId { stream: 10, number: u64::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "-", "1", "1-", "-1", "g-1", "1-2-3", "1 - 2", "é-1"] {
            assert_eq!(text.parse::<EventId>(), Err(NoEventId), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_is_the_newest_in_order_and_bounded(sizes in prop::collection::vec(0usize..100_000, 1..300)) {
            let mut replay = Replay::new(1);
            let ids: Vec<u64> = sizes.iter().map(|size| replay.push(message(*size)).number).collect();
            prop_assert_eq!(&ids, &(1..=sizes.len() as u64).collect::<Vec<_>>());
            let kept = replay.after(0);
            let first = kept[0].0.number;
            prop_assert_eq!(kept.iter().map(|(id, _)| id.number).collect::<Vec<_>>(), (first..=sizes.len() as u64).collect::<Vec<_>>());
            let bytes: usize = kept.iter().map(|(_, message)| message.len()).sum();
            prop_assert!(kept.len() <= EVENTS_MAX && (bytes <= BYTES_MAX || kept.len() == 1), "{} bytes", bytes);
            // Nothing is thrown away that there was room for.
            if first > 1 {
                let next = sizes[first as usize - 2];
                prop_assert!(kept.len() == EVENTS_MAX || bytes + next > BYTES_MAX);
            }
            prop_assert_eq!(replay.after(first).len(), kept.len() - 1);
        }
    }

    #[tokio::test]
    async fn a_stream_is_handed_over_once_and_what_is_over_is_kept_for_a_while() {
        let streams: Streams<&str> = Streams::default();
        let (replay, claimed) = streams.begin();
        let reader = tokio::spawn(async move { claimed.await.unwrap().send("behind it").unwrap() });
        let resumed = streams.resume(replay.newest().stream).await;
        assert!(matches!(resumed, Some(Resumed::Live("behind it"))));
        reader.await.unwrap();
        assert!(streams.resume(1).await.is_none(), "it was taken");
        streams.finished(replay);
        assert!(matches!(streams.resume(1).await, Some(Resumed::Over(_))));
        assert!(streams.resume(7).await.is_none(), "there was no such stream");
    }

    #[tokio::test]
    async fn of_many_streams_the_oldest_give_way() {
        let streams: Streams<()> = Streams::default();
        let all: Vec<_> = (0..STREAMS_MAX + 3).map(|_| streams.begin()).collect();
        assert_eq!(streams.entries.lock().len(), STREAMS_MAX);
        assert!(streams.resume(1).await.is_none());
        drop(all);
        streams.sweep();
        assert!(streams.entries.lock().is_empty(), "nobody is behind them any more");
    }
}
