//! Every version of every object, by the seq it holds from: the past stays askable without a replay.
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::Name;
use mcpctl_core::object::Object;
use mcpctl_core::record::Header;

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
    names: OrdMap<(Kind, Option<Uid>, Name), Vector<Uid>>,
}

impl History {
    pub(crate) fn push(&mut self, header: &Header, object: Option<Arc<Object>>) {
        let versions = self.versions.entry(header.object).or_default();
        if versions.is_empty() {
            let key = (header.kind, header.project, header.name.clone());
            self.names.entry(key).or_default().push_back(header.object);
        }
        versions.push_back(Version { from: header.seq, object });
    }

    /// Every object that ever had a name, oldest first.
    pub(crate) fn named(&self, kind: Kind, project: Option<Uid>, name: &Name) -> Vec<Uid> {
        self.names.get(&(kind, project, name.clone())).into_iter().flatten().copied().collect()
    }

    /// Versions of an object, oldest first.
    pub(crate) fn of(&self, uid: Uid) -> impl Iterator<Item = &Version> {
        self.versions.get(&uid).into_iter().flatten()
    }

    /// The object as it was after a seq.
    pub(crate) fn at(&self, uid: Uid, seq: Seq) -> Option<Arc<Object>> {
        let versions = self.versions.get(&uid)?;
        let later =
            versions.binary_search_by(|version| version.from.cmp(&seq)).map_or_else(|next| next, |found| found + 1);
        versions.get(later.checked_sub(1)?)?.object.clone()
    }
}
