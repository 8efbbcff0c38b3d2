//! Bodies of answers: nothing, one message in its pieces, or a stream of events that ends with the answer.
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::client::ClientStreams;
use crate::exchange::Answered;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::outlet::Waiting;
use crate::resumable::{Claimed, EventId, RETRY_MS, Replay};

/// How often a quiet stream says that it is alive: a line that clients ignore, so that nothing on the way gives up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a stream goes on with nobody reading. Its call has limits of its own; this is for what has none.
const LEFT_ALONE_MAX: Duration = Duration::from_secs(600);
/// Requests that may go on without their client at once.
const ALONE_MAX: usize = 1024;

/// The body of an answer.
pub(crate) enum Body {
    /// A message, piece by piece, or nothing.
    Pieces(VecDeque<Bytes>),
    /// Events, the last of which is the answer.
    Events(Box<Events>),
}

/// The access was taken away: the connection is reset, and nothing more of the stream is sent.
#[derive(Debug, thiserror::Error)]
#[error("the access was taken away")]
pub(crate) struct Reset;

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Pieces(VecDeque::new())
    }

    pub(crate) fn of(message: Message) -> Self {
        Self::Pieces(message.pieces.into_iter().filter(|piece| !piece.is_empty()).collect())
    }
}

type Handling = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// A request that is being handled. Dropped because its client went away, a modern one is cancelled (that is how its client
/// cancels) and a legacy one goes on (2025-11-25: a lost connection is not a cancellation).
pub(crate) struct Running {
    handling: Option<Handling>,
    waiting: Waiting,
    gateway: Arc<Gateway>,
}

/// What a running request brings next.
pub(crate) enum Next {
    /// A message before the answer.
    Message(Message),
    /// The answer; nothing comes after it.
    Answer(Answered),
}

impl Running {
    pub(crate) fn new(gateway: Arc<Gateway>, waiting: Waiting, handling: Handling) -> Self {
        Self { handling: Some(handling), waiting, gateway }
    }

    /// The next thing to send. Messages that were made before the answer come before it.
    pub(crate) fn poll_next(&mut self, answer: &mut Option<Answered>, context: &mut Context<'_>) -> Poll<Next> {
        self.poll_handling(answer, context);
        if answer.as_ref().is_some_and(|answered| answered.cut) {
            return Poll::Ready(Next::Answer(answer.take().expect("it is there")));
        }
        match (self.waiting.poll_next(context), self.handling.is_some()) {
            (Poll::Ready(message), _) => Poll::Ready(Next::Message(message)),
            (Poll::Pending, true) => Poll::Pending,
            (Poll::Pending, false) => Poll::Ready(Next::Answer(answer.take().unwrap_or_default())),
        }
    }
}

impl Running {
    fn poll_handling(&mut self, answer: &mut Option<Answered>, context: &mut Context<'_>) {
        if let Some(handling) = &mut self.handling
            && let Poll::Ready(answered) = handling.as_mut().poll(context)
        {
            self.handling = None;
            *answer = Some(answered);
        }
    }

    fn has_waiting(&self) -> bool {
        self.waiting.has_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let alone = self.waiting.finishes_alone() && !self.gateway.stop.is_cancelled();
        if let Some(handling) = self.handling.take_if(|_| alone && self.gateway.tasks.len() < ALONE_MAX) {
            self.gateway.tasks.spawn(handling);
        }
    }
}

/// What goes on behind a stream of events: a request with what it brings, and what of it is kept.
pub(crate) struct Source {
    running: Running,
    answer: Option<Answered>,
    over: bool,
    keeping: Option<Keeping>,
}

/// A stream that can be taken up again.
struct Keeping {
    streams: Arc<ClientStreams>,
    replay: Replay,
    /// The stream of what belongs to no call: it has no end of its own.
    own: bool,
}

/// What happens next on a stream.
enum Event {
    Message(Option<EventId>, Message),
    /// There will be no more.
    Over,
    Reset,
}

