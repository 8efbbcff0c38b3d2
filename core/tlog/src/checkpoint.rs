//! Checkpoints: origin, size and root of a tree, signed as a note with Ed25519 (C2SP signed-note, tlog-checkpoint).
use ed25519_dalek::SigningKey;
use signed_note::{Note, Signer as _, StandardSigner, StandardVerifier, VerifierList, new_ed25519_verifier_key};
use tlog_tiles::tlog::Hash;

/// A checkpoint or a key that is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is not a checkpoint at all.
    #[error("this is not a checkpoint of a log")]
    Malformed,
    /// No valid signature by the key that is trusted.
    #[error("the checkpoint is not signed by the key {key}: {why}")]
    Signature {
        /// The key, by name and id.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// It is of another log.
    #[error("the checkpoint is of the log {found}, and the key is that of {expected}")]
    Origin {
        /// The origin it says.
        found: String,
        /// The origin of the key.
        expected: String,
    },
    /// The key can't be read.
    #[error("this is not a key of a log: {0}")]
    Key(String),
}

/// Size and root of a tree, as a checkpoint says.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Reads a checkpoint **without** looking at its signatures.
    ///
    /// # Errors
    /// When it is none.
    pub fn unverified(note: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::from_bytes(note).map_err(|_| CheckpointError::Malformed)?;
        let text = std::str::from_utf8(note.text()).map_err(|_| CheckpointError::Malformed)?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Malformed);
        };
        let number = size.parse::<u64>().ok().filter(|number| number.to_string() == *size);
        let root = Hash::parse_hash(root).ok();
        match (number, root) {
            (Some(size), Some(root)) if !origin.is_empty() => Ok(Self { origin: origin.to_owned(), size, root }),
            _ => Err(CheckpointError::Malformed),
        }
    }
}

/// The public key of a log, as `<origin>+<id>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey(String);

impl LogKey {
    /// Reads a key.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(text: &str) -> Result<Self, CheckpointError> {
        let text = text.trim();
        StandardVerifier::new(text).map_err(|error| CheckpointError::Key(error.to_string()))?;
        Ok(Self(text.to_owned()))
    }

    /// The key as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The log that the key is of.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.0.split('+').next().unwrap_or_default()
    }

    /// Reads a checkpoint that this key signed.
    ///
    /// # Errors
    /// When it is none, is of another log, or carries no valid signature by this key.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let verifier = StandardVerifier::new(&self.0).map_err(|error| CheckpointError::Key(error.to_string()))?;
        let known = VerifierList::new(vec![Box::new(verifier)]);
        let signed = Note::from_bytes(note).map_err(|_| CheckpointError::Malformed)?;
        signed.verify(&known).map_err(|error| {
            // Base64 has pluses too: the name and the id are the first two parts.
            let key = self.0.splitn(3, '+').take(2).collect::<Vec<_>>().join("+");
            CheckpointError::Signature { key, why: error.to_string() }
        })?;
        let checkpoint = Checkpoint::unverified(note)?;
        if checkpoint.origin != self.origin() {
            let (found, expected) = (checkpoint.origin, self.origin().to_owned());
            return Err(CheckpointError::Origin { found, expected });
        }
        Ok(checkpoint)
    }
}

/// The signing key of a log. It has no `Debug`.
pub struct LogSigner {
    signer: StandardSigner,
    key: LogKey,
}

