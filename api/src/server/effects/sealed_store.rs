//! The sealed store: values that may never enter the log, beside it, each version under a key of its own.
//!
//! A version is a file of two parts, each behind a random nonce: the sealed value; and after it the version's key, wrapped by
//! the key file's key. Deleting the file shreds the value. The log holds a commitment to the sealed part, so that a file that
//! was changed or exchanged is noticed, and the key can be wrapped anew (`key_rotation.rs`). The file is durable before the
//! event that speaks of it. Files of the first form have the wrapped key in front and inside the commitment: when such a key
//! is wrapped anew, it stands in front of the whole old file.
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use mcpctl_core::ids::Digest;
use mcpctl_core::log::disk::{Disk, RealDisk, put_whole};
use zeroize::Zeroizing;

use crate::server::clock;

const NONCE_BYTES: usize = 24;
pub(super) const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Bytes of the check behind a key.
const CHECK_BYTES: usize = 8;
const WRAPPED_BYTES: usize = NONCE_BYTES + KEY_BYTES + TAG_BYTES;
const MAGIC: &[u8; 8] = b"mcpseal2";
/// Of the first form, and of one of those whose key was wrapped anew.
const MAGIC_V1: &[u8; 8] = b"mcpseal1";
const MAGIC_V1_REWRAPPED: &[u8; 8] = b"mcpsealr";

/// What can go wrong with the sealed store. No message holds a value or a key.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file can't be read or written.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Others may read the key file.
    #[error("the key file {path} can be read by others (mode {mode:o}): run `chmod 600 {path}`")]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is not a key.
    #[error("the key file {path} is damaged: restore it from a copy; without it no sealed value can be read")]
    KeyDamaged {
        /// The key file.
        path: PathBuf,
    },
    /// A sealed file does not open, or is not the one that the log speaks of.
    #[error("the sealed file {path} is damaged or was exchanged: restore it from a copy, or write the value again")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SealError + use<> {
    let path = path.to_owned();
    move |source| SealError::Io { action, path, source }
}

/// The sealed store of one data folder.
pub struct SealedStore {
    dir: PathBuf,
    key: Zeroizing<[u8; KEY_BYTES]>,
    disk: &'static dyn Disk,
}

impl SealedStore {
    /// Opens the store in `<data>/sealed` with the key in `<data>/key`; both are made if there is neither.
    ///
    /// # Errors
    /// When the key file is readable by others, damaged, or missing while sealed values exist.
    pub fn open(data: &Path) -> Result<Self, SealError> {
        Self::open_on(data, &RealDisk)
    }

