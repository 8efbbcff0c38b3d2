//! The head of an answer: what of it is looked at, and how its body is framed (RFC 9112, sections 4 to 6).
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::http1::{Framing, Left};

/// Longest head of an answer, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of an answer.
const HEADERS_MAX: usize = 128;

/// What an answer is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    Events,
    /// Anything else, or nothing.
    Other,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Its status.
    pub(super) status: StatusCode,
    /// `Content-Type`, without parameters.
    pub(super) media: Media,
    /// `Mcp-Session-Id`.
    pub(super) session: Option<HeaderValue>,
    /// How long the server says that it keeps the connection.
    pub(super) keep_for: Option<Duration>,
    pub(super) left: Left,
    /// The connection ends with this answer.
    pub(super) last: bool,
}

/// What was found in the bytes that have come so far.
pub(super) enum Read {
    /// More must come.
    Partial,
    /// A head, and how many bytes it has.
    Whole(Head, usize),
}

/// Reads a head.
///
/// # Errors
/// When it is none, or when its body could be read in more than one way.
pub(super) fn read_head(input: &[u8]) -> Result<Read, &'static str> {
    let mut headers = [const { std::mem::MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, input, &mut headers);
    let bytes = match parsed {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(Read::Partial),
        Err(_) => return Err("no head of an HTTP answer"),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("an unknown status")?;
    let mut said = Said::default();
    for header in response.headers.iter() {
        said.note(header.name, header.value)?;
    }
    let old = response.version != Some(1);
    Ok(Read::Whole(said.head(status, old)?, bytes))
}

/// What the headers say.
#[derive(Default)]
struct Said {
    framing: Framing,
    keep_for: Option<Duration>,
    media: Option<Media>,
    session: Option<HeaderValue>,
}

impl Said {
    fn note(&mut self, name: &str, value: &[u8]) -> Result<(), &'static str> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            10 if is("keep-alive") => self.keep_for = kept_by_server(value),
            12 if is("content-type") => self.media = Some(media(value)),
            14 if is("mcp-session-id") => self.session = HeaderValue::from_bytes(value).ok(),
            _ => self.framing.note(name, value)?,
        }
        Ok(())
    }

    fn head(self, status: StatusCode, old: bool) -> Result<Head, &'static str> {
        let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 304);
        let left = self.framing.left(old, Left::UntilClose)?;
        let left = if bodiless { Left::Nothing } else { left };
        let last = self.framing.is_last(old) || matches!(left, Left::UntilClose);
        let media = self.media.unwrap_or(Media::Other);
        Ok(Head { status, media, session: self.session, keep_for: self.keep_for, left, last })
    }
}

fn media(value: &[u8]) -> Media {
    let name = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    match name.len() {
        16 if name.eq_ignore_ascii_case(b"application/json") => Media::Json,
        17 if name.eq_ignore_ascii_case(b"text/event-stream") => Media::Events,
        _ => Media::Other,
    }
}

/// `Keep-Alive: timeout=5`: what the server allows, less a second for the way.
fn kept_by_server(value: &[u8]) -> Option<Duration> {
    let parameters = std::str::from_utf8(value).ok()?.split(',');
    let seconds = parameters.filter_map(|p| p.trim().strip_prefix("timeout=")).find_map(|s| s.parse::<u64>().ok())?;
    Some(Duration::from_secs(seconds.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Result<Head, &'static str> {
        match read_head(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n").as_bytes())? {
            Read::Whole(head, _) => Ok(head),
            Read::Partial => Err("partial"),
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: 0x5",
            "Content-Length: ",
            "Content-Length: -1",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding : chunked",
            " folded: 1",
            "X: a\0b",
        ] {
            assert!(head(lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn the_framing_is_what_the_headers_say() {
        assert!(matches!(head("Content-Length: 5\r\ncontent-length: 5").unwrap().left, Left::Bytes(5)));
        assert!(matches!(head("content-length: 0").unwrap().left, Left::Nothing));
        let streamed = head("TRANSFER-ENCODING: Chunked\r\nContent-Type: Text/Event-Stream; charset=utf-8").unwrap();
        assert!(!streamed.left.is_over() && !streamed.last && streamed.media == Media::Events);
        let endless = head("X: y").unwrap();
        assert!(matches!(endless.left, Left::UntilClose) && endless.last);
        assert!(head("Content-Length: 1\r\nConnection: x, Close").unwrap().last);
        assert_eq!(
            head("Keep-Alive: timeout=5, max=100\r\nContent-Length: 1").unwrap().keep_for,
            Some(Duration::from_secs(4))
        );
    }

    #[test]
    fn an_old_server_keeps_nothing_and_a_status_without_body_has_none() {
        let of = |text: &str| match read_head(text.as_bytes()) {
            Ok(Read::Whole(head, _)) => Some(head),
            _ => None,
        };
        assert!(of("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").unwrap().last);
        assert!(of("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_none());
        assert!(of("HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n").unwrap().left.is_over());
        assert!(of("HTTP/2 200 OK\r\n\r\n").is_none() && of("HTTP/1.1 2000 OK\r\n\r\n").is_none());
    }
}
