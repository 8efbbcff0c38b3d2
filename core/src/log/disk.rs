//! The calls with which a journal changes what is on the disk: in one place, so that a test can have any of them fail,
//! and can tell what a power cut would leave.
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// What a journal asks of the disk. Reading goes to the files themselves.
pub trait Disk: Debug + Send + Sync {
    /// Makes an empty file for reading and writing, in place of one that may be there.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
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
