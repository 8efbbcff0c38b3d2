//! Every version of every object, by the seq it holds from: the past stays askable without a replay.
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::object::Object;

/// What an object was from a seq on; `None` after its deletion.
#[derive(Clone)]
pub struct Version {
    /// The first seq at which it was so.
    pub from: Seq,
    /// The object, or nothing.
    pub object: Option<Arc<Object>>,
}

/// All versions.
#[derive(Clone, Default)]
pub(crate) struct History {
    versions: OrdMap<Uid, Vector<Version>>,
}

impl History {
    pub(crate) fn push(&mut self, uid: Uid, from: Seq, object: Option<Arc<Object>>) {
        self.versions.entry(uid).or_default().push_back(Version { from, object });
    }

    /// Versions of an object, oldest first.
    pub(crate) fn of(&self, uid: Uid) -> impl Iterator<Item = &Version> {
        self.versions.get(&uid).into_iter().flatten()
    }

    /// The object as it was after a seq.
    pub(crate) fn at(&self, uid: Uid, seq: Seq) -> Option<Arc<Object>> {
        let versions = self.versions.get(&uid)?;
        let later = versions.iter().position(|version| version.from > seq).unwrap_or(versions.len());
        versions.get(later.checked_sub(1)?)?.object.clone()
    }
}
