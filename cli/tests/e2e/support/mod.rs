//! What the end-to-end tests stand on: fetched parts, a running `mcpctl up`, HTTP, waiting.
pub mod browser;
pub mod conformance;
pub mod http;
pub mod oidc;
pub mod parts;
pub mod process;
pub mod small_server;
pub mod tour;
pub mod up;
pub mod wait;
