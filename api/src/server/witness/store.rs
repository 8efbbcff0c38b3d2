//! What a witness keeps: its key, and the last checkpoint of each log, durable before it is signed.
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mcpctl_core::ids::Digest;
use mcpctl_tlog::cosignature::WitnessSigner;
use mcpctl_tlog::{Checkpoint, CheckpointError, LogKey};
use zeroize::Zeroizing;

use crate::server::clock;

/// What a witness keeps can't be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file can't be read or written.
    #[error("can't use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else uses it.
    #[error("the folder {0} is in use by another witness: two that share what they saw would contradict each other")]
    InUse(PathBuf),
    /// Others may read the key.
    #[error("the key of the witness in {path} can be read by others: run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The key is none, or of another name.
    #[error("the key of the witness in {path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// It has another name.
    #[error("this witness is called {found}, and was asked to be {asked}: a witness keeps its name for ever")]
    OtherName {
        /// Its name.
        found: String,
        /// Name that was asked for.
        asked: String,
    },
    /// What was seen is damaged. Going on from nothing would let the log show another past.
    #[error("what was seen of {origin} is damaged ({path}): restore it from a copy, or retire this witness")]
    Damaged {
        /// The log.
        origin: String,
        /// The file.
        path: PathBuf,
    },
}

pub(super) struct Store {
    folder: PathBuf,
    _lock: File,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

impl Store {
    pub(super) fn open(folder: &Path, name: &str) -> Result<(Self, WitnessSigner), StoreError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io(folder))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(io(&path))?;
        lock.try_lock().map_err(|_| StoreError::InUse(folder.to_owned()))?;
        let store = Self { folder: folder.to_owned(), _lock: lock };
        let signer = store.signer(name)?;
        Ok((store, signer))
    }

    fn signer(&self, name: &str) -> Result<WitnessSigner, StoreError> {
        let path = self.folder.join("witness.key");
        let key = |source| StoreError::Key { path: path.clone(), source };
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let made = WitnessSigner::generate(name, &Zeroizing::new(clock::random::<32>())).map_err(key)?;
                let made = Zeroizing::new(made);
                self.write("witness.key", format!("{}\n", *made).as_bytes())?;
                made
            }
            Err(error) => return Err(io(&path)(error)),
        };
        if fs::metadata(&path).map_err(io(&path))?.permissions().mode() & 0o077 != 0 {
            return Err(StoreError::Exposed { path });
        }
        let signer = WitnessSigner::read(&text).map_err(key)?;
        if signer.key().name() == name {
            return Ok(signer);
        }
        Err(StoreError::OtherName { found: signer.key().name().to_owned(), asked: name.to_owned() })
    }

    fn file_of(log: &LogKey) -> String {
        format!("{}.checkpoint", Digest::sha256(log.origin().as_bytes()))
    }

    /// The last checkpoint of a log that was cosigned; `None` when there was none.
    pub(super) fn seen(&self, log: &LogKey) -> Result<Option<Checkpoint>, StoreError> {
        let path = self.folder.join(Self::file_of(log));
        let note = match fs::read(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&path)(error)),
        };
        let opened = log.open(&note).map_err(|_| StoreError::Damaged { origin: log.origin().to_owned(), path });
        opened.map(Some)
    }

    pub(super) fn remember(&mut self, log: &LogKey, note: &[u8]) -> Result<(), StoreError> {
        self.write(&Self::file_of(log), note)
    }

    /// Writes a file as a whole, durably.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, draft) = (self.folder.join(name), self.folder.join("draft"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(io(&draft))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io(&draft))?;
        fs::rename(&draft, &path).map_err(io(&path))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io(&self.folder))
    }
}
