//! Access: what rights are, and the one function that list, call and explain use to decide on them.
mod asked;
mod ceiling;
mod decision;
mod permission;
pub mod questions;

pub use asked::{Asked, NotAsked};
pub use ceiling::{Addition, added_rights, check_additions, check_references, clone_of, covers_all_of, opens};
pub use decision::{Ask, Rule, Verdict, covers, decide, effective, within};
pub use permission::{
    Grant, InvalidResource, InvalidVerb, Membership, OPERATIONS, Permission, ResourceName, Role, RoleBinding, Verb,
};