    /// The same on a disk that may fail, in tests.
    pub(in crate::server) fn open_on(data: &Path, disk: &'static dyn Disk) -> Result<Self, SealError> {
        let (dir, key_path) = (data.join("sealed"), data.join("key"));
        if key_path.exists() {
            super::key_rotation::finish(data, disk)?;
        }
        let has_values = fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some());
        if !key_path.exists() {
            if has_values {
                return Err(SealError::KeyDamaged { path: key_path });
            }
            write_new(disk, &key_path, &key_file(&Zeroizing::new(clock::random::<KEY_BYTES>())))?;
        }
        disk.create_dir(&dir).map_err(io("create", &dir))?;
        // A value in a folder that a power cut takes away was never kept.
        disk.sync_dir(data).map_err(io("sync", data))?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).map_err(io("protect", &dir))?;
        Ok(Self { dir, key: read_key(&key_path)?, disk })
    }

    /// A key for one purpose, derived from the key file's.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; KEY_BYTES] {
        blake3::derive_key(purpose, &*self.key)
    }

    /// Seals a value; durable when it returns. Answers the commitment for the log, which is also the file's name, so that
    /// two writers never meet in one file.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn seal(&self, purpose: Purpose, value: &[u8]) -> Result<Digest, SealError> {
        let version_key = Zeroizing::new(clock::random::<KEY_BYTES>());
        let committed = [&MAGIC[..], &encrypt(&version_key, value, purpose.bound())].concat();
        let commitment = Digest::sha256(&committed);
        let file = SealedFile { committed: &committed, wrapped: &[], form: Form::Second };
        write_new(self.disk, &self.path(&commitment), &file.wrapped_under(&self.key, &version_key))?;
        Ok(commitment)
    }

    fn path(&self, commitment: &Digest) -> PathBuf {
        self.dir.join(commitment.to_string())
    }

    /// Opens a value, and checks that it is the one that the log committed to.
    ///
    /// # Errors
    /// When it is missing, damaged or another.
    pub fn unseal(&self, purpose: Purpose, commitment: &Digest) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let path = self.path(commitment);
        let file = fs::read(&path).map_err(io("read", &path))?;
        let damaged = || SealError::Damaged { path: path.clone() };
        let parts = SealedFile::read(&file).filter(|parts| Digest::sha256(parts.committed) == *commitment);
        let parts = parts.ok_or_else(damaged)?;
        let key = parts.version_key(&self.key).ok_or_else(damaged)?;
        decrypt(&key, parts.sealed(), purpose.bound()).ok_or_else(damaged)
    }

    /// Checks that a value is there, is the one that the log committed to, and opens.
    ///
    /// # Errors
    /// As for [`SealedStore::unseal`].
    pub fn check(&self, commitment: &Digest) -> Result<(), SealError> {
        match self.unseal(Purpose::Secret, commitment) {
            Err(SealError::Damaged { .. }) => self.unseal(Purpose::Password, commitment).map(drop),
            other => other.map(drop),
        }
    }

    /// Shreds a value: without its file there is no key, and without the key no value.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub fn shred(&self, commitment: &Digest) -> Result<(), SealError> {
        let path = self.path(commitment);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Shreds every value that the log does not speak of any more: what a refused command or a kill left behind.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn shred_all_but(&self, live: &std::collections::BTreeSet<Digest>) -> Result<usize, SealError> {
        let mut shredded = 0;
        for entry in fs::read_dir(&self.dir).map_err(io("read", &self.dir))? {
            let entry = entry.map_err(io("read", &self.dir))?;
            let known = entry.file_name().to_string_lossy().parse().is_ok_and(|digest| live.contains(&digest));
            if !known {
                self.disk.remove(&entry.path()).map_err(io("remove", &entry.path()))?;
                shredded += 1;
            }
        }
        Ok(shredded)
    }
}

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    First,
    FirstRewrapped,
    Second,
}

/// The parts of a sealed file.
pub(super) struct SealedFile<'a> {
    /// What the log commits to.
    committed: &'a [u8],
    /// The key of the version, wrapped.
    wrapped: &'a [u8],
    form: Form,
}

/// A version's key, in memory no longer than it is needed.
pub(super) type VersionKey = Zeroizing<[u8; KEY_BYTES]>;

impl<'a> SealedFile<'a> {
    /// The parts of a file; `None` when it is none.
    pub(super) fn read(file: &'a [u8]) -> Option<Self> {
        let (magic, rest) = file.split_first_chunk::<8>()?;
        match magic {
            MAGIC => {
                let (committed, wrapped) = file.split_at_checked(file.len().checked_sub(WRAPPED_BYTES)?)?;
                (committed.len() >= MAGIC.len() + NONCE_BYTES + TAG_BYTES).then_some(())?;
                Some(Self { committed, wrapped, form: Form::Second })
            }
            MAGIC_V1 => Some(Self { committed: file, wrapped: rest.get(..WRAPPED_BYTES)?, form: Form::First }),
            MAGIC_V1_REWRAPPED => {
                let (wrapped, committed) = rest.split_at_checked(WRAPPED_BYTES)?;
                committed.starts_with(MAGIC_V1).then_some(Self { committed, wrapped, form: Form::FirstRewrapped })
            }
            _ => None,
        }
    }

