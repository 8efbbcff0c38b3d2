//! A proof for somebody who trusts neither us nor our code: the event, the proof, the key, and how to check them.
use crate::archive::{self, InvalidArchive};
use crate::checkpoint::{Checkpoint, CheckpointError, LogKey};
use crate::proof::{Proof, ProofError};

/// The event as it is stored: what the proof is about.
pub const EVENT: &str = "event.record";
/// The same for people to read. It proves nothing.
pub const READABLE: &str = "event.json";
/// The proof, tlog-proof@v1.
pub const PROOF: &str = "event.tlog-proof";
/// The public key of the log, for Go's `note` library.
pub const KEY: &str = "log.vkey";
/// The same as a policy (C2SP tlog-policy): one log, no witnesses.
pub const POLICY: &str = "policy";
const README: &str = "README.md";
const GO: &str = "verify.go";
const PYTHON: &str = "verify.py";

/// A proof that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ProofFileError {
    /// The file is no archive.
    #[error(transparent)]
    Archive(#[from] InvalidArchive),
    /// Something is missing in it.
    #[error("the archive has no {0}")]
    Missing(&'static str),
    /// The key is none.
    #[error(transparent)]
    Key(#[from] CheckpointError),
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// It is signed with another key than the one that is trusted.
    #[error("the proof is of the key {found}, and you trust {trusted}")]
    OtherKey {
        /// Key in the archive.
        found: String,
        /// Key that is trusted.
        trusted: String,
    },
}

/// What a proof shows.
#[derive(Debug)]
pub struct Shown {
    /// The event as it is stored.
    pub event: Vec<u8>,
    /// Its seq: entries are counted from 0, events from 1.
    pub seq: u64,
    /// The checkpoint that it was proved against.
    pub checkpoint: Checkpoint,
    /// The key that signed it.
    pub key: LogKey,
}

/// Puts a proof together.
#[must_use]
pub fn write(event: &[u8], readable: &str, proof: &Proof, key: &LogKey) -> Vec<u8> {
    let policy = format!("log {}\nquorum none\n", key.as_str());
    archive::write(&[
        (README, include_bytes!("../proof/README.md")),
        (EVENT, event),
        (READABLE, readable.as_bytes()),
        (PROOF, &proof.to_bytes()),
        (KEY, format!("{}\n", key.as_str()).as_bytes()),
        (POLICY, policy.as_bytes()),
        (GO, include_bytes!("../proof/verify.go")),
        (PYTHON, include_bytes!("../proof/verify.py")),
    ])
}

/// Checks a proof: with a key that is trusted, or else with the one that lies in it.
///
/// # Errors
/// When it does not hold.
pub fn verify(bytes: &[u8], trusted: Option<&LogKey>) -> Result<Shown, ProofFileError> {
    let files = archive::read(bytes)?;
    let file = |wanted: &'static str| {
        let found = files.iter().find(|(name, _)| name == wanted).map(|(_, bytes)| &bytes[..]);
        found.ok_or(ProofFileError::Missing(wanted))
    };
    let key = LogKey::read(&String::from_utf8_lossy(file(KEY)?))?;
    if let Some(trusted) = trusted.filter(|trusted| **trusted != key) {
        let (found, trusted) = (key.as_str().to_owned(), trusted.as_str().to_owned());
        return Err(ProofFileError::OtherKey { found, trusted });
    }
    let (event, proof) = (file(EVENT)?, Proof::read(file(PROOF)?)?);
    let checkpoint = proof.verify(event, &key)?;
    Ok(Shown { event: event.to_vec(), seq: proof.index + 1, checkpoint, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::LogSigner;
    use crate::tree::{Leaves, Tree};
    use tlog_tiles::tlog::record_hash;

    struct Nothing;
    impl Leaves for Nothing {
        fn full(&self, _: u64) -> std::io::Result<Vec<u8>> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }

    fn signer(byte: u8) -> LogSigner {
        LogSigner::read(&LogSigner::generate("example.com/config", &[byte; 32]).unwrap()).unwrap()
    }

    fn proved(signer: &LogSigner) -> Vec<u8> {
        let mut tree = Tree::default();
        (0..100u8).for_each(|n| drop(tree.push(record_hash(&[n]))));
        let checkpoint = signer.sign(tree.size(), tree.root()).unwrap();
        let proof = Proof { index: 42, hashes: tree.prove_entry(42, &Nothing).unwrap(), checkpoint };
        write(&[42], "{}", &proof, signer.key())
    }

    #[test]
    fn a_proof_holds_and_says_what_it_shows() {
        let shown = verify(&proved(&signer(1)), Some(signer(1).key())).unwrap();
        assert_eq!((&shown.event[..], shown.seq, shown.checkpoint.size), (&[42][..], 43, 100));
        let error = verify(&proved(&signer(2)), Some(signer(1).key())).unwrap_err();
        assert!(matches!(error, ProofFileError::OtherKey { .. }), "{error}");
    }

    /// Whatever byte is changed: it is refused, or it is a byte that proves nothing.
    #[test]
    fn no_changed_byte_makes_a_proof_show_something_else() {
        let (key, good) = (signer(1), proved(&signer(1)));
        // Every byte of what is proved, and some of the pages beside it.
        let pages = 0..good.len();
        let begins = good.windows(12).position(|bytes| bytes == b"event.record").unwrap();
        let ends = good.windows(9).position(|bytes| bytes == b"verify.go").unwrap();
        for index in pages.filter(|index| (begins..ends).contains(index) || index % 211 == 0) {
            let mut changed = good.clone();
            changed[index] ^= 4;
            if let Ok(shown) = verify(&changed, Some(key.key())) {
                assert_eq!((&shown.event[..], shown.seq, shown.checkpoint.size), (&[42][..], 43, 100), "byte {index}");
            }
        }
        for length in (0..good.len() - 1024).step_by(97) {
            assert!(verify(&good[..length], None).is_err(), "cut at {length}");
        }
    }
}
