//! The file of a shard: written once, whole, under another name and renamed; never changed after.
//!
//! ```text
//! magic [8] | format u32 | places u32 | shard u64 | bound [16] | terms u32 | zones u32
//!   | check of terms [16] | check of zones [16] | check of all this [16]
//! terms × (field u32 | count u32 | key u64 | offset u32 | length u32 | check of the list u64)
//! zones × (earliest u64 | latest u64)
//! lists
//! ```
//! Numbers are little-endian. Every check is made under a key and tells the shard, so that neither a flipped bit nor a
//! file of another shard passes. `bound` is a check of the shard's last entry: the file belongs to these entries.
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mcpctl_core::time::Timestamp;

use super::building::{Building, Lists, Zone};
use super::list;
use super::term::{Hasher, Term, Wants};

const MAGIC: &[u8; 8] = b"mcpctlX\n";
const FORMAT: u32 = 1;
const HEAD: usize = 96;
const TERM: usize = 32;
const ZONE_BYTES: usize = 16;

/// Ties a shard's file to its entries.
pub(super) type Bound = [u8; 16];

/// Path of a shard's file.
pub(super) fn path_of(dir: &Path, shard: u64) -> PathBuf {
    dir.join(format!("{shard:012}.index"))
}

/// Writes a shard's file, durable under its name.
pub(super) fn write(
    dir: &Path,
    hasher: &Hasher,
    shard: u64,
    places: u32,
    bound: &Bound,
    built: &Building,
) -> io::Result<()> {
    let bytes = encode(hasher, shard, places, bound, built)?;
    let path = path_of(dir, shard);
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    File::open(dir)?.sync_all()
}

fn encode(hasher: &Hasher, shard: u64, places: u32, bound: &Bound, built: &Building) -> io::Result<Vec<u8>> {
    let (mut terms, mut lists) = (Vec::with_capacity(built.terms.len() * TERM), Vec::new());
    for (term, list) in &built.terms {
        let bytes = list::encode(list, places);
        let [count, offset, length] =
            [list.len(), lists.len(), bytes.len()].map(|n| u32::try_from(n).map_err(io::Error::other));
        terms.extend(u32::from(term.field).to_le_bytes());
        terms.extend(count?.to_le_bytes());
        terms.extend(term.key.to_le_bytes());
        terms.extend(offset?.to_le_bytes());
        terms.extend(length?.to_le_bytes());
        terms.extend(check_of_list(hasher, shard, *term, &bytes));
        lists.extend(bytes);
    }
    let moments = built.zones.iter().flat_map(|zone| [zone.earliest, zone.latest]);
    let zones: Vec<u8> = moments.flat_map(|at| at.as_millis().to_le_bytes()).collect();
    let mut head = Vec::with_capacity(HEAD);
    head.extend(MAGIC);
    head.extend(FORMAT.to_le_bytes());
    head.extend(places.to_le_bytes());
    head.extend(shard.to_le_bytes());
    head.extend(bound);
    for count in [built.terms.len(), built.zones.len()] {
        head.extend(u32::try_from(count).map_err(io::Error::other)?.to_le_bytes());
    }
    head.extend(hasher.check(&about(b"terms", shard), &terms));
    head.extend(hasher.check(&about(b"zones", shard), &zones));
    head.extend(hasher.check(&about(b"head", shard), &head));
    Ok([head, terms, zones, lists].concat())
}

fn about(what: &[u8], shard: u64) -> Vec<u8> {
    [what, &shard.to_le_bytes()].concat()
}

fn check_of_list(hasher: &Hasher, shard: u64, term: Term, bytes: &[u8]) -> [u8; 8] {
    let mut about = about(b"list", shard);
    about.push(term.field);
    about.extend(term.key.to_le_bytes());
    let check = hasher.check(&about, bytes);
    std::array::from_fn(|at| check[at])
}

/// A list in the file.
#[derive(Clone, Copy, Debug)]
struct Listed {
    term: Term,
    count: u32,
    offset: u32,
    length: u32,
    check: [u8; 8],
}

/// A shard's file, open. Lists are read when they are asked for.
pub(super) struct ShardFile {
    file: File,
    hasher: Hasher,
    shard: u64,
    places: u32,
    bound: Bound,
    terms: Vec<Listed>,
    zones: Vec<Zone>,
    lists: u64,
}

