//! A record that an open has read and checked: its hash and its meaning are handed on, so that nobody works them out
//! a second time.
use super::LogError;
use super::chain::Link;
use crate::ids::{Digest, Seq};
use crate::record::{Record, RecordError};

/// A record of the log, checked against its checksum and the chain.
pub struct Checked<'a> {
    /// Its position.
    pub seq: Seq,
    /// Its stored bytes.
    pub bytes: &'a [u8],
    /// Their blake3 hash.
    pub hash: Digest,
    pub(super) decoded: Decoded,
}

/// As much of a record as was decoded.
pub(super) enum Decoded {
    /// All of it.
    Record(Box<Record>),
    /// What the chain needs. The rest was not asked for.
    Link(Link),
    /// What the chain needs. The rest does not decode.
    Strange(Link, RecordError),
}

impl Decoded {
    /// Decodes a record. A kind or an event that this program does not know is no reason to doubt the log.
    pub(super) fn whole(bytes: &[u8]) -> Result<Self, RecordError> {
        match Record::load(bytes) {
            Ok(record) => Ok(Self::Record(Box::new(record))),
            Err(error) => Link::read(bytes).map(|link| Self::Strange(link, error)),
        }
    }

    /// Decodes what the chain needs.
    pub(super) fn link_of(bytes: &[u8]) -> Result<Self, RecordError> {
        Link::read(bytes).map(Self::Link)
    }

    pub(super) fn link(&self) -> Link {
        match self {
            Self::Record(record) => Link::of(&record.header),
            Self::Link(link) | Self::Strange(link, _) => *link,
        }
    }
}

impl Checked<'_> {
    /// The record, decoded.
    ///
    /// # Errors
    /// When it does not decode.
    pub fn record(self) -> Result<Record, LogError> {
        let seq = self.seq;
        match self.decoded {
            Decoded::Record(record) => Ok(*record),
            Decoded::Link(_) => Record::load(self.bytes).map_err(|source| LogError::Record { seq, source }),
            Decoded::Strange(_, source) => Err(LogError::Record { seq, source }),
        }
    }
}