impl Source {
    /// Whether it is the stream of what belongs to no call.
    pub(crate) fn is_own(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.own)
    }

    /// Leaves such a stream for whoever reads it next.
    pub(crate) fn leave(&mut self) {
        for message in self.running.waiting.close() {
            drop(self.keep(message));
        }
        if let Some(keeping) = self.keeping.take() {
            keeping.streams.forget(keeping.replay.newest().stream);
            keeping.streams.leave_own(keeping.replay);
        }
    }

    fn keep(&mut self, message: Message) -> Event {
        let message = message.on_one_line();
        let id = self.keeping.as_mut().map(|keeping| keeping.replay.push(message.clone()));
        Event::Message(id, message)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            if self.over {
                return Poll::Ready(Event::Over);
            }
            let message = match std::task::ready!(self.running.poll_next(&mut self.answer, context)) {
                Next::Message(message) => Some(message),
                Next::Answer(answered) if answered.cut => {
                    // Nothing of it is to be had any more.
                    self.over = true;
                    if let Some(keeping) = self.keeping.take() {
                        keeping.streams.forget(keeping.replay.newest().stream);
                    }
                    return Poll::Ready(Event::Reset);
                }
                Next::Answer(answered) => {
                    self.over = true;
                    answered.message
                }
            };
            if let Some(message) = message.filter(|message| message.len() > 0) {
                return Poll::Ready(self.keep(message));
            }
        }
    }

    /// Goes on with nobody reading, until somebody comes back for it, its access or its time ends.
    async fn go_on(mut self, mut claimed: Claimed<Self>) {
        let expired = tokio::time::sleep(LEFT_ALONE_MAX);
        let (mut expired, stop) = (std::pin::pin!(expired), self.running.gateway.stop.clone());
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = &mut expired => return,
                reader = &mut claimed => {
                    if let Ok(reader) = reader {
                        // Who claimed it may have gone meanwhile, and it goes with them.
                        drop(reader.send(self));
                    }
                    return;
                }
                event = poll_fn(|context| self.poll(context)) => event,
            };
            match event {
                Event::Message(..) => {}
                Event::Reset => return,
                Event::Over => return self.finish(),
            }
        }
    }

    /// Everything was sent; whether it arrived nobody knows, so it is kept for a while.
    fn finish(&mut self) {
        if let Some(keeping) = self.keeping.take() {
            keeping.streams.finished(keeping.replay);
        }
    }
}

/// Server-sent events of one request.
pub(crate) struct Events {
    source: Option<Source>,
    claimed: Option<Claimed<Source>>,
    pieces: VecDeque<Bytes>,
    quiet: Pin<Box<Sleep>>,
    over: bool,
}

impl Events {
    /// A stream that may begin with a message, and go on with an answer that is there already.
    pub(crate) fn new(running: Running, first: Option<Message>, answer: Option<Answered>) -> Box<Self> {
        let begun = running.waiting.resumable().map(|streams| (streams.clone(), streams.begin()));
        let (keeping, claimed) = match begun {
            Some((streams, (replay, claimed))) => (Some(Keeping { streams, replay, own: false }), Some(claimed)),
            None => (None, None),
        };
        let mut events = Self::of(Source { running, answer, over: false, keeping }, claimed);
        events.prime();
        first.into_iter().filter(|first| first.len() > 0).for_each(|message| events.push_new(message));
        events
    }

    /// The stream of a session for what belongs to no call, from after an event if one is named.
    pub(crate) fn own(running: Running, streams: Option<&Arc<ClientStreams>>, after: Option<EventId>) -> Box<Self> {
        let (mut missed, mut keeping, mut claimed) = (Vec::new(), None, None);
        if let Some(streams) = streams {
            let replay = streams.take_own();
            if let Some(after) = after.filter(|after| after.stream == replay.newest().stream) {
                missed = replay.after(after.number);
            }
            claimed = Some(streams.register(&replay));
            keeping = Some(Keeping { streams: streams.clone(), replay, own: true });
        }
        let mut events = Self::of(Source { running, answer: None, over: false, keeping }, claimed);
        if missed.is_empty() {
            events.prime();
        }
        missed.into_iter().for_each(|(id, message)| events.push(Some(id), message));
        events
    }

    /// A stream that goes on after an event.
    pub(crate) fn resumed(source: Source, after: EventId) -> Box<Self> {
        let missed = source.keeping.as_ref().map(|keeping| keeping.replay.after(after.number)).unwrap_or_default();
        let claimed = source.keeping.as_ref().map(|keeping| keeping.streams.register(&keeping.replay));
        let mut events = Self::of(source, claimed);
        missed.into_iter().for_each(|(id, message)| events.push(Some(id), message));
        events
    }

