//! What the log of events says of the audit log: how many entries it had, and which. Whoever takes entries away, and the
//! checkpoint that was signed over them, would have to change the events too.
use std::path::{Path, PathBuf};

use mcpctl_core::ids::Seq;
use mcpctl_core::record::AuditAnchor;
use mcpctl_tlog::Tree;

use super::EvidenceError;

/// Places of the audit log, as events name them, oldest first.
#[derive(Default)]
pub(super) struct Anchors {
    all: Vec<(Seq, AuditAnchor)>,
    accept: PathBuf,
}

impl Anchors {
    /// Those that count in a data folder. An operator whose audit log is lost can say up to which event that is known, in the
    /// file `audit.lost`.
    pub(super) fn of(data: &Path, all: impl IntoIterator<Item = (Seq, AuditAnchor)>) -> Self {
        let accept = data.join("audit.lost");
        let lost = std::fs::read_to_string(&accept).ok().and_then(|seq| seq.trim().parse().ok());
        let all = all.into_iter().filter(|(seq, _)| lost.is_none_or(|lost| *seq > lost)).collect();
        Self { all, accept }
    }

    pub(super) fn count(&self) -> u64 {
        self.all.len() as u64
    }

    /// Each that names more entries than there are is a contradiction.
    pub(super) fn not_shorter(&self, now: u64) -> Result<(), EvidenceError> {
        match self.all.iter().rev().find(|(_, anchor)| anchor.size > now) {
            Some(anchor) => Err(self.contradicts(anchor, format!("has {now}"))),
            None => Ok(()),
        }
    }

    /// Whether a tree that has grown to a size that an event names is the one that it names.
    pub(super) fn hold(&self, tree: &Tree) -> Result<(), EvidenceError> {
        let size = tree.size();
        let at = self.all.partition_point(|(_, anchor)| anchor.size < size);
        let mut named = self.all[at..].iter().take_while(|(_, anchor)| anchor.size == size);
        match named.find(|(_, anchor)| anchor.root.0 != tree.root().0) {
            Some(anchor) => Err(self.contradicts(anchor, "had other entries then".to_owned())),
            None => Ok(()),
        }
    }

    fn contradicts(&self, (seq, anchor): &(Seq, AuditAnchor), what: String) -> EvidenceError {
        EvidenceError::Anchored { seq: *seq, size: anchor.size, what, accept: self.accept.clone() }
    }
}
