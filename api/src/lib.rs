//! The control plane's face: `client` speaks to it, `server` is it, `upstream` speaks to MCP servers.
pub mod upstream;
