//! Lines of a byte stream, with a limit on their length and without a copy of what is read.
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a read brought.
pub(super) enum Line {
    /// A whole line without its end is at the front of the buffer, this long; see [`Lines::take`].
    Whole(usize),
    /// The line is longer than the limit.
    TooLong,
    /// The stream ended.
    End,
}

/// Splits a stream into lines.
pub(super) struct Lines<R> {
    from: R,
    buffer: BytesMut,
    scanned: usize,
    line_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, line_bytes_max: usize) -> Self {
        Self { from, buffer: BytesMut::with_capacity(64 << 10), scanned: 0, line_bytes_max }
    }

    /// Waits for the next line. Safe to drop: what was read stays in the buffer.
    pub(super) async fn next(&mut self) -> std::io::Result<Line> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
                return Ok(Line::Whole(self.scanned + at));
            }
            self.scanned = self.buffer.len();
            if self.scanned > self.line_bytes_max {
                return Ok(Line::TooLong);
            }
            self.buffer.reserve(16 << 10);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(Line::End);
                }
                // The last line has no end.
                self.buffer.extend_from_slice(b"\n");
            }
        }
    }

    /// Hands the line that [`Lines::next`] found to `f`, and lets go of it.
    pub(super) fn take<T>(&mut self, length: usize, f: impl FnOnce(&[u8]) -> T) -> T {
        let out = f(self.buffer[..length].trim_ascii());
        self.buffer.advance(length + 1);
        self.scanned = 0;
        // One huge line must not keep its memory for ever.
        if self.buffer.is_empty() && self.buffer.capacity() > 1 << 20 {
            self.buffer = BytesMut::with_capacity(64 << 10);
        }
        out
    }

    /// Throws away what was read of a line that is too long. The rest of it comes as the next line.
    pub(super) fn skip<T>(&mut self, f: impl FnOnce(&[u8]) -> T) -> T {
        let out = f(&self.buffer);
        self.buffer.clear();
        self.scanned = 0;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_however_they_arrive() {
        let (mut near, far) = tokio::io::duplex(3);
        let writer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            near.write_all(b"one\r\n\n  two \nlast").await.unwrap();
        });
        let mut lines = Lines::new(far, 100);
        let mut seen = Vec::new();
        while let Line::Whole(length) = lines.next().await.unwrap() {
            seen.push(lines.take(length, |line| String::from_utf8(line.to_vec()).unwrap()));
        }
        writer.await.unwrap();
        assert_eq!(seen, ["one", "", "two", "last"]);
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_told() {
        let mut lines = Lines::new(&[b'x'; 200][..], 100);
        assert!(matches!(lines.next().await.unwrap(), Line::TooLong));
    }
}
