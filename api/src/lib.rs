//! The control plane's face: `client` speaks to it, `server` is it, `upstream` speaks to MCP servers.
pub mod access_wire;
pub mod audit_wire;
pub mod causes;
#[cfg(feature = "client")]
pub mod client;
pub mod cut;
pub mod http1;
pub mod lease;
#[cfg(feature = "client")]
pub mod local;
pub mod plane;
pub mod replay_wire;
#[cfg(feature = "server")]
pub mod server;
pub mod undo_wire;
pub mod upstream;
pub mod wire;
