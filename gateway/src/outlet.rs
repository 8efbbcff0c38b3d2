//! Messages that leave before the answer does: a bounded queue between whoever makes them and the stream of one client.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use mcpctl_api::cut::Cut;
use parking_lot::Mutex;

use crate::client::ClientStreams;
use crate::message::Message;

/// Messages that may wait for a client that reads slowly.
const WAITING_MAX: usize = 256;

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<Message>>,
    waker: AtomicWaker,
    closed: AtomicBool,
    finish_alone: AtomicBool,
    access: OnceLock<Cut>,
    /// Where its stream can be taken up again.
    resumable: OnceLock<Arc<ClientStreams>>,
}

/// Where messages are put in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<Shared>);

/// Where they come out.
pub(crate) struct Waiting(Arc<Shared>);

/// A new queue.
pub(crate) fn outlet() -> (Outlet, Waiting) {
    let shared = Arc::new(Shared::default());
    (Outlet(shared.clone()), Waiting(shared))
}

impl Outlet {
    /// Puts a message in, without waiting. `false` if the client is gone or does not read.
    pub(crate) fn put(&self, message: Message) -> bool {
        let mut queue = self.0.queue.lock();
        if queue.len() >= WAITING_MAX || self.0.closed.load(Ordering::Acquire) {
            return false;
        }
        queue.push_back(message);
        drop(queue);
        self.0.waker.wake();
        true
    }

    /// The access by which messages leave.
    pub(crate) fn by_access(&self, cut: &Cut) {
        let _ = self.0.access.set(cut.clone());
    }

    /// The stream can be taken up again where it breaks off.
    pub(crate) fn resumable(&self, streams: &Arc<ClientStreams>) {
        let _ = self.0.resumable.set(streams.clone());
    }

    /// Whether anybody takes messages out.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.closed.load(Ordering::Acquire)
    }

    /// The request is to be finished even when its client goes away (legacy: a lost connection is not a cancellation).
    pub(crate) fn finish_alone(&self) {
        self.0.finish_alone.store(true, Ordering::Release);
    }
}

impl Waiting {
    /// The next message; pending while there is none.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Message> {
        if let Some(message) = self.take() {
            return Poll::Ready(message);
        }
        self.0.waker.register(context.waker());
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// A message that is there already.
    pub(crate) fn take(&self) -> Option<Message> {
        self.0.queue.lock().pop_front()
    }

    /// Whether there is one.
    pub(crate) fn has_some(&self) -> bool {
        !self.0.queue.lock().is_empty()
    }

    /// The access by which messages leave, once somebody was admitted.
    pub(crate) fn access(&self) -> Option<&Cut> {
        self.0.access.get()
    }

    /// Where the stream can be taken up again, if it can.
    pub(crate) fn resumable(&self) -> Option<&Arc<ClientStreams>> {
        self.0.resumable.get()
    }

    /// Takes what is there, and lets nothing more in.
    pub(crate) fn close(&self) -> VecDeque<Message> {
        let mut queue = self.0.queue.lock();
        self.0.closed.store(true, Ordering::Release);
        std::mem::take(&mut *queue)
    }

    /// Whether the request goes on without its client: until its end, or because its access has ended, to record that.
    pub(crate) fn finishes_alone(&self) -> bool {
        self.0.finish_alone.load(Ordering::Acquire) || self.access().is_some_and(Cut::is_cancelled)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_read_loses_messages_and_nobody_waits_for_it() {
        let (outlet, waiting) = outlet();
        let taken = (0..WAITING_MAX + 5).filter(|_| outlet.put(Message::whole("x"))).count();
        assert_eq!(taken, WAITING_MAX);
        assert!(waiting.take().is_some());
        assert!(outlet.put(Message::whole("y")));
        drop(waiting);
        assert!(!outlet.put(Message::whole("z")) && !outlet.is_open());
    }
}
