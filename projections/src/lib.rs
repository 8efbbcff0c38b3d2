//! Folds of the event log that serve every read. Each can be thrown away and comes back equal.
mod grants;
mod history;
mod state;
mod tables;

pub use history::Version;
pub use state::{Fold, State};
