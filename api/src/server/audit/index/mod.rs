//! An index over the audit log: which entries may match a query, without reading the others.
//!
//! It is derived and never believed: what it names is read and compared with the query again, so that a wrong hit shows
//! nothing. What it could do wrong is to leave an entry out; against that, each shard is bound to the entries that it was
//! made of and its bytes are checked under a key. A shard that is missing, torn or altered is read through instead, and
//! made again in the background. See `docs/decisions/0023-audit-index-and-exports.md`.
mod building;
mod file;
mod list;
mod shards;
mod term;

pub use shards::IndexFigures;
pub(super) use shards::{Candidates, Index, Moment, SHARD};
pub(super) use term::Wants;
