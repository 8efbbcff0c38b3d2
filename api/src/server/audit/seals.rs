//! Seals of the audit log's whole segments: an open believes them and reads the last segment only. What they stand for is read
//! in the background, by the evidence tree, and record by record whenever it is asked for.
//!
//! A file: a line that says what it is, the seals as JSON, and a hash under a key of the data folder.
use std::path::{Path, PathBuf};

use mcpctl_core::log::disk::{Disk, put_whole};
use mcpctl_core::log::{LogError, Seal, seal};
use subtle::ConstantTimeEq as _;

const MAGIC: &str = "mcpctl audit seals 1\n";
const MAC_BYTES: usize = 32;

/// The seals of one audit log.
pub(super) struct Seals {
    dir: PathBuf,
    key: [u8; 32],
    disk: &'static dyn Disk,
}

impl Seals {
    pub(super) fn new(dir: &Path, key: [u8; 32], disk: &'static dyn Disk) -> Self {
        Self { dir: dir.to_owned(), key, disk }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("segments.seals")
    }

    /// Those that were written here; none when the file is another.
    pub(super) fn read(&self) -> Vec<Seal> {
        let Ok(bytes) = std::fs::read(self.path()) else { return Vec::new() };
        let said = bytes.split_last_chunk::<MAC_BYTES>();
        let ours = said.filter(|(said, mac)| bool::from(blake3::keyed_hash(&self.key, said).as_bytes().ct_eq(*mac)));
        let seals = ours.and_then(|(said, _)| serde_json::from_slice(said.strip_prefix(MAGIC.as_bytes())?).ok());
        seals.unwrap_or_else(|| {
            tracing::warn!("the seals of the audit log's segments are not used: each entry is looked at");
            Vec::new()
        })
    }

    /// Seals whole segments that have no seal yet, and forgets those that are gone, while `go_on` says so.
    ///
    /// # Errors
    /// When a segment is damaged, or the disk does not take the seals.
    pub(super) fn bring_level(&self, go_on: &dyn Fn() -> bool) -> Result<(), LogError> {
        let known = self.read();
        let now = seal::seal_each(&self.dir, &known, go_on)?;
        if now == known {
            return Ok(());
        }
        let failed = |source| LogError::Io { action: "write", path: self.path(), source };
        let mut bytes = MAGIC.as_bytes().to_vec();
        bytes.extend(serde_json::to_vec(&now).map_err(|error| failed(error.into()))?);
        let mac = blake3::keyed_hash(&self.key, &bytes);
        bytes.extend(mac.as_bytes());
        put_whole(self.disk, &self.path(), &self.dir.join("segments.seals.new"), &bytes).map_err(failed)
    }

    /// Deletes them, durably: segments are about to be written anew.
    ///
    /// # Errors
    /// When that can't be done: then nothing may be written anew.
    pub(super) fn discard(&self) -> Result<(), LogError> {
        let path = self.path();
        if !path.exists() {
            return Ok(());
        }
        let gone = self.disk.remove(&path).and_then(|()| self.disk.sync_dir(&self.dir));
        gone.map_err(|source| LogError::Io { action: "remove", path, source })
    }
}
