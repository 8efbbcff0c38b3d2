//! Laws of decisions and projections, over all kinds and over random commands.
#![allow(clippy::unwrap_used)]
mod access;
mod asked;
mod authz;
mod cascades;
mod ceilings;
mod clones;
mod difference;
mod escalation;
mod events;
mod image;
mod impersonation;
mod kinds;
mod last_administrator;
mod life;
mod matrix;
mod past;
mod policy;
mod questions;
mod reference;
mod replay;
mod sign_in;
mod small_scope;
mod theorems;
mod town;
mod undo;
mod walk;
