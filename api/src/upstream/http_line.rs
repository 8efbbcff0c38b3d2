//! One HTTP connection, driven by the task that uses it.
//!
//! A call then costs no hop through the scheduler, and dropping the call closes the connection, which is how the modern era
//! cancels.
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::http_io::Io;

/// A connection with requests of known bodies.
pub(super) type Connection = http1::Connection<TokioIo<Io>, Full<Bytes>>;

/// One connection.
pub(super) struct Line {
    pub(super) sender: http1::SendRequest<Full<Bytes>>,
    pub(super) connection: Pin<Box<Connection>>,
    /// The connection has ended.
    pub(super) done: bool,
    pub(super) keep_until: Instant,
    pub(super) keep_for: Duration,
}

/// The request was not answered.
pub(super) enum Unsent {
    /// Not a byte of it went out.
    Intact(Box<Request<Full<Bytes>>>),
    /// Some of it may have.
    Perhaps,
}

impl Line {
    pub(super) fn usable(&self) -> bool {
        !self.done && self.sender.is_ready()
    }

    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(response::Parts, Incoming), Unsent> {
        let answer = self.sender.try_send_request(request);
        match drive(&mut self.connection, &mut self.done, answer).await {
            Ok(response) => Ok(response.into_parts()),
            Err(mut error) => match error.take_message() {
                Some(request) => Err(Unsent::Intact(Box::new(request))),
                None => Err(Unsent::Perhaps),
            },
        }
    }

    /// One step of the connection, without waiting.
    pub(super) async fn advance(&mut self) {
        if !self.done {
            self.done = poll_fn(|cx| Poll::Ready(self.connection.as_mut().poll(cx).is_ready())).await;
        }
    }
}

/// Waits for `answer` while keeping the connection moving.
pub(super) async fn drive<T>(
    connection: &mut Pin<Box<Connection>>,
    done: &mut bool,
    answer: impl Future<Output = T>,
) -> T {
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        if !*done {
            *done = connection.as_mut().poll(cx).is_ready();
        }
        // The step may have brought the answer; asking again saves a turn through the scheduler.
        answer.as_mut().poll(cx)
    })
    .await
}
