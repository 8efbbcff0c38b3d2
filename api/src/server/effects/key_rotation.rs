//! Another key for the sealed store: only the keys of versions are wrapped anew, no value is sealed again.
//!
//! The next key is durable as `key.next` before the first file is touched, and becomes `key` after the last. A rotation that was
//! killed or cut off by a power cut is finished by the next open: each file opens with one of the two keys, whatever came of it.
use std::fs;
use std::path::{Path, PathBuf};

use mcpctl_core::log::disk::{Disk, RealDisk};
use zeroize::Zeroizing;

use super::sealed_store::{KEY_BYTES, SealError, SealedFile, io, key_file, read_key, write_new};
use crate::server::clock;

/// Name of the next key while a rotation is going on.
const NEXT: &str = "key.next";

/// Begins a rotation in a data folder that nobody else uses, and finishes it. Answers how many files were wrapped anew.
///
/// # Errors
/// When a file can't be read or written, or opens with neither key: then the old key stays in force.
pub fn rotate(data: &Path) -> Result<usize, SealError> {
    rotate_on(data, &RealDisk)
}

/// The same on a disk that may fail, in tests.
pub(super) fn rotate_on(data: &Path, disk: &dyn Disk) -> Result<usize, SealError> {
    let next = data.join(NEXT);
    if !next.exists() {
        write_new(disk, &next, &key_file(&Zeroizing::new(clock::random::<KEY_BYTES>())))?;
    }
    finish(data, disk)
}

/// Finishes a rotation, if one was begun.
pub(super) fn finish(data: &Path, disk: &dyn Disk) -> Result<usize, SealError> {
    let (path, next_path, dir) = (data.join("key"), data.join(NEXT), data.join("sealed"));
    if !next_path.exists() {
        return Ok(0);
    }
    let (key, next) = (read_key(&path)?, read_key(&next_path)?);
    // Before anything is under it: an earlier run may have been stopped before its name was durable.
    disk.sync_dir(data).map_err(io("sync", data))?;
    let mut wrapped = 0;
    for path in files(&dir)? {
        wrapped += usize::from(rewrap(disk, &path, &key, &next)?);
    }
    if dir.is_dir() {
        disk.sync_dir(&dir).map_err(io("sync", &dir))?;
    }
    // From here on the old key opens nothing.
    disk.rename(&next_path, &path).map_err(io("rename", &next_path))?;
    disk.sync_dir(data).map_err(io("sync", data))?;
    Ok(wrapped)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, SealError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("read", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io("read", dir))?.path();
        // What a crash left of a write has no name of its own yet.
        if path.extension().is_none() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether the file was still under the old key.
fn rewrap(disk: &dyn Disk, path: &Path, key: &[u8; KEY_BYTES], next: &[u8; KEY_BYTES]) -> Result<bool, SealError> {
    let bytes = fs::read(path).map_err(io("read", path))?;
    let damaged = || SealError::Damaged { path: path.to_owned() };
    let file = SealedFile::read(&bytes).ok_or_else(damaged)?;
    if file.version_key(next).is_some() {
        return Ok(false);
    }
    let version_key = file.version_key(key).ok_or_else(damaged)?;
    write_new(disk, path, &file.wrapped_under(next, &version_key))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::sealed_store::{Purpose, SealedStore};
    use super::*;

    #[test]
    fn after_a_rotation_every_value_opens_under_its_old_commitment_and_the_old_key_opens_none() {
        let data = tempfile::tempdir().unwrap();
        let store = SealedStore::open(data.path()).unwrap();
        let sealed: Vec<_> = (0..5u8).map(|n| store.seal(Purpose::Secret, &[n; 40]).unwrap()).collect();
        let (old, derived) = (fs::read(data.path().join("key")).unwrap(), store.derive("test"));
        assert_eq!(rotate(data.path()).unwrap(), 5);
        assert_ne!(fs::read(data.path().join("key")).unwrap(), old);
        assert!(!data.path().join(NEXT).exists());
        let store = SealedStore::open(data.path()).unwrap();
        assert_ne!(store.derive("test"), derived);
        for (n, commitment) in (0..5u8).zip(&sealed) {
            assert_eq!(&**store.unseal(Purpose::Secret, commitment).unwrap(), &[n; 40]);
        }
        fs::write(data.path().join("key"), &old).unwrap();
        let store = SealedStore::open(data.path()).unwrap();
        assert!(sealed.iter().all(|commitment| store.unseal(Purpose::Secret, commitment).is_err()));
        assert_eq!(fs::metadata(data.path().join("key")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// Wherever it stops: before the first file, between two, after the last.
    #[test]
    fn a_rotation_that_was_cut_off_anywhere_is_finished_by_the_next_open() {
        for done in 0..=4 {
            let data = tempfile::tempdir().unwrap();
            let store = SealedStore::open(data.path()).unwrap();
            let sealed: Vec<_> = (0..4u8).map(|n| store.seal(Purpose::Secret, &[n]).unwrap()).collect();
            write_new(&RealDisk, &data.path().join(NEXT), &[9; KEY_BYTES]).unwrap();
            let key = read_key(&data.path().join("key")).unwrap();
            for path in files(&data.path().join("sealed")).unwrap().iter().take(done) {
                assert!(rewrap(&RealDisk, path, &key, &[9; KEY_BYTES]).unwrap());
            }
            let store = SealedStore::open(data.path()).unwrap();
            assert!(!data.path().join(NEXT).exists());
            for (n, commitment) in (0..4u8).zip(&sealed) {
                assert_eq!(&**store.unseal(Purpose::Secret, commitment).unwrap(), &[n], "cut after {done}");
            }
        }
    }

    #[test]
    fn a_damaged_file_is_named_and_the_old_key_stays_in_force() {
        let data = tempfile::tempdir().unwrap();
        let store = SealedStore::open(data.path()).unwrap();
        let commitment = store.seal(Purpose::Secret, b"x").unwrap();
        let path = data.path().join("sealed").join(commitment.to_string());
        let good = fs::read(&path).unwrap();
        let old = fs::read(data.path().join("key")).unwrap();
        let mut bad = good.clone();
        let last = bad.len() - 1;
        bad[last] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(matches!(rotate(data.path()), Err(SealError::Damaged { .. })));
        assert_eq!(fs::read(data.path().join("key")).unwrap(), old);
        // Restored from a copy, it is finished.
        fs::write(&path, &good).unwrap();
        let store = SealedStore::open(data.path()).unwrap();
        assert_eq!(&**store.unseal(Purpose::Secret, &commitment).unwrap(), b"x");
        assert_ne!(fs::read(data.path().join("key")).unwrap(), old);
    }
}
