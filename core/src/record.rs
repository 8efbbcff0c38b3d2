//! A record: one event as it is stored, its header, its bytes and its place in the chain.
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::ids::{Digest, RequestId, Seq, Uid};
use crate::kinds::Kind;
use crate::name::Name;
use crate::time::Timestamp;

/// Version of the record format that this program writes. A log with a later version is refused.
/// 2: a header may have a `reason`, and say where the audit log stood.
pub const RECORD_VERSION: u16 = 2;

/// Most bytes a stored record may have: what an entry of a bundle may have (C2SP tlog-tiles says its length in two bytes).
/// Larger payloads belong beside the log, under a commitment.
pub const RECORD_BYTES_MAX: usize = 64 * 1024 - 1;

/// Most bytes of a reason.
pub const REASON_BYTES_MAX: usize = 256;

/// Who allowed an event and by which grants: the decision, pinned to the state it was made in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authz {
    /// The state decided on: the seq before the first event of the batch.
    pub at: Seq,
    /// By which way the command was allowed.
    pub mode: AuthzMode,
    /// Seqs of the events that made the grants which were used and the memberships by which they are held, ascending. What
    /// followed from a command by itself has those of the command.
    pub via: Vec<Seq>,
}

/// By which way a command was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthzMode {
    /// Grants of the caller.
    Rbac,
    /// The caller acted on what is its own (its password, its login, its token).
    Own,
    /// The control plane itself: bootstrap, expiry, and what follows from a command by itself.
    System,
    /// Somebody who holds the machine and the key file.
    Local,
}

/// Where the audit log stood when events were written: whoever takes entries away from it, or changes them, would have to
/// change the log of events too, and with it every checkpoint of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditAnchor {
    /// How many entries it had, all of them durable and signed for.
    pub size: u64,
    /// Root of the tree over them (RFC 6962, SHA-256).
    pub root: Digest,
}

/// What stands in front of every payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Format of the record, see [`RECORD_VERSION`].
    pub v: u16,
    /// Position in the log.
    pub seq: Seq,
    /// Identity of the event, a UUID version 7.
    pub id: uuid::Uuid,
    /// When it was decided: never earlier than the event before.
    pub at: Timestamp,
    /// Kind of the object.
    pub kind: Kind,
    /// Past-tense name of the event within its kind: `applied`, `deleted`, `minted`, …
    pub event: String,
    /// Version of the payload's shape, for upcasting.
    pub version: u16,
    /// The object.
    pub object: Uid,
    /// Name of the object at the time.
    pub name: Name,
    /// The project that the object lives in, for kinds with that scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Uid>,
    /// Whose command it was: the identity of the credential.
    pub actor: Actor,
    /// Whom the actor stood for, and by whose rights it was decided: a service account (C7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Actor>,
    /// Request that caused it; a retry with the same id changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// Why it was done, as whoever did it says, or what it undoes: at most [`REASON_BYTES_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the audit log stood, in the first event of a commit, at most once a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditAnchor>,
    /// Why it was allowed.
    pub authz: Authz,
    /// Hash of the record before; zeros for the first.
    pub prev: Digest,
}

impl Header {
    /// By whose rights it was decided: the one that the actor stood for, or the actor.
    #[must_use]
    pub fn by_rights_of(&self) -> &Actor {
        self.on_behalf_of.as_ref().unwrap_or(&self.actor)
    }
}

/// A header and its payload (MessagePack with field names), decoded one level deep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The envelope.
    pub header: Header,
    /// Bytes of the event, see [`crate::event`].
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
}

/// A record as bytes, ready to be appended, with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Position in the log.
    pub seq: Seq,
    /// Exactly the bytes that are stored, hashed and proved.
    pub bytes: Vec<u8>,
    /// blake3 of `bytes`: the next record's `prev`.
    pub hash: Digest,
}

/// A record that can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It would be larger than [`RECORD_BYTES_MAX`].
    #[error("the event takes {bytes} bytes, and an event may take {RECORD_BYTES_MAX}: make the object smaller")]
    TooLarge {
        /// What it would take.
        bytes: usize,
    },
    /// It can't be encoded.
    #[error("an event could not be encoded")]
    Encode(#[source] rmp_serde::encode::Error),
    /// The bytes are not a record.
    #[error("the stored bytes are not a record")]
    Decode(#[source] rmp_serde::decode::Error),
    /// A later program wrote it.
    #[error("the record has format {found}, and this program knows {RECORD_VERSION}: use the newer mcpctl")]
    Newer {
        /// Format found.
        found: u16,
    },
}

impl Record {
    /// Encodes the record and hashes it.
    ///
    /// # Errors
    /// When it is too large.
    pub fn store(&self) -> Result<StoredRecord, RecordError> {
        let bytes = rmp_serde::to_vec_named(self).map_err(RecordError::Encode)?;
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLarge { bytes: bytes.len() });
        }
        let hash = Digest::blake3(&bytes);
        Ok(StoredRecord { seq: self.header.seq, bytes, hash })
    }

    /// Decodes stored bytes.
    ///
    /// # Errors
    /// When they are not a record, or one of a later format.
    pub fn load(bytes: &[u8]) -> Result<Self, RecordError> {
        match rmp_serde::from_slice::<Self>(bytes) {
            Ok(record) if record.header.v > RECORD_VERSION => Err(RecordError::Newer { found: record.header.v }),
            Ok(record) => Ok(record),
            Err(source) => Err(newer_format(bytes).unwrap_or(RecordError::Decode(source))),
        }
    }
}

/// A record of a later format may not decode at all: then only its format number is looked at.
fn newer_format(bytes: &[u8]) -> Option<RecordError> {
    #[derive(Deserialize)]
    struct OnlyHeader {
        header: OnlyVersion,
    }
    #[derive(Deserialize)]
    struct OnlyVersion {
        v: u16,
    }
    let found = rmp_serde::from_slice::<OnlyHeader>(bytes).ok()?.header.v;
    (found > RECORD_VERSION).then_some(RecordError::Newer { found })
}
