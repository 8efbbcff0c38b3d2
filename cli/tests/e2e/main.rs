//! End-to-end tests: the built `mcpctl`, real MCP servers, real MCP clients, one test binary.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod agents;
mod audit_export;
mod bad_input;
mod bit_rot;
mod conformance;
mod crash;
mod evidence;
mod full_disk;
mod health;
mod isolation;
mod lifecycle;
mod oidc;
mod openapi;
mod parts_start;
mod proved;
mod recovery;
mod repair;
mod revoke;
mod status;
mod strict;
mod support;
mod tls;
mod tour;
mod traces;
mod upstream_face;
mod witness;
