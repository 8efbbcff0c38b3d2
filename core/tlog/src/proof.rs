//! A proof that an entry is in a log, as text that can be kept and checked offline (C2SP tlog-proof@v1).
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tlog_tiles::tlog::{Hash, check_record, record_hash};

use crate::checkpoint::{Checkpoint, CheckpointError, LogKey};

const HEAD: &str = "c2sp.org/tlog-proof@v1";
/// No tree is higher.
const HASHES_MAX: usize = 64;

/// A proof that is not one.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It can't be read.
    #[error("this is not a tlog-proof@v1: {0}")]
    Malformed(&'static str),
    /// Its checkpoint is not to be believed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not the one that the log has there.
    #[error("the entry is not entry {index} of the log {origin} at size {size}")]
    NotThere {
        /// Its index, counted from 0.
        index: u64,
        /// The log.
        origin: String,
        /// Size of the tree.
        size: u64,
    },
}

/// A proof that an entry is in a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// Index of the entry, counted from 0.
    pub index: u64,
    /// Hashes beside the path from the entry to the root.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: Vec<u8>,
}

impl Proof {
    /// The proof as text.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let hashes: String = self.hashes.iter().map(|hash| format!("{}\n", STANDARD.encode(hash.0))).collect();
        let mut text = format!("{HEAD}\nindex {}\n{hashes}\n", self.index).into_bytes();
        text.extend_from_slice(&self.checkpoint);
        text
    }

    /// Reads a proof.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(bytes: &[u8]) -> Result<Self, ProofError> {
        use ProofError::Malformed;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed("it is not text"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(Malformed("it has no checkpoint"))?;
        let mut lines = head.lines();
        if lines.next() != Some(HEAD) {
            return Err(Malformed("its first line is another"));
        }
        let mut line = lines.next();
        if line.is_some_and(|line| line.starts_with("extra ")) {
            line = lines.next();
        }
        let index = line.and_then(|line| line.strip_prefix("index ")).and_then(|index| index.parse().ok());
        let index = index.ok_or(Malformed("it has no index"))?;
        let hashes: Vec<Hash> = lines
            .map(|line| Hash::parse_hash(line).map_err(|_| Malformed("a hash can't be read")))
            .collect::<Result<_, _>>()?;
        if hashes.len() > HASHES_MAX {
            return Err(Malformed("it has too many hashes"));
        }
        Ok(Self { index, hashes, checkpoint: checkpoint.as_bytes().to_vec() })
    }

    /// Checks that `entry` is in the log of that key, at the index that the proof says.
    ///
    /// # Errors
    /// When it is not, or the checkpoint is not to be believed.
    pub fn verify(&self, entry: &[u8], key: &LogKey) -> Result<Checkpoint, ProofError> {
        let checkpoint = key.open(&self.checkpoint)?;
        let Checkpoint { origin, size, root } = checkpoint.clone();
        let index = self.index;
        let hash = record_hash(entry);
        match check_record(&self.hashes, size, root, index, hash) {
            Ok(()) => Ok(checkpoint),
            Err(_) => Err(ProofError::NotThere { index, origin, size }),
        }
    }
}
