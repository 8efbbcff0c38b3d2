//! An audit entry as it is stored: a header that stays for ever, and details that can be erased without breaking a proof.
//!
//! ```text
//! C1 | form | …
//! form 1, whole:   length of the header, u16 big-endian | header | nonce, 16 bytes | details
//! form 2, erased:  header
//! form 3, erased:  SHA-256 leaf hash, 32 bytes            (of a record of version 1, which has no header)
//! ```
//! **The leaf of the tree is the header alone**: JSON that holds when, what sort, whether and by which rule and grants it was
//! allowed, and a commitment `SHA-256(DOMAIN ‖ nonce ‖ details)`. The details, JSON too, say who, where and what. Erasing
//! deletes details and nonce; the leaf stays, byte for byte. Records of version 1 are one MessagePack map, and are their own
//! leaf: no map begins with `C1`, which MessagePack never uses. See `docs/decisions/0019-audit-records.md`.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mcpctl_core::access::Asked;
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::time::Timestamp;
use mcpctl_tlog::commitment::{NONCE_BYTES, commit};
use mcpctl_tlog::{HASH_BYTES, Hash, record_hash};
use serde::{Deserialize, Serialize};

use crate::plane::AuditEntry;

/// Domain of the commitments.
pub const DOMAIN: &str = "mcpctl audit details v2\n";
/// Version of the header.
const VERSION: u8 = 2;
const MARK: u8 = 0xc1;
const WHOLE: u8 = 1;
const ERASED: u8 = 2;
const ERASED_V1: u8 = 3;
/// Room that is made ahead for a header, and for details: enough for nearly all.
const ROOM_BYTES: usize = 1024;
/// Longest word of a header: longer ones, and whatever is no word, stand in the details only.
const WORD_BYTES_MAX: usize = 32;

/// The bytes are no audit record that this version knows.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// They are cut off, or of another form.
    #[error("it is no record of an audit log: {0}")]
    Malformed(&'static str),
    /// Header or details can't be read.
    #[error("its header or its details can't be read")]
    Json(#[from] serde_json::Error),
    /// A record of version 1 can't be read.
    #[error("it is of version 1 and can't be read")]
    Version1(#[from] rmp_serde::decode::Error),
    /// A later version wrote it.
    #[error("it is of version {0}, which a later mcpctl wrote")]
    Newer(u8),
    /// The details are not those that the header commits to.
    #[error("its details are not those that its header commits to")]
    Commitment,
}

/// What stays of an entry when its details are erased: no name, no text that a caller chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    v: u8,
    at: Timestamp,
    kind: String,
    allowed: bool,
    outcome: String,
    seq: Seq,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    via: Vec<Seq>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// Commitment to the details, base64.
    details: String,
}

/// The rest of an entry.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_sha: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    duration_us: u64,
    request_bytes: u64,
    answer_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Digest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redacted: Vec<String>,
}

