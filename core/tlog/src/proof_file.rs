//! A proof for somebody who trusts neither us nor our code: what is proved, the proof, the key, and how to check them.
//!
//! It is about an event, about a call (then the details that its header commits to lie beside it), or about a grant (then
//! the entry is a state root, and the facts that lead to it lie beside it).
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::archive::{self, InvalidArchive};
use crate::checkpoint::{Checkpoint, CheckpointError, LogKey};
use crate::commitment::{NONCE_BYTES, commit};
use crate::facts::FactError;
use crate::grant_proof::{GrantShown, judge};
use crate::proof::{Proof, ProofError};
use crate::state_root::{StateRoot, read_facts};

/// The entry as it is stored: what the proof is about.
pub const EVENT: &str = "event.record";
/// The same for people to read. It proves nothing.
pub const READABLE: &str = "event.json";
/// The proof, tlog-proof@v1.
pub const PROOF: &str = "event.tlog-proof";
/// The public key of the log, for Go's `note` library.
pub const KEY: &str = "log.vkey";
/// The same as a policy (C2SP tlog-policy).
pub const POLICY: &str = "policy";
/// Of a call: who, where and what. The header commits to it.
pub const DETAILS: &str = "call.details";
/// Of a call: what the commitment is made with beside the details.
pub const NONCE: &str = "call.nonce";
/// Of a grant: the facts, with their paths to the root that the entry holds.
pub const FACTS: &str = "facts";
/// Of a grant: the state root after the one that is asked about, which says until when it held.
pub const NEXT: &str = "next.record";
/// The proof of that.
pub const NEXT_PROOF: &str = "next.tlog-proof";
/// Domain of the commitment of a call's header.
pub const DETAILS_DOMAIN: &str = "mcpctl audit details v2\n";
const README: &str = "README.md";
const GO: &str = "verify.go";
const PYTHON: &str = "verify.py";
const FACTS_GO: &str = "verify_facts.go";
const FACTS_PYTHON: &str = "verify_facts.py";

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
    /// The facts do not follow from the root.
    #[error(transparent)]
    Facts(#[from] FactError),
    /// The details are not those of the call.
    #[error("the details are not those that the header of the call commits to")]
    Details,
    /// The next state root does not follow.
    #[error("the next state root is not the one that follows")]
    Next,
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
    /// The entry as it is stored.
    pub event: Vec<u8>,
    /// Its seq or position: entries are counted from 0, these from 1.
    pub seq: u64,
    /// The checkpoint that it was proved against.
    pub checkpoint: Checkpoint,
    /// The key that signed it.
    pub key: LogKey,
    /// What more it is about.
    pub about: About,
}

/// What a proof is about, beyond the entry.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one is made for each archive that is checked")]
pub enum About {
    /// An event, or the header of a call whose details were erased or are not shown.
    Entry,
    /// A call, with its details: who, where and what.
    Call(Vec<u8>),
    /// A grant, at a state.
    Grant {
        /// What is shown about it.
        shown: GrantShown,
        /// The state.
        state: StateRoot,
        /// The state after it; `None` when it was the newest one.
        next: Option<StateRoot>,
    },
}

/// What is put beside the proof of an entry.
#[derive(Clone, Copy, Debug)]
pub enum Beside<'a> {
    /// Nothing.
    Nothing,
    /// The details of a call.
    Call {
        /// The nonce of its commitment.
        nonce: &'a [u8],
        /// The details.
        details: &'a [u8],
    },
    /// The facts of a grant.
    Grant {
        /// They and their paths.
        facts: &'a str,
        /// The next state root, and its proof.
        next: Option<(&'a [u8], &'a Proof)>,
    },
}

/// Puts a proof together.
#[must_use]
pub fn write(event: &[u8], readable: &str, proof: &Proof, key: &LogKey, beside: Beside<'_>) -> Vec<u8> {
    let policy = format!("log {}\nquorum none\n", key.as_str());
    let (proof, key) = (proof.to_bytes(), format!("{}\n", key.as_str()));
    let next_proof;
    let mut files: Vec<(&str, &[u8])> = vec![
        (README, include_bytes!("../proof/README.md")),
        (EVENT, event),
        (READABLE, readable.as_bytes()),
        (PROOF, &proof),
        (KEY, key.as_bytes()),
        (POLICY, policy.as_bytes()),
    ];
    match beside {
        Beside::Nothing => {}
        Beside::Call { nonce, details } => files.extend([(NONCE, nonce), (DETAILS, details)]),
        Beside::Grant { facts, next } => {
            files.push((FACTS, facts.as_bytes()));
            if let Some((record, proof)) = next {
                next_proof = proof.to_bytes();
                files.extend([(NEXT, record), (NEXT_PROOF, &next_proof)]);
            }
            files.push((FACTS_GO, include_bytes!("../proof/verify_facts.go")));
            files.push((FACTS_PYTHON, include_bytes!("../proof/verify_facts.py")));
        }
    }
    files.push((GO, include_bytes!("../proof/verify.go")));
    files.push((PYTHON, include_bytes!("../proof/verify.py")));
    archive::write(&files)
}

