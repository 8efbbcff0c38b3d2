//! Tools of servers: their definitions are noticed on the way, kept, told, and decided about.
mod kept;
mod notice;
mod past;
mod routes;
mod tell;

pub use kept::KeptDefinitions;
pub use notice::Noticing;
pub use routes::routes;
pub(super) use tell::summary;
