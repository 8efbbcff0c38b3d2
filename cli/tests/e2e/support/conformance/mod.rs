//! The official conformance suite: our fixture, the suite's score of a server, and the way through the gateway.
pub mod bearer;
pub mod cell;
pub mod faces;
pub mod fixture;
pub mod suite;
