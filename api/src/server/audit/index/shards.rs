//! Which part of the index lies where: the shard that grows is in memory, whole ones are files, and one that is missing is
//! made again from the log.
//!
//! A shard is a fixed number of positions. It is written when it is full and durable; until then, and while its file
//! can't be written, it stays in memory. Queries take what there is and read through the rest.
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcpctl_core::ids::Seq;
use mcpctl_core::log::{JournalReader, LogError};
use mcpctl_core::time::Timestamp;
use parking_lot::Mutex;

use super::super::record::decode;
use super::building::{Building, Lists as _};
use super::file::{self, Bound, ShardFile};
use super::term::{Hasher, Term, Wants};
use crate::plane::AuditEntry;

/// Positions of a shard.
pub(in crate::server::audit) const SHARD: u32 = 128 * 1024;
/// Full shards that wait in memory for their file; one more is dropped, and made again from the log later.
const WAITING_MAX: usize = 2;
/// Most bytes of open files that are kept in memory, and most files that are kept open.
const OPEN_MAX: (usize, usize) = (64 * 1024 * 1024, 128);

/// An index.
pub(in crate::server::audit) struct Index {
    dir: PathBuf,
    hasher: Hasher,
    places: u32,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// The shard that grows; nothing before the first entry.
    active: Option<(u64, Building)>,
    full: BTreeMap<u64, Full>,
    open: Vec<(u64, Arc<ShardFile>)>,
}

/// A shard that does not grow any more.
#[derive(Clone)]
enum Full {
    Waiting(Arc<Building>),
    File,
    Missing,
}

/// Places of a shard, and whether the index named them; else they are all there are.
pub(in crate::server::audit) struct Candidates {
    pub(in crate::server::audit) positions: Vec<Seq>,
    pub(in crate::server::audit) indexed: bool,
}

/// The growing shard as it was at one moment, as far as a query needs it.
pub(in crate::server::audit) struct Moment(Option<(u64, Building)>);

/// How much of the index is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexFigures {
    /// Full shards.
    pub full: u64,
    /// Those of them that queries must read through, because they are not made yet.
    pub missing: u64,
    /// Those of them that are in memory still.
    pub waiting: u64,
}

impl Index {
    /// An index of nothing in a folder, which is made when the first file is written.
    pub(in crate::server::audit) fn new(dir: &Path, key: [u8; 32], places: u32) -> Self {
        Self { dir: dir.to_owned(), hasher: Hasher::new(key), places, shelf: Mutex::default() }
    }

    pub(in crate::server::audit) const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// By what an entry will be found.
    pub(in crate::server::audit) fn terms(&self, entry: &AuditEntry) -> Vec<Term> {
        if self.places == 0 { Vec::new() } else { self.hasher.terms(entry) }
    }

    /// Shard and place of a position.
    fn spot(&self, position: Seq) -> (u64, u32) {
        let (at, places) = (position.0.saturating_sub(1), u64::from(self.places.max(1)));
        (at / places, u32::try_from(at % places).unwrap_or(u32::MAX))
    }

    /// Positions of a shard.
    fn span(&self, shard: u64) -> Range<u64> {
        let places = u64::from(self.places);
        shard * places + 1..(shard + 1) * places + 1
    }

    /// Shards of positions, in order.
    pub(in crate::server::audit) fn shards(&self, positions: Range<Seq>) -> Range<u64> {
        if positions.start >= positions.end {
            return 0..0;
        }
        self.spot(positions.start).0..self.spot(Seq(positions.end.0 - 1)).0 + 1
    }

    /// Takes an entry that was appended. Called in the order of positions.
    pub(in crate::server::audit) fn take(&self, position: Seq, at: Timestamp, terms: &[Term]) -> bool {
        if self.places == 0 {
            return false;
        }
        let (shard, place) = self.spot(position);
        let mut shelf = self.shelf.lock();
        let filled = shelf.active.as_ref().is_some_and(|(active, _)| *active != shard);
        if filled && let Some((full, built)) = shelf.active.take() {
            shelf.put_away(full, built);
        }
        shelf.active.get_or_insert_with(|| (shard, Building::default())).1.add(place, at, terms);
        filled
    }

