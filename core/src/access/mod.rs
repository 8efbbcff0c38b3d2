//! Access: what rights are, and the one function that list, call and explain use to decide on them.
mod asked;
mod ceiling;
mod decision;
mod gist;
mod impersonation;
mod permission;
pub mod questions;

pub use asked::{Asked, NotAsked};
pub use ceiling::{
    Addition, added_rights, check_additions, check_depth, check_references, covers_all_of, depth_by, inside_project,
    opens,
};
pub(crate) use decision::holdings;
pub use decision::{Ask, Rule, Verdict, covers, decide, effective, holds, within};
pub use gist::{Gist, Wanted};
pub use impersonation::{IMPERSONATE, impersonates};
pub use permission::{
    Grant, InvalidResource, InvalidVerb, Membership, OPERATIONS, Permission, ResourceName, Role, RoleBinding, Verb,
};
