//! Server-sent events, read from bytes as they come.
use bytes::{Buf, BytesMut};
use memchr::memchr2;

use super::rpc::MESSAGE_BYTES_MAX;

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// `event`, empty for the default type.
    pub(super) kind: String,
    /// `data`, its lines joined.
    pub(super) data: Vec<u8>,
}

/// The event, or what is read of it, is larger than a message may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {} MiB", MESSAGE_BYTES_MAX >> 20)]
pub(super) struct TooLarge;

/// Feeds on chunks, gives events.
#[derive(Default)]
pub(super) struct SseParser {
    buffer: BytesMut,
    scanned: usize,
    /// The last line ended with a CR: a LF that follows belongs to it.
    after_cr: bool,
    begun: bool,
    has_data: bool,
    event: Event,
    /// Last `id` seen, for resuming.
    pub(super) last_id: Option<String>,
    /// Last `retry` seen.
    pub(super) retry_ms: Option<u64>,
}

impl SseParser {
    /// For a stream that goes on where another one broke off.
    pub(super) fn resuming(last_id: Option<String>, retry_ms: Option<u64>) -> Self {
        Self { last_id, retry_ms, ..Self::default() }
    }

    /// Takes what arrived.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, if it is there. Events without data are passed over, as the standard has it.
    pub(super) fn next(&mut self) -> Result<Option<Event>, TooLarge> {
        loop {
            if !self.buffer.is_empty() && std::mem::take(&mut self.after_cr) && self.buffer[0] == b'\n' {
                self.buffer.advance(1);
            }
            let Some(at) = memchr2(b'\n', b'\r', &self.buffer[self.scanned..]) else {
                self.scanned = self.buffer.len();
                let size = self.buffer.len() + self.event.data.len();
                return if size > MESSAGE_BYTES_MAX { Err(TooLarge) } else { Ok(None) };
            };
            let line = self.buffer.split_to(self.scanned + at);
            self.after_cr = self.buffer[0] == b'\r';
            self.buffer.advance(1);
            self.scanned = 0;
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if std::mem::take(&mut self.has_data) {
                    return Ok(Some(event));
                }
            } else {
                self.line(&line)?;
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), TooLarge> {
        let line = if std::mem::replace(&mut self.begun, true) {
            line
        } else {
            line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
        };
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                if self.event.data.len() + value.len() > MESSAGE_BYTES_MAX {
                    return Err(TooLarge);
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) && value.len() <= 1024 => {
                self.last_id = std::str::from_utf8(value).ok().filter(|id| !id.is_empty()).map(str::to_owned);
            }
            b"retry" => {
                self.retry_ms = std::str::from_utf8(value).ok().and_then(|ms| ms.parse().ok()).or(self.retry_ms)
            }
            // A comment (no name) or a field nobody knows.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(chunks: &[&[u8]]) -> (Vec<(String, String)>, SseParser) {
        let mut parser = SseParser::default();
        let mut out = Vec::new();
        for chunk in chunks {
            parser.feed(chunk);
            while let Some(event) = parser.next().unwrap() {
                out.push((event.kind, String::from_utf8(event.data).unwrap()));
            }
        }
        (out, parser)
    }

    const STREAM: &[u8] = b"\xef\xbb\xbf: hello\r\n\r\nid: 7\r\nretry: 250\r\ndata:\r\n\r\ndata: a\r\ndata: b\r\n\r\nevent: message\rdata: {\"a\":\rdata: 1}\r\rid\nfoo: bar\ndata:x\n\nevent: lost\n\ndata: unfinished\n";

    #[test]
    fn all_forms_of_the_standard_are_read() {
        let (seen, parser) = events(&[STREAM]);
        let wanted =
            [("", ""), ("", "a\nb"), ("message", "{\"a\":\n1}"), ("", "x")].map(|(k, d)| (k.to_owned(), d.to_owned()));
        assert_eq!(seen, wanted);
        assert_eq!((parser.last_id, parser.retry_ms), (None, Some(250)), "an empty id resets the last one");
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = SseParser::default();
        parser.feed(&vec![b'x'; MESSAGE_BYTES_MAX + 1]);
        assert_eq!(parser.next(), Err(TooLarge));
        let mut parser = SseParser::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1 << 20], b"\n"].concat();
        let mut outcome = Ok(None);
        for _ in 0..17 {
            parser.feed(&line);
            outcome = parser.next();
        }
        assert_eq!(outcome, Err(TooLarge));
    }

    proptest! {
        #[test]
        fn the_cut_into_chunks_does_not_matter(cuts in prop::collection::vec(0..STREAM.len(), 0..20)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|pair| &STREAM[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events(&chunks).0, events(&[STREAM]).0);
        }
    }
}
