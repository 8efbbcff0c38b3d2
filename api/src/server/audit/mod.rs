//! The audit log: every call, every refusal, every login, and every look at it.
mod log;
mod query;
mod text;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod query_tests;

pub use log::{AuditFigures, AuditLog};
pub use query::{AuditQuery, LIMIT_MAX, RIGHT, read_entry};
