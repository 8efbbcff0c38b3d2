//! One HTTP/1.1 connection to a server, driven by the task that uses it: one request, its answer, then the next.
//!
//! A call then costs no hop through the scheduler, and dropping the call closes the connection, which is how the modern era
//! cancels. What an answer is follows RFC 9112 (sections 6 and 7) strictly: what could be read in two ways is not read, since
//! a connection that is kept would bring the rest of it to the next caller.
use std::io;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime;

use super::http_head::{HEAD_BYTES_MAX, Head, Read, read_head};
use super::http_io::Io;
use crate::http1::Left;

/// Room for one read. A larger answer says how long it is, and gets what it needs at once.
const READ_BYTES: usize = 8 << 10;
/// Largest room that is made ahead for an answer of a known length.
const ROOM_BYTES_MAX: usize = 1 << 20;
/// Requests up to this are copied behind their head: one buffer is sent faster than two.
pub(super) const COPY_BYTES_MAX: usize = 16 << 10;
/// Interim answers (1xx) before the answer itself.
const INTERIM_MAX: usize = 16;

/// One connection.
pub(super) struct Line {
    io: Io,
    input: BytesMut,
    left: Left,
    /// The runtime whose reactor watches the connection: to be used elsewhere costs a hop between threads with each event.
    home: runtime::Id,
    /// After this answer the connection can't be used again.
    last: bool,
    pub(super) keep_until: Instant,
    pub(super) keep_for: Duration,
}

/// The request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// Not a byte of it went out.
    Intact,
    /// Some of it may have.
    Perhaps,
}

impl Line {
    pub(super) fn new(io: Io, keep_for: Duration) -> Self {
        let input = BytesMut::with_capacity(READ_BYTES);
        let home = runtime::Handle::current().id();
        Self { io, input, left: Left::Nothing, home, last: false, keep_until: Instant::now(), keep_for }
    }

    /// Whether it is at home in this runtime.
    pub(super) fn is_of(&self, runtime: runtime::Id) -> bool {
        self.home == runtime
    }

    /// Whether the next request can be sent: the answer was read to its end, and nothing followed it.
    pub(super) fn usable(&self) -> bool {
        self.left.is_over() && !self.last && self.input.is_empty()
    }

    /// One look at a kept connection: a server that closed it, or spoke unasked, has said so by now.
    pub(super) async fn is_quiet(&mut self) -> bool {
        let mut read = std::pin::pin!(self.io.read_buf(&mut self.input));
        std::future::poll_fn(|cx| std::task::Poll::Ready(read.as_mut().poll(cx).is_pending())).await
    }

    /// Sends a request, whose head ends with its empty line, and reads the head of the answer.
    pub(super) async fn send(&mut self, head: BytesMut, body: &Bytes) -> Result<Head, Unsent> {
        let mut sent = 0;
        let written = self.write(head, body, &mut sent).await;
        if written.is_err() && sent == 0 {
            return Err(Unsent::Intact);
        }
        // A server may refuse a request that it did not read to its end, and close: what it said is there all the same.
        let read = self.read_head().await;
        self.last |= written.is_err();
        read.map_err(|_| Unsent::Perhaps)
    }

    async fn write(&mut self, mut head: BytesMut, body: &Bytes, sent: &mut usize) -> io::Result<()> {
        let (mut whole, mut apart);
        let out: &mut (dyn Buf + Send) = if body.len() <= COPY_BYTES_MAX {
            head.extend_from_slice(body);
            whole = head.freeze();
            &mut whole
        } else {
            apart = head.freeze().chain(body.clone());
            &mut apart
        };
        while out.has_remaining() {
            let written = self.io.write_buf(&mut &mut *out).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            *sent += written;
        }
        self.io.flush().await
    }

    async fn read_head(&mut self) -> io::Result<Head> {
        for _ in 0..INTERIM_MAX {
            let head = loop {
                match read_head(&self.input).map_err(bad)? {
                    Read::Whole(head, bytes) => {
                        self.input.advance(bytes);
                        break head;
                    }
                    Read::Partial if self.input.len() >= HEAD_BYTES_MAX => return Err(bad("a head that is too long")),
                    Read::Partial if self.fill(READ_BYTES).await? == 0 => {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    Read::Partial => {}
                }
            };
            // Nobody asked for another protocol (101).
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                self.left = head.left;
                self.last = head.last;
                return Ok(head);
            }
        }
        Err(bad("interim answers without an end"))
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(piece) = self.left.take(&mut self.input).map_err(bad)? {
                return Ok(Some(piece));
            }
            if self.left.is_over() {
                return Ok(None);
            }
            if self.fill(READ_BYTES).await? == 0 {
                self.last = true;
                return self.left.at_close().map(|()| None).map_err(|()| io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The whole body where its length is known, in one piece; `None` where it is not.
    pub(super) async fn known(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        let Some(length) = self.left.known() else { return Ok(None) };
        let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or_else(|| bad(TOO_LARGE))?;
        while self.input.len() < length {
            let missing = length - self.input.len();
            if self.fill(missing.min(ROOM_BYTES_MAX)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let whole = self.left.take(&mut self.input).map_err(bad)?.unwrap_or_default();
        if whole.len() > READ_BYTES {
            // A large answer leaves with the buffer that it came in.
            self.input = BytesMut::with_capacity(READ_BYTES);
        }
        Ok(Some(whole))
    }

    /// Reads once, with room for at least so many bytes. 0: the server closed.
    async fn fill(&mut self, room: usize) -> io::Result<usize> {
        self.input.reserve(room);
        self.io.read_buf(&mut self.input).await
    }
}

/// What an answer that is too large is refused with.
pub(super) const TOO_LARGE: &str = "an answer that is too large";

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
