//! Draws the bytes of tokens. The raw value lives in the frame that answers, and nowhere else.
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::McpTokenAction;
use mcpctl_core::plaintext::Plaintext;
use mcpctl_core::token::{LOGIN_PREFIX, PAT_PREFIX, encode, shown_prefix};

use crate::server::clock;

/// A project token that was drawn, and the action that puts it in force.
#[must_use]
pub fn draw_token() -> (Plaintext, McpTokenAction) {
    let raw = encode(PAT_PREFIX, &clock::random());
    let sha256 = Digest::sha256(raw.expose().as_bytes());
    let prefix = shown_prefix(raw.expose());
    (raw, McpTokenAction::Mint { sha256, prefix })
}

/// A login's token that was drawn, and its digest.
#[must_use]
pub fn draw_login() -> (Plaintext, Digest) {
    let raw = encode(LOGIN_PREFIX, &clock::random());
    let digest = Digest::sha256(raw.expose().as_bytes());
    (raw, digest)
}
