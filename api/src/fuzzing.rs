//! What a fuzzer gives to the readers of what comes from servers, and what must hold then. For `fuzz/` alone.
use crate::upstream::fuzzing;

/// A message of a server: written again and read again it is the same, and it is one line.
pub fn json_rpc(bytes: &[u8]) {
    fuzzing::json_rpc(bytes);
}

/// An event stream: the cut into pieces does not matter.
pub fn sse(bytes: &[u8]) {
    fuzzing::sse(bytes);
}

/// The head of an answer and the body that follows it.
pub fn http(bytes: &[u8]) {
    fuzzing::http(bytes);
}

/// The address of a server.
pub fn url_guard(bytes: &[u8]) {
    fuzzing::url_guard(bytes);
}
