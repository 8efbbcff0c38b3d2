//! Questions about rights, each about one state: may they, why, why not, who may, what may they; and about two: what
//! changed for whom.
//! All of them read `decide`'s own rules, so that an explanation can't differ from the decision.
mod difference;
mod proof;
pub mod review;
mod subject;
mod what_can;
mod who_can;
mod why_not;

pub use difference::{Difference, Then, difference, difference_of};
pub use proof::{Proof, Reason, explain};
pub use subject::{Subject, UnknownSubject, acting, actor_of};
pub use what_can::{Held, Right, WhatCan, what_can};
pub use who_can::who_can;
pub use why_not::{Missing, Obstacle, WhyNot, smallest, why_not};

/// May they: the decision itself.
pub use crate::access::decide as can_i;
