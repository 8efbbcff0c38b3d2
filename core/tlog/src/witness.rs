//! What a witness does: it cosigns a checkpoint when that goes on from the last one it saw (C2SP tlog-witness). No I/O here.
use tlog_tiles::tlog::Hash;

use crate::checkpoint::{Checkpoint, LogKey};
use crate::consistency::check;

/// Most hashes of a consistency proof in a request.
const PROOF_HASHES_MAX: usize = 63;

/// A request to cosign: `old <size>`, the hashes of the proof, an empty line, the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct AddCheckpoint {
    /// Size that the log believes the witness saw last.
    pub old: u64,
    /// Proof that the checkpoint goes on from there.
    pub proof: Vec<Hash>,
    /// The signed note.
    pub note: Vec<u8>,
}

/// Why a witness does not cosign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request can't be read.
    #[error("the request can't be read: {0}")]
    Malformed(&'static str),
    /// The log is not one that it watches.
    #[error("the log {0:?} is not one that this witness watches")]
    UnknownLog(String),
    /// The log has not signed it.
    #[error("the checkpoint is not signed by the log: {0}")]
    Unsigned(String),
    /// The witness saw another size last. Also a fork of the same size.
    #[error("this witness saw the size {seen}")]
    Conflict {
        /// Size it saw.
        seen: u64,
        /// Whether the checkpoint can't be true beside the one it saw.
        forked: bool,
    },
    /// The proof does not hold.
    #[error("the log does not go on from the checkpoint that this witness saw")]
    Inconsistent,
}

impl Refused {
    /// The HTTP status that says so.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unsigned(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict { .. } => 409,
            Self::Inconsistent => 422,
        }
    }
}

impl AddCheckpoint {
    /// The request as it is sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let hashes: String = self.proof.iter().map(|hash| format!("{hash}\n")).collect();
        [format!("old {}\n{hashes}\n", self.old).as_bytes(), &self.note].concat()
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        use Refused::Malformed;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed("it is not text"))?;
        let (head, note) = text.split_once("\n\n").ok_or(Malformed("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(|old| old.parse::<u64>().ok().filter(|number| number.to_string() == old));
        let old = old.ok_or(Malformed("its first line is not the old size"))?;
        let proof: Result<Vec<Hash>, _> =
            lines.map(|line| Hash::parse_hash(line).map_err(|_| Malformed("a hash can't be read"))).collect();
        let proof = proof?;
        if proof.len() > PROOF_HASHES_MAX {
            return Err(Malformed("its proof has too many hashes"));
        }
        Ok(Self { old, proof, note: note.as_bytes().to_vec() })
    }

    /// The origin of the log that the checkpoint is of.
    ///
    /// # Errors
    /// When the note is no checkpoint.
    pub fn origin(&self) -> Result<String, Refused> {
        let read = Checkpoint::unverified(&self.note).map_err(|_| Refused::Malformed("it has no checkpoint"))?;
        Ok(read.origin)
    }

    /// Decides: the checkpoint to remember, before it is cosigned. `seen` is the last one that was cosigned.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn decide(&self, log: &LogKey, seen: Option<&Checkpoint>) -> Result<Checkpoint, Refused> {
        let now = log.open(&self.note).map_err(|error| Refused::Unsigned(error.to_string()))?;
        if self.old > now.size {
            return Err(Refused::Malformed("the old size is larger than the new one"));
        }
        let last = seen.map_or(0, |seen| seen.size);
        if self.old != last {
            let forked = seen.is_some_and(|seen| seen.size == now.size && seen.root != now.root);
            return Err(Refused::Conflict { seen: last, forked });
        }
        let Some(seen) = seen.filter(|seen| seen.size > 0) else {
            return if self.proof.is_empty() {
                Ok(now)
            } else {
                Err(Refused::Malformed("a proof from nothing is empty"))
            };
        };
        if now.size == seen.size && now.root != seen.root {
            return Err(Refused::Conflict { seen: seen.size, forked: true });
        }
        if now.size == seen.size && !self.proof.is_empty() {
            return Err(Refused::Malformed("a proof of the same size is empty"));
        }
        check(seen, &now, &self.proof).map_err(|_| Refused::Inconsistent)?;
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NoTiles, signer, tree};

    fn request(of: &str, old: u64, size: u64) -> AddCheckpoint {
        let tree = tree(of, size);
        let proof = if old > 0 && old < size { tree.prove_prefix(old, &NoTiles).unwrap() } else { Vec::new() };
        AddCheckpoint { old, proof, note: signer(1).sign(size, tree.root()).unwrap() }
    }

    fn seen(of: &str, size: u64) -> Checkpoint {
        Checkpoint { origin: "example.com/log".to_owned(), size, root: tree(of, size).root() }
    }

    #[test]
    fn a_request_comes_back_as_it_was_sent() {
        for request in [request("a", 0, 5), request("a", 3, 100)] {
            assert_eq!(AddCheckpoint::read(&request.to_bytes()).unwrap(), request);
        }
        for wrong in ["", "old 1", "old x\n\nnote", "old 01\n\nnote", "new 1\n\nnote", "old 1\nabc\n\nnote"] {
            assert!(matches!(AddCheckpoint::read(wrong.as_bytes()), Err(Refused::Malformed(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_witness_cosigns_what_goes_on_and_refuses_everything_else() {
        let key = signer(1).key().clone();
        let decide = |request: AddCheckpoint, seen: Option<&Checkpoint>| request.decide(&key, seen);
        let at_50 = seen("a", 50);
        assert_eq!(decide(request("a", 0, 50), None).unwrap(), at_50);
        assert_eq!(decide(request("a", 50, 80), Some(&at_50)).unwrap(), seen("a", 80));
        assert_eq!(decide(request("a", 50, 50), Some(&at_50)).unwrap(), at_50, "the same again is cosigned again");
        assert_eq!(decide(request("b", 50, 80), Some(&at_50)), Err(Refused::Inconsistent));
        assert_eq!(decide(request("b", 50, 50), Some(&at_50)), Err(Refused::Conflict { seen: 50, forked: true }));
        assert_eq!(decide(request("a", 0, 80), Some(&at_50)), Err(Refused::Conflict { seen: 50, forked: false }));
        assert_eq!(decide(request("a", 0, 40), Some(&at_50)), Err(Refused::Conflict { seen: 50, forked: false }));
        let mut shorter = request("a", 40, 40);
        shorter.old = 50;
        assert!(matches!(decide(shorter, Some(&at_50)), Err(Refused::Malformed(_))), "a log that shrank");
        let other = signer(2);
        assert!(matches!(request("a", 0, 50).decide(other.key(), None), Err(Refused::Unsigned(_))));
    }
}