    /// Brings the index level with a log that was just opened: whole shards are looked for, the last one is read.
    pub(in crate::server::audit) fn load(&self, reader: &JournalReader) -> Result<(), LogError> {
        if self.places == 0 {
            return Ok(());
        }
        let mut shelf = Shelf::default();
        let first = reader.first().unwrap_or(Seq(1));
        let shards = self.shards(first..reader.head().next());
        for shard in shards.start..shards.end.saturating_sub(1) {
            let there = file::path_of(&self.dir, shard).exists();
            shelf.full.insert(shard, if there { Full::File } else { Full::Missing });
        }
        if !shards.is_empty() {
            let last = shards.end - 1;
            shelf.active = Some((last, self.build(reader, last)?));
        }
        *self.shelf.lock() = shelf;
        Ok(())
    }

    /// Makes a shard from its entries.
    fn build(&self, reader: &JournalReader, shard: u64) -> Result<Building, LogError> {
        let (span, mut built) = (self.span(shard), Building::default());
        reader.scan(Seq(span.start), &mut |position, bytes| {
            if position.0 >= span.end {
                return false;
            }
            if let Ok(entry) = decode(bytes) {
                built.add(self.spot(position).1, entry.at, &self.hasher.terms(&entry));
            }
            true
        })?;
        Ok(built)
    }

    /// The growing shard as it is now. To be taken together with the head of the log.
    pub(in crate::server::audit) fn moment(&self, wants: &Wants) -> Moment {
        let shelf = self.shelf.lock();
        Moment(shelf.active.as_ref().map(|(shard, built)| (*shard, built.part(wants))))
    }

    /// Positions of a shard, of those in `within`, whose entries may match.
    pub(in crate::server::audit) fn candidates(
        &self,
        moment: &Moment,
        reader: &JournalReader,
        shard: u64,
        wants: &Wants,
        within: Range<Seq>,
    ) -> Candidates {
        let span = self.span(shard);
        let (first, end) = (within.start.0.max(span.start), within.end.0.min(span.end));
        let place = |position: u64| u32::try_from(position.saturating_sub(span.start)).unwrap_or(self.places);
        let looked = match &moment.0 {
            Some((active, built)) if *active == shard => built.candidates(wants, place(first), place(end)),
            _ => self.look(reader, shard, wants, place(first)..place(end)),
        };
        match looked {
            Some(places) => {
                let positions = places.into_iter().map(|place| Seq(span.start + u64::from(place))).collect();
                Candidates { positions, indexed: true }
            }
            None => Candidates { positions: (first..end.max(first)).map(Seq).collect(), indexed: false },
        }
    }

    /// Looks into a full shard; nothing when its file can't be believed, which is made again then.
    fn look(&self, reader: &JournalReader, shard: u64, wants: &Wants, within: Range<u32>) -> Option<Vec<u32>> {
        let full = self.shelf.lock().full.get(&shard).cloned();
        match full {
            Some(Full::Waiting(built)) => built.candidates(wants, within.start, within.end),
            Some(Full::File) => {
                let looked = self.opened(reader, shard).and_then(|file| file.look(wants, within.start, within.end));
                if looked.is_none() {
                    tracing::warn!(shard, "a file of the audit index is missing or damaged: it is made again");
                    self.shelf.lock().doubt(shard);
                }
                looked
            }
            Some(Full::Missing) | None => None,
        }
    }

    /// The file of a shard, if it is whole and of these entries.
    fn opened(&self, reader: &JournalReader, shard: u64) -> Option<Arc<ShardFile>> {
        if let Some(file) = self.shelf.lock().used(shard) {
            return Some(file);
        }
        let file = Arc::new(ShardFile::open(&self.dir, &self.hasher, shard, self.places)?);
        if !file.is_of(&self.bound(reader, shard).ok()??) {
            return None;
        }
        self.shelf.lock().keep_open(shard, file.clone());
        Some(file)
    }

    /// What ties a shard to its entries: a check of its last one.
    fn bound(&self, reader: &JournalReader, shard: u64) -> Result<Option<Bound>, LogError> {
        let last = Seq(self.span(shard).end - 1);
        Ok(reader.read(last)?.map(|bytes| self.hasher.check(&last.0.to_le_bytes(), &bytes)))
    }

