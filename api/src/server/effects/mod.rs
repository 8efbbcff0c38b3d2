//! Effects: what happens outside the log. Each is one file, done before the command that makes it true, and harmless when that is refused.
pub mod key_rotation;
pub mod mint_token;
pub mod password;
pub mod sealed_store;
pub mod secret_values;