    fn sealed(&self) -> &'a [u8] {
        let before = if self.form == Form::Second { MAGIC.len() } else { MAGIC.len() + WRAPPED_BYTES };
        self.committed.get(before..).unwrap_or_default()
    }

    /// The key of the version, when it is wrapped under this key. What it was sealed for is bound to the value itself.
    pub(super) fn version_key(&self, key: &[u8; KEY_BYTES]) -> Option<VersionKey> {
        let bounds: &[&[u8]] = match self.form {
            Form::First => &[Purpose::Secret.bound(), Purpose::Password.bound()],
            Form::FirstRewrapped | Form::Second => &[KEY_BOUND],
        };
        let opened = bounds.iter().find_map(|bound| decrypt(key, self.wrapped, bound))?;
        Some(Zeroizing::new(opened.as_slice().try_into().ok()?))
    }

    /// The file with the version's key wrapped under another key.
    pub(super) fn wrapped_under(&self, key: &[u8; KEY_BYTES], version_key: &VersionKey) -> Vec<u8> {
        let wrapped = encrypt(key, &**version_key, KEY_BOUND);
        match self.form {
            Form::Second => [self.committed, &wrapped].concat(),
            Form::First | Form::FirstRewrapped => [&MAGIC_V1_REWRAPPED[..], &wrapped, self.committed].concat(),
        }
    }
}

/// What wrapped keys are bound to.
const KEY_BOUND: &[u8] = b"mcpctl version key 2";

/// What a sealed value is: a file sealed as one does not open as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Values of a secret.
    Secret,
    /// The hash of a password.
    Password,
}

impl Purpose {
    const fn bound(self) -> &'static [u8] {
        match self {
            Self::Secret => b"mcpctl secret 1",
            Self::Password => b"mcpctl password 1",
        }
    }
}

fn encrypt(key: &[u8; KEY_BYTES], value: &[u8], bound: &[u8]) -> Vec<u8> {
    let nonce = clock::random::<NONCE_BYTES>();
    let cipher = XChaCha20Poly1305::new(key.into());
    let payload = Payload { msg: value, aad: bound };
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).expect("a value of this size always seals");
    [nonce.as_slice(), &sealed].concat()
}

fn decrypt(key: &[u8; KEY_BYTES], sealed: &[u8], bound: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let nonce: [u8; NONCE_BYTES] = sealed.get(..NONCE_BYTES)?.try_into().ok()?;
    let cipher = XChaCha20Poly1305::new(key.into());
    let payload = Payload { msg: &sealed[NONCE_BYTES..], aad: bound };
    cipher.decrypt(&XNonce::from(nonce), payload).ok().map(Zeroizing::new)
}

/// Writes a file that only its owner reads, as a whole and durably: temporary name, sync, rename, sync of the folder.
pub(super) fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), SealError> {
    let temporary = path.with_extension(format!("{:016x}.tmp", u64::from_be_bytes(clock::random())));
    put_whole(disk, path, &temporary, bytes).map_err(io("write", path))
}

