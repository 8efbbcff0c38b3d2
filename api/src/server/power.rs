//! The disk of the log's own tests, for what else must outlive a power cut: it fails when it is told to, and knows what a
//! power cut would leave.
use mcpctl_core::log::disk;

#[path = "../../../core/src/log/disk_model.rs"]
mod disk_model;

pub(in crate::server) use disk_model::{Dice, DiskModel, Keeps};

/// What is left of what was not synced, in every way there is.
pub(in crate::server) const CUTS: [Keeps; 4] = [Keeps::Nothing, Keeps::Some, Keeps::SomeReordered, Keeps::All];
/// An error of the device.
pub(in crate::server) const EIO: i32 = 5;
/// No space is left on it.
pub(in crate::server) const ENOSPC: i32 = 28;
