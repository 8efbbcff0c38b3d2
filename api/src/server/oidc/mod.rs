//! Signing in at an OpenID Connect provider: the command line gets an ID token there, and presents it here.
//!
//! The control plane never talks to the person's browser and holds no secret of the provider: see
//! `docs/decisions/0011-sign-in-at-a-provider.md` for why.
mod fetch;
pub mod flags;
mod id_token;
mod keys;
mod provider;
mod route;
mod sign_in;
#[cfg(test)]
mod testing;
mod used;

pub use flags::{InvalidSettings, OidcFlags, Settings};
pub use provider::Provider;
pub(super) use route::{PATH, routes};
