//! How access that was taken away is dead everywhere before anybody is told that it is.
//!
//! Every gateway holds handles of what it serves and one stream on which it is told what becomes of them. A command that
//! takes something away answers when each stream that holds any of it has said that it is done, or when that stream's lease
//! has run out by this machine's own clock. See `docs/revocation.md` and, for why it is right, `core/tests/fence`.
mod answer;
mod figures;
mod gateways;
mod handles;
mod hub;
mod reduction;
mod stream;
mod stream_state;

pub use figures::RevocationFigures;
pub use hub::{Hub, Unconfirmed};
pub use reduction::Fenced;

pub(super) use answer::{Wait, fenced, say};
pub(super) use gateways::routes as gateway_routes;
pub(super) use hub::{About, Registered};
pub(crate) use stream::{ForStreams, anchor_at, routes as stream_routes};
