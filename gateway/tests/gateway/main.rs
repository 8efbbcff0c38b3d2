//! The gateway between fake clients and fake servers: every rule that needs more than one part to be seen.
#![allow(missing_docs, clippy::unwrap_used)]

mod access;
mod aggregation;
mod audit;
#[path = "../support/collector.rs"]
mod collector;
mod cors;
mod eras;
mod fake_plane;
mod fake_server;
mod house;
mod http_rules;
mod no_ttl;
mod param_headers;
mod questions;
mod relays;
mod resumable;
mod sessions;
mod slow_agent;
mod stdio;
mod tasks;
mod tools;
mod traces;
mod wire;
