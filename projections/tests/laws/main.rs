//! Laws of decisions and projections, over all kinds and over random commands.
#![allow(clippy::unwrap_used)]
mod access;
mod cascades;
mod ceilings;
mod difference;
mod escalation;
mod events;
mod kinds;
mod matrix;
mod past;
mod questions;
mod town;
