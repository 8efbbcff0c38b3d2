//! Peers for tests that behave as told.
pub(super) mod fake_http;
