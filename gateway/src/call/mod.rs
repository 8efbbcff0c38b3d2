//! A request on its way: [`Parsed`] → [`Resolved`] → [`Authorized`]. Only what is authorized can be sent to a server.
//!
//! [`send`] is the one function of the gateway that makes a request of a server, and it takes an [`Authorized`]; that type's
//! fields are private and only [`authorize`] makes one, of an admission and its filters. So to forget the check does not
//! compile. This does:
//! ```
//! use std::sync::Arc;
//! use mcpctl_api::plane::Admission;
//! use mcpctl_api::upstream::{NoSink, Session};
//! use mcpctl_gateway::call::{Resolved, authorize, send};
//!
//! async fn example(admission: &Admission, resolved: Resolved<'_>, session: &dyn Session) {
//!     let Ok(resolved) = authorize(admission, resolved) else { return };
//!     let _ = send(resolved, session, Arc::new(NoSink)).await;
//! }
//! ```
//! and this, without that line, does not:
//! ```compile_fail,E0308
//! use std::sync::Arc;
//! use mcpctl_api::plane::Admission;
//! use mcpctl_api::upstream::{NoSink, Session};
//! use mcpctl_gateway::call::{Resolved, authorize, send};
//!
//! async fn example(admission: &Admission, resolved: Resolved<'_>, session: &dyn Session) {
//!     let _ = send(resolved, session, Arc::new(NoSink)).await;
//! }
//! ```
//! Nor can an [`Authorized`] be written down without asking:
//! ```compile_fail,E0451
//! use mcpctl_gateway::call::Authorized;
//! fn example(authorized: Authorized) -> Authorized {
//!     Authorized { ..authorized }
//! }
//! ```
mod authorized;
mod parsed;
mod resolved;

pub use authorized::{Authorized, Refused, Unanswered, authorize, send};
pub use parsed::Parsed;
pub(crate) use parsed::{Incoming, Malformed, Outcome};
pub use resolved::Resolved;
pub(crate) use resolved::Target;
