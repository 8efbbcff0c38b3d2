//! End-to-end tests: the built `mcpctl`, real MCP servers, real MCP clients, one test binary.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod parts_start;
mod support;
