//! Speaks to the control plane over REST.
mod account;
mod address;
mod error;
mod evidence;
pub(crate) mod gateway_wire;
mod objects;
mod observe;
mod questions;
mod remote_plane;
mod replay;
pub(crate) mod stream_wire;
pub mod tls;
mod tools;
mod transport;
mod undo;

pub use address::{Address, InvalidAddress};
pub use error::ClientError;
pub use objects::{Applied, BATCH_MAX, Changed, Patience, Target, Write};
pub use observe::{AuditFilter, AuditItem, Health, LogLines};
pub use questions::{AccessQuestion, DiffQuestion, ReviewQuestion};
pub use remote_plane::{ConnectError, RemotePlane};
pub use transport::{Client, http_client};
pub use undo::Undo;
