//! A control plane and gateways as processes, with a way between them that can be made to stall, to measure revocations.
mod control;
mod link;
mod load;
mod namespace;

pub use control::{Control, figure_of, serve_if_asked};
pub use link::{Link, Stall};
pub use load::{Load, Seen};
pub use namespace::{Broken, Namespace};
