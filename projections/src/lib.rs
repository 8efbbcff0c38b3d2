//! Folds of the event log that serve every read. Each can be thrown away and comes back equal.
mod actors;
mod as_of;
mod chain;
pub mod facts;
mod grants;
mod grown;
mod history;
mod image;
mod permission_image;
pub mod replay;
mod state;
mod tables;
mod times;
mod turns;
pub mod undo;
mod varint;

pub use as_of::AsOf;
pub use image::{IMAGE_FORMAT, ImageError};
pub use state::{Fold, State};
