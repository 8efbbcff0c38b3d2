//! The evidence tree of a log: RFC 6962 tree, C2SP tlog-tiles, signed checkpoints, proofs. No I/O, nothing of the server.
//!
//! Tree arithmetic, checks of proofs and signatures are those of the crates `tlog_tiles` and `signed_note`, ports of the
//! Go project's own; here is what they leave open: growing a tree, the layout of tiles, and files for strangers.
pub mod archive;
pub mod bundle;
pub mod checkpoint;
pub mod commitment;
pub mod consistency;
pub mod cosignature;
pub mod facts;
pub mod grant_proof;
pub mod path;
pub mod policy;
pub mod proof;
pub mod proof_file;
pub mod seen;
pub mod state_root;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, LogKey, LogSigner};
pub use path::Resource;
pub use proof::Proof;
pub use tlog_tiles::tlog::{Hash, record_hash};
pub use tree::{Leaves, Tree, TreeError};

/// Hashes in a full tile: tiles are 8 levels high.
pub const TILE_WIDTH: u64 = 256;
/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
