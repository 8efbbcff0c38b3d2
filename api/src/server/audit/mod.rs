//! The audit log: every call, every refusal, every login, and every look at it.
mod log;
#[cfg(test)]
mod log_tests;
pub(in crate::server) mod pin;
mod query;
#[cfg(test)]
mod query_tests;
mod route;
mod text;

pub use log::{AuditFigures, AuditLog};
pub use query::{AuditQuery, LIMIT_MAX, RIGHT, read_entry};
pub use route::routes;
pub(super) use text::harmless;
