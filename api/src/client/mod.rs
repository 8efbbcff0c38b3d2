//! Speaks to the control plane over REST.
mod account;
mod address;
mod error;
mod objects;
mod observe;
mod transport;

pub use address::{Address, InvalidAddress};
pub use error::ClientError;
pub use objects::{Applied, BATCH_MAX, Changed, Target, Write};
pub use observe::{AuditFilter, AuditItem, Health, LogLines};
pub use transport::{Client, http_client};
