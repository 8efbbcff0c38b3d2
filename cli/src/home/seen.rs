//! What was seen of each log: its key, its last checkpoint, and whether it was ever caught in a lie.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The file `checkpoints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoints {
    /// Logs by origin.
    pub logs: BTreeMap<String, Seen>,
    /// Which log was seen at which address. Not for this machine, where one port serves many in turn.
    pub addresses: BTreeMap<String, String>,
}

/// A log, as it was seen last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its public key, believed at first sight and for ever after.
    pub key: String,
    /// The last checkpoint that it signed.
    pub checkpoint: String,
    /// When it was looked at last, in seconds since 1970.
    #[serde(default)]
    pub at: u64,
    /// Why nothing it says is believed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
