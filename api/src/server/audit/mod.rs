//! The audit log: every call, every refusal, every login, and every look at it.
mod delivered;
#[cfg(test)]
mod durable_tests;
mod erase;
#[cfg(test)]
mod erase_tests;
#[cfg(test)]
mod gated_disk;
mod index;
#[cfg(test)]
mod index_laws;
#[cfg(test)]
mod index_rot_tests;
mod log;
#[cfg(test)]
mod log_tests;
mod nonce;
pub(in crate::server) mod pin;
#[cfg(test)]
mod power_tests;
mod query;
#[cfg(test)]
mod query_tests;
mod record;
#[cfg(test)]
mod record_tests;
mod redact;
mod retention;
#[cfg(test)]
mod retention_tests;
mod route;
mod seals;
#[cfg(test)]
mod seals_tests;
mod sessions;
#[cfg(test)]
mod sessions_tests;
mod tail;
#[cfg(test)]
mod tail_tests;
mod text;
mod ticket;

/// Under which key digests of arguments are stored.
pub(in crate::server) const ARGUMENTS_KEY: &str = "mcpctl audit arguments 1";

pub(super) use delivered::{Delivered, entry_id};
#[cfg(test)]
pub(crate) use gated_disk::GatedDisk;
pub use index::IndexFigures;
pub use log::{AuditFigures, AuditLog};
pub use query::{AuditQuery, LIMIT_MAX, RIGHT, read_entry};
pub use record::{AuditRecord, DOMAIN, RecordError, decode};
pub use redact::Redactor;
pub(in crate::server) use redact::{keep_level, learn};
pub(in crate::server) use retention::keep as retain;
pub use route::routes;
pub(super) use tail::open_tails;
pub(super) use text::harmless;
pub(super) use ticket::Ticket;
