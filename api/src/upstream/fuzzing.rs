//! What must hold of the readers of what comes from servers, whatever comes. Called by the fuzzer, and by a test for each
//! input that is kept in `fuzz/corpus`.
use std::net::{IpAddr, Ipv6Addr};

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use super::address_guard::{Class, class};
use super::http_head::{Read, read_head};
use super::rpc::{self, Message};
use super::sse_parser::SseParser;
use crate::http1::Left;

pub(crate) fn json_rpc(bytes: &[u8]) {
    let Ok(message) = rpc::parse(bytes) else { return };
    let (method, params) = match &message {
        Message::Request { method, params, .. } | Message::Notification { method, params } => (method, params),
        Message::Answer { id, outcome } => {
            let id = RawValue::from_string(id.unwrap_or(7).to_string()).expect("a number is JSON");
            let written = rpc::write_answer(&id, &outcome.to_reply());
            assert!(!written.contains(&b'\n') && !written.contains(&b'\r'), "more than one line");
            assert!(matches!(rpc::parse(&written), Ok(Message::Answer { .. })), "an answer is one again");
            return;
        }
    };
    for meta in [&b""[..], b"\"k\":1"] {
        let written = rpc::write_request(1, method, *params, meta);
        assert!(!written.contains(&b'\n') && !written.contains(&b'\r'), "more than one line");
        // Params that are no object can't be given a member, and one with a member twice is for the server to refuse.
        let Ok(Message::Request { method: again, params: after, .. }) = rpc::parse(&written) else {
            panic!("what was a request is none")
        };
        assert_eq!(&again, method);
        if meta.is_empty()
            && !params.is_some_and(|params| params.get().contains("_meta") || params.get().contains("\\u"))
        {
            let one_line = |raw: Option<&RawValue>| raw.map(|raw| raw.get().trim().replace(['\n', '\r'], " "));
            assert_eq!(one_line(after), one_line(*params), "untouched");
        }
    }
}

/// The events of a stream by kind and data, the last id, and whether it was refused.
type Events = (Vec<(String, Vec<u8>)>, Option<String>, bool);

/// All events of a stream that comes in pieces of these sizes, over and over.
fn events(bytes: &[u8], sizes: &[usize]) -> Events {
    let (mut parser, mut found, mut rest) = (SseParser::default(), Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, later) = rest.split_at((*size).clamp(1, rest.len()));
        rest = later;
        parser.feed(piece);
        loop {
            match parser.next() {
                Ok(Some(event)) => found.push((event.kind, event.data)),
                Ok(None) => break,
                Err(_) => return (found, parser.last_id, true),
            }
        }
    }
    (found, parser.last_id, false)
}

pub(crate) fn sse(bytes: &[u8]) {
    let sizes: Vec<usize> = bytes.iter().take(8).map(|byte| usize::from(byte % 17) + 1).collect();
    let whole = events(bytes, &[usize::MAX]);
    for sizes in [&[1][..], &sizes] {
        if !sizes.is_empty() {
            assert_eq!(events(bytes, sizes), whole, "the cut matters");
        }
    }
}

/// The body that comes in pieces of a size, until it is over or refused; what is behind it; and whether it was refused.
fn body(mut left: Left, bytes: &[u8], size: usize) -> (Vec<u8>, Vec<u8>, bool) {
    let (mut input, mut found, mut rest) = (BytesMut::new(), Vec::new(), Bytes::copy_from_slice(bytes));
    while !left.is_over() && !rest.is_empty() {
        input.extend_from_slice(&rest.split_to(size.min(rest.len())));
        loop {
            match left.take(&mut input) {
                Ok(Some(piece)) => found.extend_from_slice(&piece),
                Ok(None) => break,
                Err(_) => return (found, Vec::new(), true),
            }
        }
    }
    (found, [&input[..], &rest[..]].concat(), false)
}

pub(crate) fn http(bytes: &[u8]) {
    let Ok(Read::Whole(head, length)) = read_head(bytes) else { return };
    assert!(length <= bytes.len());
    assert!(!matches!(read_head(&bytes[..length - 1]), Ok(Read::Whole(..))), "less than a head is a head");
    let whole = body(head.left, &bytes[length..], usize::MAX);
    for size in [1, 3] {
        let again = body(head.left, &bytes[length..], size);
        // What is refused is refused however it comes; how much of it was read before depends on how it came.
        let both = whole.2 && again.2 && (again.0.starts_with(&whole.0) || whole.0.starts_with(&again.0));
        assert!(both || again == whole, "the cut matters: {whole:?} {again:?}");
    }
}

pub(crate) fn url_guard(bytes: &[u8]) {
    let Some(address) = bytes.first_chunk::<16>() else { return };
    let v6 = Ipv6Addr::from(*address);
    let v4 = IpAddr::from([address[0], address[1], address[2], address[3]]);
    let own = |address: IpAddr| match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_unspecified()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    };
    for address in [v4, IpAddr::V6(v6)] {
        let carried = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        assert!(!own(address) || class(address) != Class::Public, "{address} is public");
        assert!(
            carried.is_none_or(|inner| class(inner) == class(address)),
            "{address} is judged otherwise than what it carries"
        );
    }
    // A url in which the same address is written in any way that a url may write it.
    let Ok(text) = std::str::from_utf8(&bytes[16..]) else { return };
    let Ok(url) = url::Url::parse(text) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if !matches!(url.host(), Some(url::Host::Domain(_)))
        && let Ok(pinned) = runtime.block_on(super::address_guard::pin(&url, false))
    {
        assert!(pinned.iter().all(|address| !own(address.ip())), "{url} leads to {pinned:?}");
        assert!(url.username().is_empty() && url.password().is_none() && matches!(url.scheme(), "http" | "https"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_that_is_kept_still_holds() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let mut read = 0;
        for (target, holds) in
            [("json_rpc", json_rpc as fn(&[u8])), ("sse", sse), ("http_heads", http), ("url_guard", url_guard)]
        {
            for entry in std::fs::read_dir(corpus.join(target)).unwrap() {
                holds(&std::fs::read(entry.unwrap().path()).unwrap());
                read += 1;
            }
        }
        assert!(read >= 20, "{read} inputs: the corpus is not there");
    }
}
