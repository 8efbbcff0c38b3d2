//! Questions of a server across the eras (2026-07-28, multi round-trip requests).
//!
//! A legacy server asks its client while a call runs; a modern one answers `input_required` and is called again. For a
//! modern client in front of a legacy server the running call is held until the client comes back with the answers
//! ([`to_modern`]); for a legacy client in front of a modern server the gateway asks, and calls again ([`to_legacy`]).
//! Within the modern era what the client carries between two requests is sealed on its way ([`carried`]).
pub(crate) mod carried;
pub(crate) mod held;
mod input_required;
mod round;
mod seal;
pub(crate) mod to_legacy;
pub(crate) mod to_modern;

pub(crate) use held::{HELD, Running};
pub(crate) use input_required::is_input_required;
pub(crate) use round::Round;
pub(crate) use seal::{Bound, Seal};

/// Requests that may be answered with `input_required`; for any other a server must not.
pub(crate) fn may_ask(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

/// The capability of a client that a question needs.
pub(crate) fn capability_of(method: &str) -> Option<&'static str> {
    match method {
        "sampling/createMessage" => Some("sampling"),
        "elicitation/create" => Some("elicitation"),
        "roots/list" => Some("roots"),
        _ => None,
    }
}
