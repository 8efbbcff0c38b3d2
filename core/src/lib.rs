//! Kinds, events, decisions, access and the log. No network, no wall clock, no randomness.
pub mod ids;
pub mod time;
