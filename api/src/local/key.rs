//! The key file of local recovery: 32 random bytes that only the owner of the data folder reads.
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

/// Why a key file can't be used. No message holds the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It can't be read or written.
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
    /// Others may read it.
    #[error(
        "the key file {path} can be read by others (mode {mode:o}): run `chmod 600 {path}`, or remove it and restart"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no key.
    #[error("the key file {path} is damaged: remove it and restart the control plane, which makes a new one")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// What stands in the key file.
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io { action, path, source }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("recovery.key")
}

impl Key {
    /// The key of a folder, drawn by `draw` when there is none.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn open(folder: &Path, draw: impl FnOnce() -> [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        match Self::read(folder) {
            Err(KeyError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Self::write(folder, &Zeroizing::new(draw()))?;
                Self::read(folder)
            }
            read => read,
        }
    }

    /// The key of a folder.
    ///
    /// # Errors
    /// When there is none, others may read it, or it is none.
    pub fn read(folder: &Path) -> Result<Self, KeyError> {
        let path = path_in(folder);
        let file = File::open(&path).map_err(io("can't open the key file", &path))?;
        let mode = file.metadata().map_err(io("can't look at the key file", &path))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path, mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        let all = (&file).take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes);
        all.map_err(io("can't read the key file", &path))?;
        let key: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| KeyError::Damaged { path })?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// Written beside and moved into place, so that a torn write leaves none.
    fn write(folder: &Path, key: &[u8; KEY_BYTES]) -> Result<(), KeyError> {
        let (path, beside) = (path_in(folder), folder.join("recovery.key.tmp"));
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .map_err(io("can't make the key file", &beside))?;
        file.write_all(key).and_then(|()| file.sync_all()).map_err(io("can't write the key file", &beside))?;
        fs::rename(&beside, &path).map_err(io("can't make the key file", &path))
    }

    /// As it is said over the socket.
    #[must_use]
    pub fn hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES));
        for byte in self.0.iter() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Whether somebody said this key.
    #[must_use]
    pub fn is(&self, said: &str) -> bool {
        self.hex().as_bytes().ct_eq(said.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_drawn_once_is_its_owners_only_and_is_refused_when_others_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Key::open(folder.path(), || [7; 32]).unwrap();
        let again = Key::open(folder.path(), || [8; 32]).unwrap();
        assert!(first.is(&again.hex()) && first.is(&"07".repeat(32)));
        assert!(!first.is(&"08".repeat(32)) && !first.is("") && !first.is(&"07".repeat(31)));
        let path = path_in(folder.path());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let Err(KeyError::Exposed { mode: found, .. }) = Key::open(folder.path(), || [8; 32]) else {
                panic!("mode {mode:o} was accepted")
            };
            assert_eq!(found, mode);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, [1; 31]).unwrap();
        assert!(matches!(Key::read(folder.path()), Err(KeyError::Damaged { .. })));
    }
}
