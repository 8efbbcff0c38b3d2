//! Server-sent events as the control plane's proxy sends them, read from a response.
use reqwest::Response;

use super::ask::{ANSWER_BYTES_MAX, root_cause};

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) data: String,
}

/// Feeds on bytes, gives events. Lines end with a line feed; that is how they are sent.
#[derive(Default)]
pub(super) struct Parser {
    buffer: Vec<u8>,
    event: Event,
    begun: bool,
}

impl Parser {
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.buffer.len() + self.event.data.len() + bytes.len() > ANSWER_BYTES_MAX {
            return Err(format!("an event has more than {ANSWER_BYTES_MAX} bytes"));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn next(&mut self) -> Option<Event> {
        while let Some(end) = memchr::memchr(b'\n', &self.buffer) {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(line[..end].strip_suffix(b"\r").unwrap_or(&line[..end])).into_owned();
            if line.is_empty() {
                if std::mem::take(&mut self.begun) {
                    return Some(std::mem::take(&mut self.event));
                }
                self.event = Event::default();
            } else if let Some(kind) = line.strip_prefix("event: ") {
                kind.clone_into(&mut self.event.kind);
            } else if let Some(data) = line.strip_prefix("data: ") {
                if std::mem::replace(&mut self.begun, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(data);
            }
        }
        None
    }
}

/// Events of a response.
pub(super) struct Events {
    pub(super) response: Response,
    pub(super) parser: Parser,
}

impl Events {
    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, String> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            match self.response.chunk().await.map_err(|error| root_cause(&error))? {
                Some(chunk) => self.parser.feed(&chunk)?,
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_the_bytes_are_cut() {
        let text = ":\n\nevent: failed\ndata: {\ndata: }\n\ndata: x\n\n";
        for size in 1..text.len() {
            let (mut parser, mut seen) = (Parser::default(), Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                parser.feed(chunk).unwrap();
                seen.extend(std::iter::from_fn(|| parser.next()));
            }
            let failed = Event { kind: "failed".to_owned(), data: "{\n}".to_owned() };
            assert_eq!(seen, [failed, Event { kind: String::new(), data: "x".to_owned() }], "{size}");
        }
    }
}
