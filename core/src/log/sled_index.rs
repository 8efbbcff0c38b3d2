//! The one file that knows sled: records by seq and by object. It is a copy that may be thrown away at any time.
//!
//! sled 0.34.7 calls no fsync and panics on a flipped bit (`docs/decisions/0001`). So nothing depends on it: every call
//! is fenced, every record carries a checksum of its own, and whoever gets an error goes on with the journal.
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::ids::{Seq, Uid};

/// Shape of the trees. An index of another shape is thrown away.
const INDEX_FORMAT: &[u8] = b"1";

/// Most memory that sled may use for pages.
const CACHE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// sled failed, panicked, or answered nonsense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct IndexError(pub(super) String);

/// A record as it goes into the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Indexed<'a> {
    pub(super) seq: Seq,
    pub(super) object: Uid,
    pub(super) bytes: &'a [u8],
}

/// The index. Keys sort by seq; a value is `crc32c u32 (over key and record) | record`.
#[derive(Debug)]
pub(super) struct SledIndex {
    db: sled::Db,
    records: sled::Tree,
    objects: sled::Tree,
}

impl SledIndex {
    /// Opens the index in `dir`, or makes an empty one. The folder must be nobody else's.
    pub(super) fn open(dir: &Path) -> Result<Self, IndexError> {
        fenced(|| {
            let db = sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE_BYTES_MAX)
                .flush_every_ms(Some(500))
                .mode(sled::Mode::HighThroughput)
                .open()?;
            let records = db.open_tree("records")?;
            let objects = db.open_tree("objects")?;
            match db.get("format")? {
                Some(found) if found == INDEX_FORMAT => {}
                None if records.is_empty() => drop(db.insert("format", INDEX_FORMAT)?),
                _ => return Err(sled::Error::Unsupported("the index has another format".into())),
            }
            Ok(Self { db, records, objects })
        })
    }

    /// Seq of the last record; `Seq(0)` when there is none.
    pub(super) fn head(&self) -> Result<Seq, IndexError> {
        match fenced(|| self.records.last())? {
            Some((key, _)) => seq_of(&key),
            None => Ok(Seq(0)),
        }
    }

    /// One record, checked.
    pub(super) fn read(&self, seq: Seq) -> Result<Option<Vec<u8>>, IndexError> {
        let key = seq.0.to_be_bytes();
        let Some(value) = fenced(|| self.records.get(key))? else { return Ok(None) };
        Ok(Some(record_of(&key, &value)?.to_vec()))
    }

    /// Puts records in. The objects first: where a record is, its object's entry is too. Not as a batch of sled's, which
    /// halves the rate of single appends: what an interrupted call leaves is put in again by the next open.
    pub(super) fn insert<'a>(&self, records: impl Iterator<Item = Indexed<'a>> + Clone) -> Result<(), IndexError> {
        let mut keys: Vec<_> = records.clone().map(|record| object_key(record.object, record.seq)).collect();
        keys.sort_unstable();
        fenced(|| {
            for key in keys {
                self.objects.insert(key, &[])?;
            }
            for record in records {
                let key = record.seq.0.to_be_bytes();
                self.records.insert(key, value_of(&key, record.bytes))?;
            }
            Ok(())
        })
    }

    /// Seqs of the records of one object, ascending.
    pub(super) fn of_object(&self, object: Uid) -> Result<Vec<Seq>, IndexError> {
        let prefix = object.to_string();
        let keys = fenced(|| self.objects.scan_prefix(&prefix).keys().collect::<sled::Result<Vec<_>>>())?;
        keys.iter().map(|key| seq_of(&key[prefix.len()..])).collect()
    }

    /// How many records have an entry for their object. Walks through all of them.
    pub(super) fn count_of_objects(&self) -> Result<u64, IndexError> {
        fenced(|| self.objects.iter().keys().try_fold(0, |count, key| key.map(|_| count + 1)))
    }

    /// All records in order, checked.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { records: self.records.iter() }
    }

    /// Brings everything to the disk, and makes sure of it: sled's own flush calls no fsync.
    pub(super) fn flush(&self, dir: &Path) -> Result<(), IndexError> {
        fenced(|| self.db.flush())?;
        let sync_all = || -> std::io::Result<()> {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    File::open(entry.path())?.sync_all()?;
                }
            }
            File::open(dir)?.sync_all()
        };
        sync_all().map_err(|error| IndexError(error.to_string()))
    }

    /// Closes the index. sled flushes when it is dropped, and that may panic too.
    pub(super) fn close(self) {
        // There is nothing to be done about it: the next open checks the index.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(self)));
    }
}

#[cfg(test)]
impl SledIndex {
    pub(super) fn lose_an_object_for_tests(&self) {
        self.objects.pop_min().unwrap();
    }
}

/// Goes through the records of an index.
pub(super) struct Cursor {
    records: sled::Iter,
}

impl Cursor {
    /// The next record, checked.
    pub(super) fn next(&mut self) -> Result<Option<(Seq, Vec<u8>)>, IndexError> {
        let Some((key, value)) = fenced(|| self.records.next().transpose())? else { return Ok(None) };
        Ok(Some((seq_of(&key)?, record_of(&key, &value)?.to_vec())))
    }
}

fn fenced<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| IndexError(error.to_string())),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(IndexError(format!("sled panicked: {}", said.unwrap_or("no reason given"))))
        }
    }
}

fn object_key(object: Uid, seq: Seq) -> Vec<u8> {
    let mut key = object.to_string().into_bytes();
    key.extend_from_slice(&seq.0.to_be_bytes());
    key
}

fn seq_of(key: &[u8]) -> Result<Seq, IndexError> {
    let bytes = key.try_into().map_err(|_| IndexError("a key of the index is not a seq".to_owned()))?;
    Ok(Seq(u64::from_be_bytes(bytes)))
}

fn value_of(key: &[u8], record: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(4 + record.len());
    value.extend_from_slice(&checksum(key, record));
    value.extend_from_slice(record);
    value
}

fn record_of<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], IndexError> {
    match value.split_at_checked(4) {
        Some((crc, record)) if checksum(key, record) == crc => Ok(record),
        _ => Err(IndexError("a record of the index fails its checksum".to_owned())),
    }
}

fn checksum(key: &[u8], record: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(key), record).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_changed_in_the_index_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let index = SledIndex::open(dir.path()).unwrap();
        index.insert([Indexed { seq: Seq(1), object: Uid::fixed(1), bytes: b"record" }].into_iter()).unwrap();
        assert_eq!(index.read(Seq(1)).unwrap().as_deref(), Some(&b"record"[..]));
        let mut value = index.records.get(1u64.to_be_bytes()).unwrap().unwrap().to_vec();
        value[6] ^= 1;
        index.records.insert(1u64.to_be_bytes(), value).unwrap();
        index.read(Seq(1)).unwrap_err();
        index.cursor().next().unwrap_err();
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let error = fenced::<()>(|| panic!("a flipped bit")).unwrap_err();
        assert_eq!(error.to_string(), "sled panicked: a flipped bit");
    }
}