/// A record of the audit log, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditRecord<'a> {
    /// With its details.
    Whole {
        /// The header, which is the leaf of the tree.
        leaf: &'a [u8],
        /// What hides the details from whoever sees only the commitment.
        nonce: &'a [u8; NONCE_BYTES],
        /// Who, where and what.
        details: &'a [u8],
    },
    /// The details were erased.
    Erased {
        /// The header, which is the leaf of the tree.
        leaf: &'a [u8],
    },
    /// Of version 1: the whole record is the leaf.
    Version1(&'a [u8]),
    /// Of version 1, and erased: only the hash of the leaf is there.
    ErasedVersion1(&'a [u8; HASH_BYTES]),
}

impl<'a> AuditRecord<'a> {
    /// Reads the parts of a record. What they say is not looked at.
    ///
    /// # Errors
    /// When it is cut off, or of a form that this version does not know.
    pub fn read(bytes: &'a [u8]) -> Result<Self, RecordError> {
        use RecordError::Malformed;
        let Some((&[MARK, form], rest)) = bytes.split_first_chunk() else {
            return if bytes.first().is_some_and(|first| *first != MARK) {
                Ok(Self::Version1(bytes))
            } else {
                Err(Malformed("it is cut off"))
            };
        };
        match form {
            WHOLE => {
                let (length, rest) = rest.split_first_chunk().ok_or(Malformed("it is cut off"))?;
                let header = rest.split_at_checked(u16::from_be_bytes(*length).into());
                let (leaf, rest) = header.ok_or(Malformed("its header is cut off"))?;
                let (nonce, details) = rest.split_first_chunk().ok_or(Malformed("its nonce is cut off"))?;
                Ok(Self::Whole { leaf, nonce, details })
            }
            ERASED => Ok(Self::Erased { leaf: rest }),
            ERASED_V1 => {
                rest.try_into().map(Self::ErasedVersion1).map_err(|_| Malformed("its hash has another length"))
            }
            _ => Err(Malformed("its form is unknown")),
        }
    }

    /// The bytes that the tree is built over; `None` for an erased record of version 1, of which only the hash is there.
    #[must_use]
    pub const fn leaf(&self) -> Option<&'a [u8]> {
        match self {
            Self::Whole { leaf, .. } | Self::Erased { leaf } | Self::Version1(leaf) => Some(leaf),
            Self::ErasedVersion1(_) => None,
        }
    }

    /// Hash of the leaf: the same before and after its details are erased.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        match self {
            Self::ErasedVersion1(hash) => Hash(**hash),
            Self::Whole { leaf, .. } | Self::Erased { leaf } | Self::Version1(leaf) => record_hash(leaf),
        }
    }

    /// Whether its details were erased.
    #[must_use]
    pub const fn is_erased(&self) -> bool {
        matches!(self, Self::Erased { .. } | Self::ErasedVersion1(_))
    }

    /// The record without its details: what is to be stored in its place. What is erased already stays as it is.
    #[must_use]
    pub fn erased(&self) -> Vec<u8> {
        match self {
            Self::Whole { leaf, .. } | Self::Erased { leaf } => [&[MARK, ERASED], *leaf].concat(),
            Self::Version1(_) | Self::ErasedVersion1(_) => [&[MARK, ERASED_V1][..], &self.leaf_hash().0].concat(),
        }
    }

    /// Whether its details are those that its header commits to. Nothing to check in what has no commitment.
    ///
    /// # Errors
    /// When they are others, or the header can't be read.
    pub fn check(&self) -> Result<(), RecordError> {
        let Self::Whole { leaf, nonce, details } = self else { return Ok(()) };
        let header: Header = serde_json::from_slice(leaf)?;
        let found = STANDARD.encode(commit(DOMAIN, nonce, details).0);
        if found == header.details { Ok(()) } else { Err(RecordError::Commitment) }
    }

    /// The entry; of an erased one what its header says, or nothing at all in version 1.
    ///
    /// # Errors
    /// When it can't be read, or a later version wrote it.
    pub fn entry(&self) -> Result<AuditEntry, RecordError> {
        match self {
            Self::Whole { leaf, details, .. } => Ok(join(header(leaf)?, serde_json::from_slice(details)?)),
            Self::Erased { leaf } => Ok(join(header(leaf)?, Details::default())),
            Self::Version1(record) => Ok(rmp_serde::from_slice(record)?),
            Self::ErasedVersion1(_) => Ok(AuditEntry::default()),
        }
    }
}

fn header(leaf: &[u8]) -> Result<Header, RecordError> {
    let header: Header = serde_json::from_slice(leaf)?;
    if header.v == VERSION { Ok(header) } else { Err(RecordError::Newer(header.v)) }
}

/// The entry that stored bytes hold.
///
/// # Errors
/// See [`AuditRecord::entry`].
pub fn decode(bytes: &[u8]) -> Result<AuditEntry, RecordError> {
    AuditRecord::read(bytes)?.entry()
}

/// The id of the entry that stored bytes hold, if it has one that can be read. Nothing else of it is looked at: whoever wants
/// the ids wants those of many.
#[must_use]
pub fn id_of(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: Option<String>,
    }
    match AuditRecord::read(bytes).ok()? {
        AuditRecord::Whole { details, .. } => match first_member_is_id(details) {
            Some(id) => Some(id.to_owned()),
            None => serde_json::from_slice::<OnlyId>(details).ok()?.id,
        },
        record => record.entry().ok()?.id,
    }
}

