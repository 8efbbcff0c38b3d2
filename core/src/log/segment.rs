//! A segment: one file of the journal, its name, its header, and how a new one comes into being.
//!
//! The header is 32 bytes: `magic [8] | format u32 | 0 u32 | first seq u64 | 0 u32 | crc32c u32` over the 28 before.
//! Its shape stays the same in every format, so that an old program can tell a newer segment from a damaged one.
//! A segment is written under another name and renamed when its header is durable: a crash never leaves half a header.
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::LogError;
use super::disk::Disk;
use crate::ids::Seq;

/// Format of the segments that this program writes.
pub const SEGMENT_FORMAT: u32 = 1;

/// Bytes before the first frame.
pub(super) const SEGMENT_HEAD_BYTES: u64 = 32;

const MAGIC: [u8; 8] = *b"mcpctlJ\n";
const SUFFIX: &str = "segment";

/// Path of the segment that begins with `first`.
pub(super) fn path_of(dir: &Path, first: Seq) -> PathBuf {
    dir.join(format!("{:020}.{SUFFIX}", first.0))
}

/// Segments of a folder, in order, by their first seq.
pub(super) fn list(dir: &Path) -> Result<Vec<Seq>, LogError> {
    let entries = std::fs::read_dir(dir).map_err(failed("list", dir))?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("list", dir))?.file_name();
        found.extend(name.to_str().and_then(first_of_name));
    }
    found.sort_unstable();
    Ok(found)
}

fn first_of_name(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(SUFFIX)?.strip_suffix('.')?;
    (digits.len() == 20).then(|| digits.parse().ok().map(Seq))?
}

/// Creates the segment that begins with `first`, with `zeros` bytes of space ahead, durable under its name.
pub(super) fn create(disk: &dyn Disk, dir: &Path, first: Seq, zeros: u64) -> Result<File, LogError> {
    let path = path_of(dir, first);
    let draft = path.with_extension("new");
    let file = disk.create(&draft).map_err(failed("create", &draft))?;
    disk.write_at(&draft, &file, &header(first), 0).map_err(failed("write", &draft))?;
    write_zeros(disk, &draft, &file, SEGMENT_HEAD_BYTES, zeros).map_err(failed("write", &draft))?;
    disk.sync_all(&draft, &file).map_err(failed("sync", &draft))?;
    disk.rename(&draft, &path).map_err(failed("rename to", &path))?;
    disk.sync_dir(dir).map_err(failed("sync", dir))?;
    Ok(file)
}

/// Opens a segment for reading and writing.
pub(super) fn open(path: &Path) -> Result<File, LogError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(failed("open", path))
}

/// Writes `count` zeros, so that a later sync has no metadata to write.
pub(super) fn write_zeros(disk: &dyn Disk, path: &Path, file: &File, from: u64, count: u64) -> io::Result<()> {
    static CHUNK: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = from;
    while at < from + count {
        let now = (from + count - at).min(CHUNK.len() as u64);
        disk.write_at(path, file, &CHUNK[..usize::try_from(now).unwrap_or(CHUNK.len())], at)?;
        at += now;
    }
    Ok(())
}

/// Turns an I/O error into one that names what was tried on which file. Where there is no error it costs nothing.
pub(super) fn failed<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> LogError + use<'p> {
    move |source| LogError::Io { action, path: path.to_owned(), source }
}

pub(super) fn header(first: Seq) -> [u8; SEGMENT_HEAD_BYTES as usize] {
    let mut bytes = [0; SEGMENT_HEAD_BYTES as usize];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&SEGMENT_FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&first.0.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Checks the header of a segment that should begin with `first`.
pub(super) fn check_header(path: &Path, bytes: Option<&[u8]>, first: Seq) -> Result<(), LogError> {
    let damaged = |what: &str| LogError::Corrupt { path: path.to_owned(), offset: 0, what: what.to_owned() };
    let bytes = bytes.ok_or_else(|| damaged("the file is shorter than the header of a segment"))?;
    let crc = u32::from_le_bytes(bytes[28..32].try_into().expect("a slice of four"));
    if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..28]) != crc {
        return Err(damaged("this is not the header of a segment"));
    }
    let found = u32::from_le_bytes(bytes[8..12].try_into().expect("a slice of four"));
    if found > SEGMENT_FORMAT {
        let path = path.parent().unwrap_or(path).to_owned();
        return Err(LogError::Newer { path, found, known: SEGMENT_FORMAT });
    }
    let begins = u64::from_le_bytes(bytes[16..24].try_into().expect("a slice of eight"));
    if begins != first.0 {
        return Err(damaged(&format!("its header says that it begins at seq {begins}: the file was renamed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;

    #[test]
    fn a_segment_is_found_by_its_name_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lock", "index", "00000000000000000003.new", "3.segment", "x.segment"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        create(&RealDisk, dir.path(), Seq(200), 0).unwrap();
        create(&RealDisk, dir.path(), Seq(3), 0).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [Seq(3), Seq(200)]);
    }

    #[test]
    fn a_header_has_the_bytes_that_format_1_has_for_ever() {
        let hex: String = header(Seq(5)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "6d637063746c4a0a0100000000000000050000000000000000000000b430500a");
    }

    #[test]
    fn a_header_of_a_later_format_is_newer_and_a_damaged_one_is_damaged() {
        let path = Path::new("log/00000000000000000005.segment");
        let good = header(Seq(5));
        check_header(path, Some(&good), Seq(5)).unwrap();
        let mut newer = good;
        newer[8] = 7;
        let crc = crc32c::crc32c(&newer[..28]);
        newer[28..].copy_from_slice(&crc.to_le_bytes());
        let error = check_header(path, Some(&newer), Seq(5)).unwrap_err();
        assert!(matches!(error, LogError::Newer { found: 7, known: 1, .. }), "{error}");
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = check_header(path, Some(&bytes), Seq(5)).unwrap_err();
            assert!(matches!(error, LogError::Corrupt { .. }), "bit {bit}: {error}");
        }
    }
}
