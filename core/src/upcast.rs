//! Old payload shapes become today's, on read and in this one file. Stored bytes are never edited.
//!
//! A new shape of an event raises its version where it is drafted (`erased.rs`) and adds its step here; the recorded
//! bytes of every release (`fixtures/log`) must go on decoding.
use std::borrow::Cow;

use crate::record::Header;

/// Version of every event's payload that this program writes.
pub const EVENT_VERSION: u16 = 1;

/// A payload that a later program wrote.
#[derive(Debug, thiserror::Error)]
#[error("the {kind}.{event} event has version {found}, and this program knows {EVENT_VERSION}: use the newer mcpctl")]
pub struct NewerEvent {
    kind: crate::kinds::Kind,
    event: String,
    found: u16,
}

/// The payload in today's shape.
///
/// # Errors
/// When a later program wrote it.
pub fn current<'a>(header: &Header, payload: &'a [u8]) -> Result<Cow<'a, [u8]>, NewerEvent> {
    match header.version {
        EVENT_VERSION => Ok(Cow::Borrowed(payload)),
        found => Err(NewerEvent { kind: header.kind, event: header.event.clone(), found }),
    }
}