/// The id where it is the first of the details and plain text, as nearly always.
fn first_member_is_id(details: &[u8]) -> Option<&str> {
    let rest = details.strip_prefix(br#"{"id":""#)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric())?;
    (rest[end] == b'"').then(|| std::str::from_utf8(&rest[..end]).ok()).flatten()
}

/// The bytes to store for an entry. The nonce is drawn for this one entry.
///
/// # Errors
/// When it can't be written as JSON, which every entry can.
pub fn encode(entry: AuditEntry, nonce: &[u8; NONCE_BYTES]) -> Result<Vec<u8>, RecordError> {
    let (mut header, of) = split(entry);
    let mut details = Vec::with_capacity(ROOM_BYTES);
    serde_json::to_writer(&mut details, &of)?;
    header.details = STANDARD.encode(commit(DOMAIN, nonce, &details).0);
    let mut record = Vec::with_capacity(ROOM_BYTES + details.len());
    record.extend_from_slice(&[MARK, WHOLE, 0, 0]);
    serde_json::to_writer(&mut record, &header)?;
    let length = u16::try_from(record.len() - 4).map_err(|_| RecordError::Malformed("its header is too long"))?;
    record[2..4].copy_from_slice(&length.to_be_bytes());
    record.extend_from_slice(nonce);
    record.extend_from_slice(&details);
    Ok(record)
}

/// A word of ours stays in the header; another text goes into the details.
fn word(text: String) -> (String, Option<String>) {
    let ours =
        text.len() <= WORD_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"-.".contains(&byte));
    if ours { (text, None) } else { (String::new(), Some(text)) }
}

/// The pattern is whole, so that a new field of an entry can't be forgotten: does it tell of a person? Then it is a detail.
fn split(entry: AuditEntry) -> (Header, Details) {
    let AuditEntry {
        id,
        at,
        kind,
        method,
        actor,
        on_behalf_of,
        owner,
        token_sha,
        project,
        session,
        server,
        tool,
        allowed,
        seq,
        via,
        asked,
        rule,
        outcome,
        reason,
        duration_us,
        request_bytes,
        answer_bytes,
        definition,
        arguments,
        answer,
        redacted,
    } = entry;
    let ((kind, other_kind), (outcome, other_outcome)) = (word(kind), word(outcome));
    let (rule, other_rule) =
        rule.map(word).map_or((None, None), |(ours, other)| (other.is_none().then_some(ours), other));
    let details = String::new();
    let header = Header { v: VERSION, at, kind, allowed, outcome, seq, via, rule, details };
    let details = Details {
        kind: other_kind,
        outcome: other_outcome,
        rule: other_rule,
        id,
        method,
        actor,
        on_behalf_of,
        owner,
        token_sha,
        project,
        session,
        server,
        tool,
        asked,
        reason,
        duration_us,
        request_bytes,
        answer_bytes,
        definition,
        arguments,
        answer,
        redacted,
    };
    (header, details)
}

fn join(header: Header, details: Details) -> AuditEntry {
    AuditEntry {
        id: details.id,
        at: header.at,
        kind: details.kind.unwrap_or(header.kind),
        method: details.method,
        actor: details.actor,
        on_behalf_of: details.on_behalf_of,
        owner: details.owner,
        token_sha: details.token_sha,
        project: details.project,
        session: details.session,
        server: details.server,
        tool: details.tool,
        allowed: header.allowed,
        seq: header.seq,
        via: header.via,
        asked: details.asked,
        rule: details.rule.or(header.rule),
        outcome: details.outcome.unwrap_or(header.outcome),
        reason: details.reason,
        duration_us: details.duration_us,
        request_bytes: details.request_bytes,
        answer_bytes: details.answer_bytes,
        definition: details.definition,
        arguments: details.arguments,
        answer: details.answer,
        redacted: details.redacted,
    }
}
