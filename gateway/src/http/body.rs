//! Bodies of answers: nothing, one message in its pieces, or a stream of events that ends with the answer.
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::exchange::Answered;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::outlet::Waiting;

/// How often a quiet stream says that it is alive: a line that clients ignore, so that nothing on the way gives up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
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

/// Server-sent events of one request.
pub(crate) struct Events {
    running: Running,
    answer: Option<Answered>,
    pieces: VecDeque<Bytes>,
    quiet: Pin<Box<Sleep>>,
    over: bool,
}

impl Events {
    /// A stream that may begin with a message, and go on with an answer that is there already.
    pub(crate) fn new(running: Running, first: Option<Message>, answer: Option<Answered>) -> Box<Self> {
        let quiet = Box::pin(tokio::time::sleep(KEEP_ALIVE));
        let mut events = Box::new(Self { running, answer, pieces: VecDeque::new(), quiet, over: false });
        first.into_iter().for_each(|message| events.push(message));
        events
    }

    fn push(&mut self, message: Message) {
        self.pieces.push_back(Bytes::from_static(b"event: message\ndata: "));
        let pieces = message.on_one_line().pieces;
        self.pieces.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        self.pieces.push_back(Bytes::from_static(b"\n\n"));
    }

    /// Whether something is there to be sent without waiting.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.pieces.is_empty() || self.running.has_waiting()
    }

    /// Whether the access has ended. To be asked where there is no room for events: that must be heard all the same.
    pub(crate) fn poll_cut(&mut self, context: &mut Context<'_>) -> bool {
        self.running.poll_handling(&mut self.answer, context);
        self.answer.as_ref().is_some_and(|answered| answered.cut)
    }

    /// The next piece to send.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Reset>>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
                return Poll::Ready(Some(Ok(piece)));
            }
            if self.over {
                return Poll::Ready(None);
            }
            match self.running.poll_next(&mut self.answer, context) {
                Poll::Ready(Next::Message(message)) => self.push(message),
                Poll::Ready(Next::Answer(answered)) => {
                    self.over = true;
                    if answered.cut {
                        return Poll::Ready(Some(Err(Reset)));
                    }
                    answered.message.into_iter().for_each(|message| self.push(message));
                }
                Poll::Pending if self.quiet.as_mut().poll(context).is_ready() => {
                    self.pieces.push_back(Bytes::from_static(b":\n\n"));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
