//! A small MCP client that examines an endpoint: modern first, legacy when that is what answers.
mod examine;
mod exchange;
mod report;

pub use examine::{Wanted, examine};
pub use report::{Report, Verdict};
