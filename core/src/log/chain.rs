//! The chain of records: each names the hash of the one before, so nothing can be taken out or put in unnoticed.
use serde::Deserialize;

use super::LogError;
use crate::ids::{Digest, Seq, Uid};
use crate::record::{Header, RECORD_VERSION, RecordError, StoredRecord};

/// The little that the log itself reads of a record: it must not fail on kinds and events that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Link {
    v: u16,
    pub(super) seq: Seq,
    pub(super) object: Uid,
    pub(super) prev: Digest,
}

impl Link {
    /// The link of a record that was decoded.
    pub(super) const fn of(header: &Header) -> Self {
        Self { v: header.v, seq: header.seq, object: header.object, prev: header.prev }
    }

    /// Reads the link of a stored record.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct OnlyHeader {
            header: Link,
        }
        let link = rmp_serde::from_slice::<OnlyHeader>(bytes).map_err(RecordError::Decode)?.header;
        if link.v > RECORD_VERSION { Err(RecordError::Newer { found: link.v }) } else { Ok(link) }
    }
}

/// The end of a chain that holds up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) seq: Seq,
    pub(super) hash: Digest,
}

impl Chain {
    /// Follows one record further.
    pub(super) fn follow(&mut self, seq: Seq, bytes: &[u8]) -> Result<Link, LogError> {
        let link = Link::read(bytes).map_err(|source| LogError::Record { seq, source })?;
        self.follow_link(seq, &link, Digest::blake3(bytes))?;
        Ok(link)
    }

    /// The same for a record whose link and hash are known.
    pub(super) fn follow_link(&mut self, seq: Seq, link: &Link, hash: Digest) -> Result<(), LogError> {
        if seq != self.seq.next() || link.seq != seq || link.prev != self.hash {
            return Err(LogError::Unchained { seq });
        }
        *self = Self { seq, hash };
        Ok(())
    }

    /// Follows a batch that is to be appended: what would not hold when it is read again is not written.
    pub(super) fn follow_batch(&self, batch: &[StoredRecord]) -> Result<(Self, Vec<Link>), LogError> {
        let mut chain = *self;
        let mut links = Vec::with_capacity(batch.len());
        for record in batch {
            if record.seq != chain.seq.next() {
                return Err(LogError::OutOfOrder { expected: chain.seq.next(), found: record.seq });
            }
            links.push(chain.follow(record.seq, &record.bytes)?);
            if chain.hash != record.hash {
                return Err(LogError::Unchained { seq: record.seq });
            }
        }
        Ok((chain, links))
    }
}
