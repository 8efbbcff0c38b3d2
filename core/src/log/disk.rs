//! The calls with which logs, evidence and sealed values change what is on the disk: in one place, so that a test can have
//! any of them fail, and can tell what a power cut would leave.
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// What is asked of the disk. Reading goes to the files themselves.
pub trait Disk: Debug + Send + Sync {
    /// Makes an empty file for reading and writing, in place of one that may be there.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
    }

    /// The same, to be read by its owner only. What may be there under that name goes first: others may have opened it.
    ///
    /// # Errors
    /// The system's.
    fn create_private(&self, path: &Path) -> io::Result<File> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    /// Makes a folder, unless it is there, with those above it.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    /// Takes a name away. It may come back in a power cut, until the folder is synced.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    /// Writes bytes at a place.
    ///
    /// # Errors
    /// The system's. Some of the bytes may have been written.
    fn write_at(&self, _path: &Path, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    /// Cuts a file off, or makes it longer with zeros.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, _path: &Path, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Makes what was written durable, and as much about the file as is needed to read it.
    ///
    /// # Errors
    /// The system's. What was written since the last good sync may be gone then, whatever reading it says.
    fn sync_data(&self, _path: &Path, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Makes all of a file durable, its length too.
    ///
    /// # Errors
    /// As for [`Disk::sync_data`].
    fn sync_all(&self, _path: &Path, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Gives a file another name, in place of the file that may have it.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir).and_then(|dir| dir.sync_all())
    }

    /// Has the system forget what it holds of a file in memory, as far as it is willing to: what is read next comes from
    /// the disk.
    fn forget(&self, file: &File) {
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
        #[cfg(not(target_os = "linux"))]
        let _ = file;
    }
}

/// The disk itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {}

/// Puts a file that only its owner reads in place as a whole: written under another name, made durable, given its name, and
/// that made durable. Whenever the power is cut, what was there before is there, or all of this.
///
/// # Errors
/// The system's. What was there before is there still, or all of this; which, is not known.
pub fn put_whole(disk: &dyn Disk, path: &Path, draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create_private(draft)?;
    let written = disk.write_at(draft, &file, bytes, 0).and_then(|()| disk.sync_all(draft, &file));
    if let Err(error) = written {
        let _ = disk.remove(draft);
        return Err(error);
    }
    disk.rename(draft, path)?;
    disk.sync_dir(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}