impl LogSigner {
    /// The private key of 32 random bytes, as `PRIVATE+KEY+<origin>+<id>+<base64>`: the form of Go's `note` library.
    ///
    /// # Errors
    /// When the origin is empty or has a space or a plus in it.
    pub fn generate(origin: &str, random: &[u8; 32]) -> Result<String, CheckpointError> {
        use base64::Engine as _;
        if origin.is_empty() || origin.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(CheckpointError::Key(format!("{origin:?} can't be an origin: no spaces, no plus")));
        }
        let key = SigningKey::from_bytes(random);
        let public = new_ed25519_verifier_key(origin, &key.verifying_key());
        let id = public[origin.len() + 1..].split('+').next().unwrap_or_default();
        let private = base64::engine::general_purpose::STANDARD.encode([&[1][..], random].concat());
        Ok(format!("PRIVATE+KEY+{origin}+{id}+{private}"))
    }

    /// Reads a private key. The message of an error holds nothing of it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(private: &str) -> Result<Self, CheckpointError> {
        use base64::Engine as _;
        let private = private.trim();
        let signer = StandardSigner::new(private).map_err(|error| CheckpointError::Key(error.to_string()))?;
        let bytes = private.splitn(5, '+').nth(4).and_then(|key| {
            let key = base64::engine::general_purpose::STANDARD.decode(key).ok()?;
            <[u8; 32]>::try_from(key.get(1..)?).ok()
        });
        let bytes = bytes.ok_or_else(|| CheckpointError::Key("it has another length".to_owned()))?;
        let public = new_ed25519_verifier_key(signer.name(), &SigningKey::from_bytes(&bytes).verifying_key());
        Ok(Self { signer, key: LogKey(public) })
    }

    /// The public key.
    #[must_use]
    pub const fn key(&self) -> &LogKey {
        &self.key
    }

    /// Signs size and root of a tree; answers the note.
    ///
    /// # Errors
    /// When signing fails, which no key that was read does.
    pub fn sign(&self, size: u64, root: Hash) -> Result<Vec<u8>, CheckpointError> {
        let checkpoint = Checkpoint { origin: self.key.origin().to_owned(), size, root };
        let failed = |error: signed_note::NoteError| CheckpointError::Key(error.to_string());
        let mut note = Note::new(checkpoint.text().as_bytes(), &[]).map_err(failed)?;
        note.add_sigs(&[&self.signer]).map_err(failed)?;
        Ok(note.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::tlog::record_hash;

    use super::*;

    fn signer(byte: u8) -> LogSigner {
        LogSigner::read(&LogSigner::generate("example.com/config", &[byte; 32]).unwrap()).unwrap()
    }

    #[test]
    fn a_checkpoint_is_opened_with_the_key_that_signed_it_and_no_other() {
        let signer = signer(1);
        let note = signer.sign(7, record_hash(b"x")).unwrap();
        let text = String::from_utf8(note.clone()).unwrap();
        assert!(
            text.starts_with("example.com/config\n7\n") && text.contains("\n\n\u{2014} example.com/config "),
            "{text}"
        );
        let opened = LogKey::read(signer.key().as_str()).unwrap().open(&note).unwrap();
        assert_eq!((opened.size, opened.root), (7, record_hash(b"x")));
        let error = self::signer(2).key().open(&note).unwrap_err();
        assert!(matches!(error, CheckpointError::Signature { .. }), "{error}");
    }

    #[test]
    fn no_changed_byte_of_a_checkpoint_goes_unnoticed() {
        let signer = signer(1);
        let note = signer.sign(7, record_hash(b"x")).unwrap();
        let genuine = signer.key().open(&note).unwrap();
        for index in 0..note.len() {
            let mut changed = note.clone();
            changed[index] ^= 1;
            if let Ok(opened) = signer.key().open(&changed) {
                assert_eq!(opened, genuine, "byte {index} changed what it says");
            }
        }
    }

    #[test]
    fn a_key_is_read_whatever_its_bytes_are() {
        for byte in 0..=255 {
            let signer = signer(byte);
            let note = signer.sign(1, record_hash(b"x")).unwrap();
            LogKey::read(signer.key().as_str()).unwrap().open(&note).unwrap();
        }
    }

    #[test]
    fn an_origin_that_a_note_can_t_name_is_refused() {
        for origin in ["", "a b", "a+b", "a\nb"] {
            assert!(LogSigner::generate(origin, &[1; 32]).is_err(), "{origin:?}");
        }
    }
}