pub(super) fn read_key(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
    let mut file = File::open(path).map_err(io("read", path))?;
    let mode = file.metadata().map_err(io("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SealError::KeyExposed { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(io("read", path))?;
    let damaged = || SealError::KeyDamaged { path: path.to_owned() };
    let (key, check) = bytes.split_first_chunk::<KEY_BYTES>().ok_or_else(damaged)?;
    // The first form had no check.
    if !check.is_empty() && check != check_of(key) {
        return Err(damaged());
    }
    Ok(Zeroizing::new(*key))
}

/// A key file: the key, and a check of it. A changed bit would make it another key, under which nothing opens and new
/// values would be sealed.
pub(super) fn key_file(key: &[u8; KEY_BYTES]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([&key[..], &check_of(key)].concat())
}

fn check_of(key: &[u8; KEY_BYTES]) -> [u8; CHECK_BYTES] {
    let derived = blake3::derive_key("mcpctl check of the key file 1", key);
    std::array::from_fn(|at| derived[at])
}

#[cfg(test)]
#[path = "sealed_power_tests.rs"]
mod power_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_until_a_bit_of_it_flips() {
        let dir = tempfile::tempdir().unwrap();
        let store = SealedStore::open(dir.path()).unwrap();
        let commitment = store.seal(Purpose::Secret, b"hunter2-canary").unwrap();
        assert_eq!(&**store.unseal(Purpose::Secret, &commitment).unwrap(), b"hunter2-canary");
        assert!(store.unseal(Purpose::Password, &commitment).is_err());
        let path = store.path(&commitment);
        let whole = fs::read(&path).unwrap();
        assert!(!whole.windows(14).any(|window| window == b"hunter2-canary"));
        for index in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[index] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert!(
                matches!(store.unseal(Purpose::Secret, &commitment), Err(SealError::Damaged { .. })),
                "byte {index}"
            );
        }
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        SealedStore::open(dir.path()).unwrap();
        fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SealedStore::open(dir.path()), Err(SealError::KeyExposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_key_of_which_a_bit_flipped_is_named_and_one_of_the_first_form_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let commitment = SealedStore::open(dir.path()).unwrap().seal(Purpose::Secret, b"x").unwrap();
        let path = dir.path().join("key");
        let whole = fs::read(&path).unwrap();
        for index in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[index] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert!(matches!(SealedStore::open(dir.path()), Err(SealError::KeyDamaged { .. })), "byte {index}");
        }
        fs::write(&path, &whole[..KEY_BYTES]).unwrap();
        SealedStore::open(dir.path()).unwrap().check(&commitment).unwrap();
        assert!(SealedStore::open(dir.path()).unwrap().check(&Digest::sha256(b"another")).is_err());
    }

    #[test]
    fn a_lost_key_is_not_replaced_while_values_exist() {
        let dir = tempfile::tempdir().unwrap();
        let store = SealedStore::open(dir.path()).unwrap();
        store.seal(Purpose::Secret, b"x").unwrap();
        fs::remove_file(dir.path().join("key")).unwrap();
        assert!(matches!(SealedStore::open(dir.path()), Err(SealError::KeyDamaged { .. })));
    }

    #[test]
    fn what_the_log_does_not_speak_of_is_shredded() {
        let dir = tempfile::tempdir().unwrap();
        let store = SealedStore::open(dir.path()).unwrap();
        let kept = store.seal(Purpose::Secret, b"kept").unwrap();
        let orphan = store.seal(Purpose::Secret, b"orphan").unwrap();
        assert_eq!(store.shred_all_but(&[kept].into()).unwrap(), 1);
        assert!(store.unseal(Purpose::Secret, &kept).is_ok());
        assert!(store.unseal(Purpose::Secret, &orphan).is_err());
    }

    /// Files of the first form are still read, before and after their key was wrapped anew.
    #[test]
    fn a_file_of_the_first_form_opens_before_and_after_a_rotation() {
        let data = tempfile::tempdir().unwrap();
        let store = SealedStore::open(data.path()).unwrap();
        let version_key = [5; KEY_BYTES];
        let bound = Purpose::Password.bound();
        let file =
            [&MAGIC_V1[..], &encrypt(&store.key, &version_key, bound), &encrypt(&version_key, b"old", bound)].concat();
        let commitment = Digest::sha256(&file);
        write_new(&RealDisk, &store.path(&commitment), &file).unwrap();
        assert_eq!(&**store.unseal(Purpose::Password, &commitment).unwrap(), b"old");
        assert!(store.unseal(Purpose::Secret, &commitment).is_err());
        for _ in 0..2 {
            assert_eq!(super::super::key_rotation::rotate(data.path()).unwrap(), 1);
            let store = SealedStore::open(data.path()).unwrap();
            assert_eq!(&**store.unseal(Purpose::Password, &commitment).unwrap(), b"old");
            assert!(store.unseal(Purpose::Secret, &commitment).is_err());
        }
    }
}
