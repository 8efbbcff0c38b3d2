//! What a tree is built over: the events of the config log, or the headers of the audit log's entries.
use std::sync::Arc;

use mcpctl_core::ids::Seq;
use mcpctl_core::log::LogReader;
use mcpctl_tlog::{Hash, record_hash};

use super::EvidenceError;
use crate::server::audit::{AuditLog, AuditRecord};

/// A leaf of a tree.
#[derive(Clone, Copy)]
pub(super) enum Leaf<'a> {
    /// Its bytes.
    Bytes(&'a [u8]),
    /// Only the hash is left of it.
    Hash(Hash),
}

impl Leaf<'_> {
    pub(super) fn hash(self) -> Hash {
        match self {
            Leaf::Bytes(bytes) => record_hash(bytes),
            Leaf::Hash(hash) => hash,
        }
    }
}

impl<'a> From<AuditRecord<'a>> for Leaf<'a> {
    fn from(record: AuditRecord<'a>) -> Self {
        record.leaf().map_or_else(|| Leaf::Hash(record.leaf_hash()), Leaf::Bytes)
    }
}

/// What each leaf is handed to; `false` ends the walk.
pub(super) type EachLeaf<'a> = &'a mut dyn FnMut(u64, Leaf<'_>) -> bool;

/// Leaves by position, counted from 1.
pub(super) trait Source: Send + Sync {
    /// Position of the last one that is durable; 0 when there is none.
    fn head(&self) -> u64;

    /// Position of the first one that is kept. Those before it were dropped; only their hashes stay.
    fn first(&self) -> u64;

    /// Hands over the leaves from a position on, up to the head.
    fn scan(&self, from: u64, each: EachLeaf<'_>) -> Result<(), EvidenceError>;
}

impl Source for Arc<dyn LogReader> {
    fn head(&self) -> u64 {
        (**self).head().0
    }

    fn first(&self) -> u64 {
        1
    }

    fn scan(&self, from: u64, each: EachLeaf<'_>) -> Result<(), EvidenceError> {
        Ok((**self).scan(Seq(from), &mut |seq, bytes| each(seq.0, Leaf::Bytes(bytes)))?)
    }
}

impl Source for Arc<AuditLog> {
    /// What a power cut could still take away is not signed for.
    fn head(&self) -> u64 {
        self.reader().durable().0
    }

    fn first(&self) -> u64 {
        self.reader().first().map_or(1, |first| first.0)
    }

    fn scan(&self, from: u64, each: EachLeaf<'_>) -> Result<(), EvidenceError> {
        let (reader, mut bad) = (self.reader(), None);
        let durable = reader.durable();
        reader.scan(Seq(from), &mut |position, bytes| match AuditRecord::read(bytes) {
            Ok(record) => position <= durable && each(position.0, record.into()),
            Err(source) => {
                bad = Some(EvidenceError::Entry { position: position.0, source });
                false
            }
        })?;
        bad.map_or(Ok(()), Err)
    }
}
