//! Cosignatures: a witness saw a checkpoint, and that it goes on from the one before (C2SP tlog-cosignature, Ed25519).
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::checkpoint::{Checkpoint, CheckpointError};

/// What kind of signature it is, in keys and key ids.
const COSIGNATURE_V1: u8 = 0x04;
const DASH: &str = "\u{2014} ";

/// The text of a signed note and the lines of its signatures; `None` when it has no such parts.
pub(crate) fn parts(note: &[u8]) -> Option<(&str, &str)> {
    let note = std::str::from_utf8(note).ok()?;
    let at = note.rfind("\n\n")?;
    Some((&note[..=at], &note[at + 2..]))
}

fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', COSIGNATURE_V1]).chain_update(public).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn hex(id: [u8; 4]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signed_text(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

fn no_key(why: &str) -> CheckpointError {
    CheckpointError::Key(format!("it is no key of a witness: {why}"))
}

/// The public key of a witness, as `<name>+<id>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    text: String,
    name: String,
    id: [u8; 4],
    public: VerifyingKey,
}

impl WitnessKey {
    /// Reads a key.
    ///
    /// # Errors
    /// When it is none, or one of another kind than cosignature/v1 with Ed25519.
    pub fn read(text: &str) -> Result<Self, CheckpointError> {
        let text = text.trim();
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(no_key("it has not three parts"));
        };
        let key = STANDARD.decode(key).map_err(|_| no_key("its last part is not base64"))?;
        let Some((&COSIGNATURE_V1, public)) = key.split_first() else {
            return Err(no_key("it is of another kind than cosignature/v1"));
        };
        let public: [u8; 32] = public.try_into().map_err(|_| no_key("it has another length"))?;
        if name.is_empty() || hex(key_id(name, &public)) != id {
            return Err(no_key("its id is not that of the key"));
        }
        let id = key_id(name, &public);
        let public = VerifyingKey::from_bytes(&public).map_err(|_| no_key("it is no point of the curve"))?;
        Ok(Self { text: text.to_owned(), name: name.to_owned(), id, public })
    }

    /// The key as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Name of the witness.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When this witness saw the checkpoint of a note, in seconds since 1970; `None` when it has not cosigned it.
    #[must_use]
    pub fn cosigned(&self, note: &[u8]) -> Option<u64> {
        let (text, signatures) = parts(note)?;
        signatures.lines().find_map(|line| self.valid(text, line))
    }

    fn valid(&self, text: &str, line: &str) -> Option<u64> {
        let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = STANDARD.decode(signature).ok()?;
        let (id, rest) = bytes.split_first_chunk::<4>()?;
        let (time, signature) = rest.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).ok()?;
        let known = name == self.name && *id == self.id;
        let good = known && self.public.verify_strict(signed_text(time, text).as_bytes(), &signature).is_ok();
        good.then_some(time)
    }

    /// A note with the cosignatures of this witness that an answer holds; `None` when none of them is valid.
    #[must_use]
    pub fn add(&self, note: &[u8], answer: &str) -> Option<Vec<u8>> {
        let (text, _) = parts(note)?;
        let line = answer.lines().find(|line| self.valid(text, line).is_some())?;
        Some([note, line.as_bytes(), b"\n"].concat())
    }
}

/// The signing key of a witness. It has no `Debug`.
pub struct WitnessSigner {
    key: SigningKey,
    public: WitnessKey,
}