    /// What is left of a stream that is over.
    pub(crate) fn left(running: Running, replay: &Replay, after: EventId) -> Box<Self> {
        let mut events = Self::of(Source { running, answer: None, over: true, keeping: None }, None);
        replay.after(after.number).into_iter().for_each(|(id, message)| events.push(Some(id), message));
        events
    }

    fn of(source: Source, claimed: Option<Claimed<Source>>) -> Box<Self> {
        let quiet = Box::pin(tokio::time::sleep(KEEP_ALIVE));
        Box::new(Self { source: Some(source), claimed, pieces: VecDeque::new(), quiet, over: false })
    }

    /// The first event of a stream that can be taken up again: it has nothing but an id (2025-11-25, polling).
    fn prime(&mut self) {
        let keeping = self.source.as_ref().and_then(|source| source.keeping.as_ref());
        if let Some(keeping) = keeping {
            let text = format!("id: {}\nretry: {RETRY_MS}\ndata: \n\n", keeping.replay.newest());
            self.pieces.push_back(text.into());
        }
    }

    fn push_new(&mut self, message: Message) {
        let Some(source) = &mut self.source else { return };
        if let Event::Message(id, message) = source.keep(message) {
            self.push(id, message);
        }
    }

    fn push(&mut self, id: Option<EventId>, message: Message) {
        self.pieces.push_back(match id {
            None => Bytes::from_static(b"event: message\ndata: "),
            Some(id) => format!("id: {id}\nevent: message\ndata: ").into(),
        });
        self.pieces.extend(message.pieces.into_iter().filter(|piece| !piece.is_empty()));
        self.pieces.push_back(Bytes::from_static(b"\n\n"));
    }

    /// Whether something is there to be sent without waiting.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.pieces.is_empty() || self.source.as_ref().is_some_and(|source| source.running.has_waiting())
    }

    /// Whether the access has ended, or the stream has been taken up elsewhere. To be asked where there is no room for events:
    /// that must be heard all the same.
    pub(crate) fn poll_cut(&mut self, context: &mut Context<'_>) -> bool {
        if self.poll_claimed(context) {
            return true;
        }
        let Some(source) = &mut self.source else { return false };
        source.running.poll_handling(&mut source.answer, context);
        source.answer.as_ref().is_some_and(|answered| answered.cut)
    }

    /// Hands the stream over to whoever took it up elsewhere: the connection here is lost, and nobody knew.
    fn poll_claimed(&mut self, context: &mut Context<'_>) -> bool {
        let Some(claimed) = &mut self.claimed else { return false };
        match Pin::new(claimed).poll(context) {
            Poll::Ready(Ok(reader)) => {
                self.claimed = None;
                if let Some(source) = self.source.take() {
                    drop(reader.send(source));
                }
                true
            }
            // The entry gave way to newer streams: this one can't be taken up again.
            Poll::Ready(Err(_)) => {
                self.claimed = None;
                false
            }
            Poll::Pending => false,
        }
    }

    /// The next piece to send.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Reset>>> {
        loop {
            if self.poll_claimed(context) {
                return Poll::Ready(Some(Err(Reset)));
            }
            if let Some(piece) = self.pieces.pop_front() {
                self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
                return Poll::Ready(Some(Ok(piece)));
            }
            let Some(source) = self.source.as_mut().filter(|_| !self.over) else { return Poll::Ready(None) };
            match source.poll(context) {
                Poll::Ready(Event::Message(id, message)) => self.push(id, message),
                Poll::Ready(Event::Reset) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(Reset)));
                }
                Poll::Ready(Event::Over) => self.over = true,
                Poll::Pending if self.quiet.as_mut().poll(context).is_ready() => {
                    self.pieces.push_back(Bytes::from_static(b":\n\n"));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Drop for Events {
    /// What of a stream that can be taken up again was not sent, or perhaps did not arrive, is kept for its client.
    fn drop(&mut self) {
        let (Some(mut source), Some(claimed)) = (self.source.take(), self.claimed.take()) else { return };
        let gateway = source.running.gateway.clone();
        if gateway.stop.is_cancelled() {
            return;
        }
        if source.is_own() {
            source.leave();
        } else if source.over {
            source.finish();
        } else if gateway.tasks.len() < ALONE_MAX {
            gateway.tasks.spawn(source.go_on(claimed));
        }
    }
}
