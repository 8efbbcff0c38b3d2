//! Laws of decisions and projections, over all kinds and over random commands.
mod access;
mod ceilings;
mod cascades;
mod escalation;
mod events;
mod kinds;
mod matrix;
mod town;