impl WitnessSigner {
    /// The private key of 32 random bytes, as `PRIVATE+KEY+<name>+<id>+<base64>`.
    ///
    /// # Errors
    /// When the name is empty or has a space or a plus in it.
    pub fn generate(name: &str, random: &[u8; 32]) -> Result<String, CheckpointError> {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(no_key("a name has no spaces and no plus"));
        }
        let id = hex(key_id(name, SigningKey::from_bytes(random).verifying_key().as_bytes()));
        let private = STANDARD.encode([&[COSIGNATURE_V1][..], random].concat());
        Ok(format!("PRIVATE+KEY+{name}+{id}+{private}"))
    }

    /// Reads a private key. The message of an error holds nothing of it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(private: &str) -> Result<Self, CheckpointError> {
        let mut parts = private.trim().strip_prefix("PRIVATE+KEY+").unwrap_or_default().splitn(3, '+');
        let (name, _, key) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or_default());
        let bytes = STANDARD.decode(key).ok().and_then(|key| <[u8; 33]>::try_from(key).ok());
        let bytes = bytes.filter(|bytes| bytes[0] == COSIGNATURE_V1).ok_or_else(|| no_key("it can't be read"))?;
        let seed: [u8; 32] = bytes[1..].try_into().map_err(|_| no_key("it can't be read"))?;
        let key = SigningKey::from_bytes(&seed);
        let public = key.verifying_key();
        let (id, encoded) = (
            hex(key_id(name, public.as_bytes())),
            STANDARD.encode([&[COSIGNATURE_V1][..], public.as_bytes()].concat()),
        );
        Ok(Self { key, public: WitnessKey::read(&format!("{name}+{id}+{encoded}"))? })
    }

    /// The public key.
    #[must_use]
    pub const fn key(&self) -> &WitnessKey {
        &self.public
    }

    /// The line that says that the checkpoint of this note was seen at that time, in seconds since 1970.
    ///
    /// # Errors
    /// When the note is none.
    pub fn cosign(&self, note: &[u8], time: u64) -> Result<String, CheckpointError> {
        let (text, _) = parts(note).ok_or(CheckpointError::Malformed)?;
        Checkpoint::unverified(note)?;
        let signature = self.key.sign(signed_text(time, text).as_bytes());
        let bytes = [&self.public.id[..], &time.to_be_bytes(), &signature.to_bytes()].concat();
        Ok(format!("{DASH}{} {}\n", self.public.name, STANDARD.encode(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::LogSigner;

    fn note() -> Vec<u8> {
        let log = LogSigner::read(&LogSigner::generate("example.com/log", &[1; 32]).unwrap()).unwrap();
        log.sign(7, crate::record_hash(b"x")).unwrap()
    }

    fn witness(byte: u8) -> WitnessSigner {
        WitnessSigner::read(&WitnessSigner::generate("witness.example.com", &[byte; 32]).unwrap()).unwrap()
    }

    #[test]
    fn a_cosignature_is_that_of_its_witness_its_note_and_its_time() {
        let (note, one) = (note(), witness(2));
        let line = one.cosign(&note, 1_700_000_000).unwrap();
        let both = one.key().add(&note, &line).unwrap();
        assert_eq!(one.key().cosigned(&both), Some(1_700_000_000));
        assert_eq!(WitnessKey::read(one.key().as_str()).unwrap().cosigned(&both), Some(1_700_000_000));
        assert_eq!(witness(3).key().cosigned(&both), None);
        assert_eq!(one.key().cosigned(&note), None);
        assert!(witness(3).key().add(&note, &line).is_none());
        // The log's own signature is still good.
        let log = LogSigner::read(&LogSigner::generate("example.com/log", &[1; 32]).unwrap()).unwrap();
        assert_eq!(log.key().open(&both).unwrap().size, 7);
        let begins = note.len();
        for index in 0..both.len() {
            let mut changed = both.clone();
            changed[index] ^= 1;
            let text_changed = index < parts(&note).unwrap().0.len();
            if text_changed || index >= begins {
                assert_eq!(one.key().cosigned(&changed), None, "byte {index}");
            }
        }
    }

    #[test]
    fn a_key_of_another_kind_name_or_id_is_refused() {
        let key = witness(2).key().as_str().to_owned();
        let log = LogSigner::read(&LogSigner::generate("witness.example.com", &[2; 32]).unwrap()).unwrap();
        for wrong in [
            log.key().as_str().to_owned(),
            key.replace("witness.", "other."),
            key.replacen('+', "+0", 1),
            key[..key.len() - 4].to_owned(),
            String::new(),
        ] {
            assert!(WitnessKey::read(&wrong).is_err(), "{wrong}");
        }
        assert!(WitnessSigner::generate("a b", &[0; 32]).is_err());
    }
}
