//! Which entries of gateways are in the log already: what is delivered twice is recorded once.
//!
//! A gateway that was not answered delivers again, with the same id. The ids of the last entries are known: those since the
//! start as they come, older ones from the end of the log, read when the first late entry arrives.
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use mcpctl_core::ids::Seq;
use mcpctl_core::log::LogError;
use parking_lot::Mutex;

use super::AuditLog;
use super::record::id_of;

/// How many ids are known from before the start, and how many since.
const KNOWN_MAX: usize = 131_072;

/// An id of an entry: 128 random bits of a gateway.
pub(in crate::server) type EntryId = [u8; 16];

/// The ids.
#[derive(Default)]
pub(in crate::server) struct Delivered {
    since_start: Mutex<Known>,
    before: tokio::sync::OnceCell<HashSet<EntryId>>,
    /// Late entries come one request after the other: between looking and writing nobody writes the same.
    pub(in crate::server) turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    ids: HashSet<EntryId>,
    order: VecDeque<EntryId>,
}

/// Reads an id; `None` when it is none.
pub(in crate::server) fn entry_id(text: &str) -> Option<EntryId> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)).flatten()
}

impl Delivered {
    /// An entry was written.
    pub(in crate::server) fn note(&self, id: EntryId) {
        let mut known = self.since_start.lock();
        if known.ids.insert(id) {
            known.order.push_back(id);
        }
        if known.order.len() > KNOWN_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.ids.remove(&oldest);
        }
    }

    /// Whether an entry is there.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(in crate::server) async fn has(&self, audit: &Arc<AuditLog>, id: &EntryId) -> Result<bool, LogError> {
        if self.since_start.lock().ids.contains(id) {
            return Ok(true);
        }
        let audit = audit.clone();
        let before = self.before.get_or_try_init(|| async move {
            let read = tokio::task::spawn_blocking(move || last_ids(&audit)).await;
            read.unwrap_or_else(|error| Err(LogError::Index { what: error.to_string() }))
        });
        Ok(before.await?.contains(id))
    }
}

fn last_ids(audit: &AuditLog) -> Result<HashSet<EntryId>, LogError> {
    let mut ids = HashSet::new();
    let from = Seq(audit.figures().head.0.saturating_sub(KNOWN_MAX as u64).max(1));
    audit.reader().scan(from, &mut |_, record| {
        ids.extend(id_of(record).and_then(|id| entry_id(&id)));
        true
    })?;
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::AuditEntry;

    #[tokio::test]
    async fn what_was_written_since_the_start_and_before_it_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Arc::new(AuditLog::open(dir.path(), [1; 32]).unwrap());
        let text = |n: u8| Some(format!("{n:032x}"));
        let id = |n: u8| entry_id(&format!("{n:032x}")).unwrap();
        audit.append(AuditEntry { id: text(1), ..AuditEntry::default() }).unwrap();
        audit.append(AuditEntry::default()).unwrap();
        let delivered = Delivered::default();
        delivered.note(id(2));
        assert!(delivered.has(&audit, &id(2)).await.unwrap() && delivered.has(&audit, &id(1)).await.unwrap());
        assert!(!delivered.has(&audit, &id(3)).await.unwrap());
    }

    #[test]
    fn only_32_digits_are_an_id() {
        assert_eq!(entry_id("000102030405060708090a0b0c0d0e0f").unwrap()[15], 15);
        for bad in ["", "1", "zz0102030405060708090a0b0c0d0e0f", "+00102030405060708090a0b0c0d0e0f"] {
            assert_eq!(entry_id(bad), None, "{bad}");
        }
    }
}
