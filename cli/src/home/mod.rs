//! `~/.mcpctl`: which control planes there are, and how one is known to them.
mod files;
mod seen;
mod store;

pub use files::{Config, Context, Credential, Credentials};
pub use seen::{Checkpoints, Seen};
pub use store::{Home, write_whole};

/// The context that `mcpctl up` writes.
pub const LOCAL: &str = "local";
/// Where a control plane listens unless said otherwise.
pub const DEFAULT_API: &str = "http://127.0.0.1:3100";
/// Where a gateway listens unless said otherwise.
pub const DEFAULT_GATEWAY: &str = "http://127.0.0.1:3200";
