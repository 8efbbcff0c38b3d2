//! The head of a request: parsed by `httparse`, and refused where it could be read in two ways.
use bytes::{Bytes, BytesMut};
use http::header::{EXPECT, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};
use mcpctl_api::http1::{Framing, Left};

/// Most headers of a request.
const HEADERS_MAX: usize = 100;

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    /// Method, target and headers.
    pub(super) parts: Parts,
    /// What follows it.
    pub(super) left: Left,
    /// HTTP/1.0.
    pub(super) old: bool,
    /// The client wants the connection to end with this request.
    pub(super) last: bool,
    /// It waits for `100 Continue`.
    pub(super) wants_word: bool,
}

/// Where in the head a name and a value are.
type Spot = (usize, usize);

/// Takes a head out of what has come. `None`: more must come.
///
/// # Errors
/// The status with which it is to be refused.
pub(super) fn read_head(input: &mut BytesMut) -> Result<Option<Head>, u16> {
    let Some(found) = find(input)? else { return Ok(None) };
    let head = input.split_to(found.bytes).freeze();
    let slice = |(at, length): Spot| head.slice(at..at + length);
    let mut parts = Request::new(()).into_parts().0;
    parts.method = Method::from_bytes(&slice(found.method)).map_err(|_| 400u16)?;
    parts.uri = Uri::from_maybe_shared(slice(found.target)).map_err(|_| 400u16)?;
    parts.version = if found.old { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.headers.reserve(found.headers.len());
    let mut framing = Framing::default();
    for (name, value) in &found.headers {
        let (name, value) = header(&head, *name, slice(*value))?;
        framing.note(name.as_str(), value.as_bytes()).map_err(|_| 400u16)?;
        parts.headers.append(name, value);
    }
    let left = framing.left(found.old, Left::Nothing).map_err(|_| 400u16)?;
    let expects = parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    Ok(Some(Head { parts, left, old: found.old, last: framing.is_last(found.old), wants_word: expects && !found.old }))
}

fn header(head: &Bytes, (at, length): Spot, value: Bytes) -> Result<(HeaderName, HeaderValue), u16> {
    let name = HeaderName::from_bytes(&head[at..at + length]).map_err(|_| 400u16)?;
    let value = HeaderValue::from_maybe_shared(value).map_err(|_| 400u16)?;
    Ok((name, value))
}

struct Found {
    bytes: usize,
    method: Spot,
    target: Spot,
    old: bool,
    headers: Vec<(Spot, Spot)>,
}

fn find(input: &[u8]) -> Result<Option<Found>, u16> {
    if input.is_empty() {
        return Ok(None);
    }
    let mut headers = [const { std::mem::MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let bytes = match request.parse_with_uninit_headers(input, &mut headers) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(httparse::Error::Version) => return Err(505),
        Err(_) => return Err(400),
    };
    let spot = |part: &[u8]| (part.as_ptr().addr() - input.as_ptr().addr(), part.len());
    let method = spot(request.method.ok_or(400u16)?.as_bytes());
    let target = spot(request.path.ok_or(400u16)?.as_bytes());
    let headers = request.headers.iter().map(|one| (spot(one.name.as_bytes()), spot(one.value))).collect();
    Ok(Some(Found { bytes, method, target, old: request.version == Some(0), headers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, u16> {
        read_head(&mut BytesMut::from(text))
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: 5 5",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding : chunked",
            "X: 1\r\n folded: 2",
            "X: a\0b",
            "X Y: 1",
            ": 1",
        ] {
            let answer = read(&format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n"));
            assert_eq!(answer.map(|head| head.is_some()), Err(400), "{lines:?}");
        }
        assert_eq!(read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").map(|head| head.is_some()), Err(400));
        assert_eq!(read("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").map(|head| head.is_some()), Err(505));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(read(&many).map(|head| head.is_some()), Err(431));
    }

    #[test]
    fn a_head_is_taken_and_what_follows_it_stays() {
        let mut input =
            BytesMut::from("POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nX: 1\r\nx: 2\r\n\r\nabcGET");
        let head = read_head(&mut input).unwrap().unwrap();
        assert_eq!((head.parts.method, head.parts.uri.path()), (Method::POST, "/a"));
        assert_eq!(head.parts.headers.get_all("x").iter().count(), 2);
        assert!(head.left == Left::Bytes(3) && !head.last && !head.old);
        assert_eq!(&input[..], b"abcGET");
        for end in 0..20 {
            assert!(read(&"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..end]).unwrap().is_none());
        }
    }

    #[test]
    fn an_old_client_keeps_its_connection_only_when_it_says_so() {
        let last = |text: &str| read(text).unwrap().unwrap().last;
        assert!(last("GET / HTTP/1.0\r\n\r\n") && !last("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!last("GET / HTTP/1.1\r\n\r\n") && last("GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n"));
    }
}