    /// Writes one shard that waits, or makes one that is missing, the newest first. Says whether there was one.
    ///
    /// # Errors
    /// When the log can't be read or the file can't be written: there is no use in trying again at once.
    pub(in crate::server::audit) fn work(&self, reader: &JournalReader) -> Result<bool, LogError> {
        let durable = reader.durable();
        let ready = |shard: u64| self.span(shard).end - 1 <= durable.0;
        let next = {
            let shelf = self.shelf.lock();
            let mut open =
                shelf.full.iter().rev().filter(|(shard, full)| ready(**shard) && !matches!(full, Full::File));
            open.next().map(|(shard, full)| (*shard, full.clone()))
        };
        let Some((shard, full)) = next else { return Ok(false) };
        let built = match full {
            Full::Waiting(built) => built,
            _ => Arc::new(self.build(reader, shard)?),
        };
        if let Some(bound) = self.bound(reader, shard)? {
            let written = std::fs::create_dir_all(&self.dir)
                .and_then(|()| file::write(&self.dir, &self.hasher, shard, self.places, &bound, &built));
            let path = || file::path_of(&self.dir, shard);
            written.map_err(|source| LogError::Io { action: "write", path: path(), source })?;
        }
        let mut shelf = self.shelf.lock();
        shelf.open.retain(|(open, _)| *open != shard);
        shelf.full.insert(shard, Full::File);
        Ok(true)
    }

    /// Forgets shards whose entries are gone, and their files; others that hold entries of these positions are made anew.
    pub(in crate::server::audit) fn forget(&self, below: Seq, changed: &[Seq]) {
        let (kept, _) = self.spot(below);
        let mut shelf = self.shelf.lock();
        let gone: Vec<u64> = shelf.full.range(..kept).map(|(shard, _)| *shard).collect();
        let doubtful = changed.iter().map(|position| self.spot(*position).0).filter(|shard| !gone.contains(shard));
        for shard in doubtful.collect::<std::collections::BTreeSet<u64>>() {
            shelf.doubt(shard);
        }
        for shard in gone {
            shelf.full.remove(&shard);
            shelf.open.retain(|(open, _)| *open != shard);
            let _ = std::fs::remove_file(file::path_of(&self.dir, shard));
        }
    }

    /// Makes the growing shard again, after some of its entries were exchanged.
    pub(in crate::server::audit) fn again(&self, reader: &JournalReader) -> Result<(), LogError> {
        let active = self.shelf.lock().active.as_ref().map(|(shard, _)| *shard);
        if let Some(shard) = active {
            let built = self.build(reader, shard)?;
            self.shelf.lock().active = Some((shard, built));
        }
        Ok(())
    }

    pub(in crate::server::audit) fn figures(&self) -> IndexFigures {
        let shelf = self.shelf.lock();
        let count = |wanted: fn(&Full) -> bool| shelf.full.values().filter(|full| wanted(full)).count() as u64;
        IndexFigures {
            full: shelf.full.len() as u64,
            missing: count(|full| matches!(full, Full::Missing)),
            waiting: count(|full| matches!(full, Full::Waiting(_))),
        }
    }
}

impl Shelf {
    fn put_away(&mut self, shard: u64, built: Building) {
        self.full.insert(shard, Full::Waiting(Arc::new(built)));
        let waiting = |full: &Full| matches!(full, Full::Waiting(_));
        let mut all: Vec<u64> = self.full.iter().filter(|(_, full)| waiting(full)).map(|(shard, _)| *shard).collect();
        while all.len() > WAITING_MAX {
            self.full.insert(all.remove(0), Full::Missing);
        }
    }

    fn doubt(&mut self, shard: u64) {
        self.open.retain(|(open, _)| *open != shard);
        if let Some(full) = self.full.get_mut(&shard) {
            *full = Full::Missing;
        }
    }

    /// An open file; it is the last to be closed now.
    fn used(&mut self, shard: u64) -> Option<Arc<ShardFile>> {
        let at = self.open.iter().position(|(open, _)| *open == shard)?;
        let used = self.open.remove(at);
        self.open.push(used.clone());
        Some(used.1)
    }

    fn keep_open(&mut self, shard: u64, file: Arc<ShardFile>) {
        self.open.retain(|(open, _)| *open != shard);
        self.open.push((shard, file));
        let weight = |open: &[(u64, Arc<ShardFile>)]| open.iter().map(|(_, file)| file.weight()).sum::<usize>();
        while self.open.len() > 1 && (self.open.len() > OPEN_MAX.1 || weight(&self.open) > OPEN_MAX.0) {
            self.open.remove(0);
        }
    }
}
