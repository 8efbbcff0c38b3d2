//! The lock on a log's folder: one process writes, a second one is told so.
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::LogError;
use super::segment::failed;

/// Held as long as the log is open; the system takes it back when the process dies, however it dies.
#[derive(Debug)]
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock, or says that somebody has it.
    pub(super) fn take(dir: &Path) -> Result<Self, LogError> {
        let path = dir.join("lock");
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LogError::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(LogError::Io { action: "lock", path, source }),
        }
    }
}
