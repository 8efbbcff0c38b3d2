//! What goes out on the connection of a client: heads, whole answers, and streams of events.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};

use super::body::{Body, Events};
use super::wire::Wire;
use crate::message::Message;

/// Events that wait to be written. Beyond that the maker of them waits, but for word that the access has ended.
const WAITING_BYTES_MAX: usize = 64 << 10;
/// A body up to this goes out in one buffer with its head.
const COPY_BYTES_MAX: usize = 16 << 10;

/// How the client is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// HTTP/1.0: no chunks.
    pub(super) old: bool,
    /// The head alone.
    pub(super) head_only: bool,
    /// The connection ends with this answer.
    pub(super) last: bool,
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may come.
    Next,
    /// It is over.
    Close,
    /// It is to be reset: the access was taken away.
    Reset,
}

/// How the answer to nearly every request begins.
const ANSWER_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n";

impl Wire {
    /// Sends a message with status 200 and nothing else said, to a client that keeps its connection: what
    /// [`Self::respond`] would send, without a map of headers between.
    pub(super) async fn respond_message(&mut self, message: Message) -> After {
        self.begin_writing();
        let length = message.len();
        let copied = if length <= COPY_BYTES_MAX { length } else { 0 };
        let mut out = BytesMut::with_capacity(192 + copied);
        out.put_slice(ANSWER_HEAD);
        put_date(&mut out);
        put(&mut out, "content-length", length.to_string().as_bytes());
        out.put_slice(b"\r\n");
        let written = if copied == length {
            message.pieces.iter().for_each(|piece| out.put_slice(piece));
            let mut out = out.freeze();
            poll_fn(|cx| self.poll_write(&mut out, cx)).await
        } else {
            let pieces = message.pieces.into_iter().filter(|piece| !piece.is_empty());
            let mut out = Pieces(std::iter::once(out.freeze()).chain(pieces).collect());
            poll_fn(|cx| self.poll_write(&mut out, cx)).await
        };
        if written.is_ok() { After::Next } else { After::Close }
    }

    /// Writes an answer to its end, or until the client has gone.
    pub(super) async fn respond(&mut self, response: Response<Body>, manner: Manner) -> After {
        self.begin_writing();
        let (head, body) = response.into_parts();
        match body {
            Body::Pieces(pieces) => {
                let length: usize = pieces.iter().map(Bytes::len).sum();
                let bodiless = head.status == StatusCode::NO_CONTENT;
                let mut out = begin(head.status, &head.headers, if length <= COPY_BYTES_MAX { length } else { 0 });
                if !bodiless {
                    put(&mut out, "content-length", length.to_string().as_bytes());
                }
                end(&mut out, manner);
                let pieces = if manner.head_only || bodiless { VecDeque::new() } else { pieces };
                let written = self.write_pieces(out, pieces, length).await;
                if written.is_ok() && !manner.last { After::Next } else { After::Close }
            }
            Body::Events(events) => {
                let mut out = begin(head.status, &head.headers, 0);
                let manner = Manner { last: manner.last || manner.old, ..manner };
                if !manner.old {
                    put(&mut out, "transfer-encoding", b"chunked");
                }
                end(&mut out, manner);
                self.stream(out.freeze(), events, manner).await
            }
        }
    }

    async fn write_pieces(&mut self, mut head: BytesMut, pieces: VecDeque<Bytes>, length: usize) -> io::Result<()> {
        let mut out = Pieces(pieces);
        if length <= COPY_BYTES_MAX {
            while let Some(piece) = out.0.pop_front() {
                head.extend_from_slice(&piece);
            }
        }
        out.0.push_front(head.freeze());
        poll_fn(|cx| self.poll_write(&mut out, cx)).await
    }

    /// A stream of events. It is made only as fast as it is read, and ends when the client has gone; when its access has
    /// ended, nothing more is written.
    async fn stream(&mut self, head: Bytes, mut events: Box<Events>, manner: Manner) -> After {
        let mut out = Pieces(VecDeque::from([head]));
        let mut over = false;
        poll_fn(|cx| {
            loop {
                if !over {
                    match fill(&mut out, &mut events, manner.old, cx) {
                        Filled::More => {}
                        Filled::Over => over = true,
                        Filled::Reset => return Poll::Ready(After::Reset),
                    }
                }
                match (self.poll_write(&mut out, cx), over) {
                    (Poll::Ready(Ok(())), true) => {
                        return Poll::Ready(if manner.last { After::Close } else { After::Next });
                    }
                    // There is room again: what waits is looked for once more.
                    (Poll::Ready(Ok(())), false) if events.has_waiting() => {}
                    (Poll::Ready(Err(_)), _) => return Poll::Ready(After::Close),
                    (Poll::Ready(Ok(())) | Poll::Pending, _) => return self.poll_gone(cx).map(|()| After::Close),
                }
            }
        })
        .await
    }
}

enum Filled {
    /// As much as there is, or as there is room for.
    More,
    /// All that there will be.
    Over,
    /// The access was taken away.
    Reset,
}

/// Puts what is there into chunks.
fn fill(out: &mut Pieces, events: &mut Events, old: bool, cx: &mut Context<'_>) -> Filled {
    let mut chunk = VecDeque::new();
    let mut bytes = 0;
    let filled = loop {
        if out.remaining() + bytes >= WAITING_BYTES_MAX {
            break if events.poll_cut(cx) { Filled::Reset } else { Filled::More };
        }
        match events.poll(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                bytes += piece.len();
                chunk.push_back(piece);
            }
            Poll::Ready(Some(Err(_))) => return Filled::Reset,
            Poll::Ready(None) => break Filled::Over,
            Poll::Pending => break Filled::More,
        }
    };
    if old {
        out.0.append(&mut chunk);
        return filled;
    }
    if bytes > 0 {
        out.0.push_back(Bytes::from(format!("{bytes:x}\r\n")));
        out.0.append(&mut chunk);
        out.0.push_back(Bytes::from_static(b"\r\n"));
    }
    if matches!(filled, Filled::Over) {
        out.0.push_back(Bytes::from_static(b"0\r\n\r\n"));
    }
    filled
}

/// Pieces that are written in one go where the system takes them.
struct Pieces(VecDeque<Bytes>);

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [io::IoSlice<'a>]) -> usize {
        let filled = self.0.len().min(into.len());
        into.iter_mut().zip(&self.0).for_each(|(slot, piece)| *slot = io::IoSlice::new(piece));
        filled
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(front) = self.0.front_mut() {
            if bytes < front.len() {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            self.0.pop_front();
        }
    }
}

/// The status line and the headers.
fn begin(status: StatusCode, headers: &HeaderMap, room: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(320 + room);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or("Other").as_bytes());
    out.put_slice(b"\r\n");
    headers.iter().for_each(|(name, value)| put(&mut out, name.as_str(), value.as_bytes()));
    put_date(&mut out);
    out
}

fn put(out: &mut BytesMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

fn end(out: &mut BytesMut, manner: Manner) {
    if manner.last {
        put(out, "connection", b"close");
    } else if manner.old {
        put(out, "connection", b"keep-alive");
    }
    out.put_slice(b"\r\n");
}

/// `Date` (RFC 9110, section 6.6.1), written once a second.
fn put_date(out: &mut BytesMut) {
    thread_local! {
        static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    WRITTEN.with_borrow_mut(|(written, text)| {
        if *written != second {
            (*written, *text) = (second, httpdate::fmt_http_date(now));
        }
        put(out, "date", text.as_bytes());
    });
}
