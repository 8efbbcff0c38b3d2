//! What comes in on the connection of a client: heads and bodies of requests (RFC 9112), and its end.
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mcpctl_api::http1::Left;
use mcpctl_api::plane::CallerBearer;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::head::{Head, read_head};

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Room for one read.
const READ_BYTES: usize = 8 << 10;
/// Largest room that is made ahead for a body of a known length.
const ROOM_BYTES_MAX: usize = 256 << 10;
/// What a client may send before it has its answer. The rest waits in the system's buffers.
const AHEAD_BYTES_MAX: usize = 64 << 10;
/// Longer than any limit.
const LIMITS_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a client may take nothing of an answer.
const WRITE_STALLS_MAX: Duration = Duration::from_secs(60);
/// What is read over of a body that nobody wants, so that its sender reads why; and for how long.
const DRAIN: (usize, Duration) = (16 << 20, Duration::from_secs(2));

/// A connection of a client.
pub(super) struct Wire {
    stream: TcpStream,
    input: BytesMut,
    left: Left,
    /// The client waits for a word before it sends its body.
    wants_word: bool,
    limit: Limit,
    /// The name under which the last request came.
    last_host: Vec<u8>,
    /// The bearer that it had.
    last_bearer: Option<CallerBearer>,
}

/// A limit that is set for each request and seldom runs out: the timer behind it goes off early where a later moment was
/// set meanwhile, and is then set anew. Setting a limit so costs no more than looking at the clock.
struct Limit {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Limit {
    fn new() -> Self {
        Self { at: Instant::now(), timer: Box::pin(tokio::time::sleep(LIMITS_MAX)) }
    }

    fn set(&mut self, limit: Duration) {
        self.at = Instant::now() + limit;
        if self.timer.deadline() > self.at {
            self.timer.as_mut().reset(self.at);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.at <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.at);
        }
        Poll::Pending
    }
}

/// Why there is no further request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoHead {
    /// The client has gone, or idled for too long.
    Over,
    /// It sent something else: a status to answer before the connection is closed.
    Refused(u16),
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoBody {
    /// It is larger than allowed.
    TooLarge,
    /// It took too long.
    Late,
    /// The client went away, or what it sent is no body.
    Broken,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        let input = BytesMut::with_capacity(READ_BYTES);
        Self {
            stream,
            input,
            left: Left::Nothing,
            wants_word: false,
            limit: Limit::new(),
            last_host: Vec::new(),
            last_bearer: None,
        }
    }

    /// The head of the next request. The limit counts the idle time in front of it too.
    pub(super) async fn head(&mut self, limit: Duration) -> Result<Head, NoHead> {
        self.limit.set(limit);
        loop {
            if let Some(head) = read_head(&mut self.input).map_err(NoHead::Refused)? {
                self.left = head.left;
                self.wants_word = head.wants_word;
                return Ok(head);
            }
            if self.input.len() >= HEAD_BYTES_MAX {
                return Err(NoHead::Refused(431));
            }
            match self.fill_in_time(READ_BYTES).await {
                Some(Ok(1..)) => {}
                None if !self.input.is_empty() => return Err(NoHead::Refused(408)),
                Some(Ok(0) | Err(_)) | None => return Err(NoHead::Over),
            }
        }
    }

    /// The whole body of the request. Most have come with the head, and are then not copied.
    pub(super) async fn body(&mut self, most: usize, limit: Duration) -> Result<Bytes, NoBody> {
        self.limit.set(limit);
        match self.left.known() {
            Some(length) => match usize::try_from(length) {
                Ok(length) if length <= most => self.known(length).await,
                _ => Err(NoBody::TooLarge),
            },
            None => self.chunks(most).await,
        }
    }

    async fn known(&mut self, length: usize) -> Result<Bytes, NoBody> {
        while self.input.len() < length {
            self.more((length - self.input.len()).clamp(1, ROOM_BYTES_MAX)).await?;
        }
        let whole = self.left.take(&mut self.input).map_err(|_| NoBody::Broken)?.unwrap_or_default();
        if whole.len() > READ_BYTES {
            // A large body leaves with the buffer that it came in.
            let rest = std::mem::replace(&mut self.input, BytesMut::with_capacity(READ_BYTES));
            self.input.extend_from_slice(&rest);
        }
        Ok(whole)
    }

    async fn chunks(&mut self, most: usize) -> Result<Bytes, NoBody> {
        let mut all = BytesMut::new();
        loop {
            while let Some(piece) = self.left.take(&mut self.input).map_err(|_| NoBody::Broken)? {
                if all.len() + piece.len() > most {
                    return Err(NoBody::TooLarge);
                }
                all.extend_from_slice(&piece);
            }
            if self.left.is_over() {
                return Ok(all.freeze());
            }
            self.more(READ_BYTES).await?;
        }
    }

    async fn more(&mut self, room: usize) -> Result<(), NoBody> {
        if std::mem::take(&mut self.wants_word) {
            let word = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            word.map_err(|_| NoBody::Broken)?;
        }
        match self.fill_in_time(room).await {
            Some(Ok(1..)) => Ok(()),
            Some(Ok(0) | Err(_)) => Err(NoBody::Broken),
            None => Err(NoBody::Late),
        }
    }

    /// The name under which the last request came, for whoever judges the next one.
    pub(super) const fn last_host(&mut self) -> &mut Vec<u8> {
        &mut self.last_host
    }

    /// The bearer that the last request had.
    pub(super) const fn last_bearer(&mut self) -> &mut Option<CallerBearer> {
        &mut self.last_bearer
    }

    /// Whether the body of the last request was read to its end.
    pub(super) fn is_read(&self) -> bool {
        self.left.is_over()
    }

    /// Reads over what is left of a request that was answered already: closing over it would reset the connection, and the
    /// answer might not be read.
    pub(super) async fn drain(&mut self) {
        let _ = self.stream.shutdown().await;
        self.limit.set(DRAIN.1);
        let mut read = 0;
        while read < DRAIN.0 {
            self.input.clear();
            match self.fill_in_time(READ_BYTES).await {
                Some(Ok(more @ 1..)) => read += more,
                _ => return,
            }
        }
    }

    /// Reads once. `None`: the timer ran out.
    async fn fill_in_time(&mut self, room: usize) -> Option<io::Result<usize>> {
        self.input.reserve(room);
        poll_fn(|cx| match self.poll_fill(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => self.limit.poll(cx).map(|()| None),
        })
        .await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut read = std::pin::pin!(self.stream.read_buf(&mut self.input));
        read.as_mut().poll(cx)
    }

    /// Ready when the client has gone. What it sends meanwhile is kept for later.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.input.len() < AHEAD_BYTES_MAX {
            match self.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    /// Writes what fits. The timer runs from [`Self::begin_writing`], or from the last byte that was taken.
    pub(super) fn poll_write(&mut self, out: &mut dyn bytes::Buf, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while out.has_remaining() {
            let mut slices = [io::IoSlice::new(&[]); 16];
            let filled = out.chunks_vectored(&mut slices);
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..filled]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    out.advance(written);
                    self.begin_writing();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.limit.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sets the limit on a client that takes nothing.
    pub(super) fn begin_writing(&mut self) {
        self.limit.set(WRITE_STALLS_MAX);
    }

    /// Resets the connection: what is on its way to the client is thrown away.
    pub(super) fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }
}