impl ShardFile {
    /// Opens a shard's file; nothing when it is missing, not whole, or of other entries.
    pub(super) fn open(dir: &Path, hasher: &Hasher, shard: u64, places: u32) -> Option<Self> {
        let file = File::open(path_of(dir, shard)).ok()?;
        let length = file.metadata().ok()?.len();
        let mut head = [0; HEAD];
        file.read_exact_at(&mut head, 0).ok()?;
        let check = hasher.check(&about(b"head", shard), &head[..80]);
        let known = head[..8] == *MAGIC && u32_at(&head, 8) == FORMAT && u32_at(&head, 12) == places;
        if !known || head[80..] != check || u64_at(&head, 16) != shard {
            return None;
        }
        let (terms, zones) = (u32_at(&head, 40) as usize * TERM, u32_at(&head, 44) as usize * ZONE_BYTES);
        // Before memory is taken for what a head says.
        let lists = (HEAD + terms + zones) as u64;
        if lists > length {
            return None;
        }
        let mut body = vec![0; terms + zones];
        file.read_exact_at(&mut body, HEAD as u64).ok()?;
        let (terms, zones) = body.split_at(terms);
        let checks = [hasher.check(&about(b"terms", shard), terms), hasher.check(&about(b"zones", shard), zones)];
        if head[48..80] != checks.concat() {
            return None;
        }
        let bound = std::array::from_fn(|at| head[24 + at]);
        let terms = terms.chunks_exact(TERM).map(listed).collect::<Option<_>>()?;
        let zones = zones.chunks_exact(ZONE_BYTES).map(zone).collect();
        Some(Self { file, hasher: hasher.clone(), shard, places, bound, terms, zones, lists })
    }

    /// Whether it was made of these entries.
    pub(super) fn is_of(&self, bound: &Bound) -> bool {
        self.bound == *bound
    }

    /// Bytes that it holds in memory.
    pub(super) fn weight(&self) -> usize {
        self.terms.len() * size_of::<Listed>() + self.zones.len() * size_of::<Zone>()
    }

    fn read(&self, listed: &Listed) -> Option<Vec<u32>> {
        let mut bytes = vec![0; listed.length as usize];
        self.file.read_exact_at(&mut bytes, self.lists + u64::from(listed.offset)).ok()?;
        if check_of_list(&self.hasher, self.shard, listed.term, &bytes) != listed.check {
            return None;
        }
        list::decode(&bytes, listed.count as usize, self.places)
    }
}

impl Lists for ShardFile {
    fn places(&self, terms: &RangeInclusive<Term>) -> Option<Vec<u32>> {
        let first = self.terms.partition_point(|listed| listed.term < *terms.start());
        let within = self.terms[first..].iter().take_while(|listed| listed.term <= *terms.end());
        Some(list::union(within.map(|listed| self.read(listed)).collect::<Option<_>>()?))
    }

    fn zones(&self) -> &[Zone] {
        &self.zones
    }
}

impl ShardFile {
    /// See [`Lists::candidates`].
    pub(super) fn look(&self, wants: &Wants, first: u32, end: u32) -> Option<Vec<u32>> {
        self.candidates(wants, first, end)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

fn listed(bytes: &[u8]) -> Option<Listed> {
    Some(Listed {
        term: Term { field: u8::try_from(u32_at(bytes, 0)).ok()?, key: u64_at(bytes, 8) },
        count: u32_at(bytes, 4),
        offset: u32_at(bytes, 16),
        length: u32_at(bytes, 20),
        check: std::array::from_fn(|n| bytes[24 + n]),
    })
}

fn zone(bytes: &[u8]) -> Zone {
    let [earliest, latest] = [0, 8].map(|at| Timestamp::from_millis(u64_at(bytes, at)));
    Zone { earliest, latest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built() -> Building {
        let mut built = Building::default();
        for place in 0..40 {
            let terms = [Term { field: 1, key: u64::from(place % 3) }, Term { field: 2, key: u64::from(place) }];
            built.add(place, Timestamp::from_millis(u64::from(place)), &terms);
        }
        built
    }

    fn read(dir: &Path) -> Option<Vec<Vec<u32>>> {
        let file = ShardFile::open(dir, &Hasher::new([5; 32]), 7, 300)?;
        if !file.is_of(&[9; 16]) {
            return None;
        }
        file.terms.iter().map(|listed| file.read(listed)).collect()
    }

    #[test]
    fn whatever_byte_is_changed_or_cut_off_it_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &Hasher::new([5; 32]), 7, 300, &[9; 16], &built()).unwrap();
        let expected: Vec<Vec<u32>> = built().terms.values().cloned().collect();
        assert_eq!(read(dir.path()).unwrap(), expected);
        let path = path_of(dir.path(), 7);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read(dir.path()), None, "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(read(dir.path()), None, "cut at {at}");
        }
    }

    #[test]
    fn a_file_of_another_shard_or_key_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &Hasher::new([5; 32]), 7, 300, &[9; 16], &built()).unwrap();
        fs::copy(path_of(dir.path(), 7), path_of(dir.path(), 8)).unwrap();
        assert!(ShardFile::open(dir.path(), &Hasher::new([5; 32]), 8, 300).is_none());
        assert!(ShardFile::open(dir.path(), &Hasher::new([6; 32]), 7, 300).is_none());
        assert!(ShardFile::open(dir.path(), &Hasher::new([5; 32]), 7, 301).is_none());
    }
}