/// Checks a proof: with a key that is trusted, or else with the one that lies in it.
///
/// # Errors
/// When it does not hold.
pub fn verify(bytes: &[u8], trusted: Option<&LogKey>) -> Result<Shown, ProofFileError> {
    let files = archive::read(bytes)?;
    let found = |wanted: &str| files.iter().find(|(name, _)| name == wanted).map(|(_, bytes)| &bytes[..]);
    let file = |wanted: &'static str| found(wanted).ok_or(ProofFileError::Missing(wanted));
    let key = LogKey::read(&String::from_utf8_lossy(file(KEY)?))?;
    if let Some(trusted) = trusted.filter(|trusted| **trusted != key) {
        let (found, trusted) = (key.as_str().to_owned(), trusted.as_str().to_owned());
        return Err(ProofFileError::OtherKey { found, trusted });
    }
    let (event, proof) = (file(EVENT)?, Proof::read(file(PROOF)?)?);
    let checkpoint = proof.verify(event, &key)?;
    let about = if let Some(details) = found(DETAILS) {
        check_details(event, file(NONCE)?, details)?;
        About::Call(details.to_vec())
    } else if let Some(facts) = found(FACTS) {
        let next =
            found(NEXT).map(|next| Ok::<_, ProofFileError>((next, Proof::read(file(NEXT_PROOF)?)?))).transpose()?;
        about_grant(event, &proof, facts, next, &key)?
    } else {
        About::Entry
    };
    Ok(Shown { event: event.to_vec(), seq: proof.index + 1, checkpoint, key, about })
}

/// The header is JSON that ends in its commitment.
fn check_details(header: &[u8], nonce: &[u8], details: &[u8]) -> Result<(), ProofFileError> {
    let nonce: &[u8; NONCE_BYTES] = nonce.try_into().map_err(|_| ProofFileError::Details)?;
    let wanted = format!("\"details\":\"{}\"}}", STANDARD.encode(commit(DETAILS_DOMAIN, nonce, details).0));
    if header.ends_with(wanted.as_bytes()) { Ok(()) } else { Err(ProofFileError::Details) }
}

fn about_grant(
    event: &[u8],
    proof: &Proof,
    facts: &[u8],
    next: Option<(&[u8], Proof)>,
    key: &LogKey,
) -> Result<About, ProofFileError> {
    let state = StateRoot::read(event)?;
    let shown = judge(&state.root, &read_facts(facts)?)?;
    let next = match next {
        Some((record, after)) => {
            after.verify(record, key)?;
            let next = StateRoot::read(record)?;
            if after.index != proof.index + 1 || next.seq != state.seq + 1 {
                return Err(ProofFileError::Next);
            }
            Some(next)
        }
        None => None,
    };
    if state.seq != proof.index + 1 { Err(ProofFileError::Next) } else { Ok(About::Grant { shown, state, next }) }
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
        write(&[42], "{}", &proof, signer.key(), Beside::Nothing)
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

    #[test]
    fn the_details_of_a_call_are_those_that_its_header_commits_to_and_no_others() {
        let (signer, nonce, details) = (signer(1), [3; NONCE_BYTES], b"{\"tool\":\"echo\"}");
        let commitment = STANDARD.encode(commit(DETAILS_DOMAIN, &nonce, details).0);
        let header = format!("{{\"v\":2,\"kind\":\"call\",\"details\":\"{commitment}\"}}");
        let mut tree = Tree::default();
        drop(tree.push(record_hash(header.as_bytes())));
        let checkpoint = signer.sign(1, tree.root()).unwrap();
        let proof = Proof { index: 0, hashes: Vec::new(), checkpoint };
        let written = |nonce: &[u8], details: &[u8]| {
            write(header.as_bytes(), "{}", &proof, signer.key(), Beside::Call { nonce, details })
        };
        let shown = verify(&written(&nonce, details), Some(signer.key())).unwrap();
        assert_eq!(shown.about, About::Call(details.to_vec()));
        for (nonce, details) in [(&[4; NONCE_BYTES][..], &details[..]), (&nonce, b"{}"), (&nonce[..9], details)] {
            assert!(matches!(verify(&written(nonce, details), None), Err(ProofFileError::Details)));
        }
    }
}
