//! Shapes of `revert` and `restore`, which server and client share.
use mcpctl_core::ids::Seq;
use serde::{Deserialize, Serialize};

use crate::access_wire::{SimulatedObject, SubjectChange};

/// Why undoing would undo more than was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UndoConflict {
    /// The object.
    pub object: String,
    /// Events that changed it since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub since: Vec<Seq>,
    /// What is in the way.
    pub why: String,
}

/// What undoing does, or would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undoing {
    /// What is undone, in words; the reason in the events that do it.
    pub reason: String,
    /// Whether it was done.
    pub done: bool,
    /// The state on which it was tried, or that has it.
    pub seq: Seq,
    /// Objects, and what becomes of each.
    pub objects: Vec<SimulatedObject>,
    /// What does not come back, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// What would be undone beside what was asked for; it takes `force`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<UndoConflict>,
    /// Who gains and loses what, as far as the caller may view them.
    #[serde(default)]
    pub access: Vec<SubjectChange>,
    /// Whether `access` is all of it.
    pub complete: bool,
}
