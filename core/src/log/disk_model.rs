//! A disk that fails when it is told to, and that knows what a power cut would leave of each file.
//!
//! Every call goes to real files too, which stand for what reading says (the page cache). Beside them it keeps what is
//! durable and what is only written. A sync that fails takes the pages for clean: what was written before it becomes
//! durable by no later sync, unless it is written again. Names are durable when their folder is synced, each folder by
//! itself: no order of two folders is relied on.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, RealDisk};

/// What a power cut keeps or loses as one.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct DiskModel(Mutex<Model>);

#[derive(Debug, Default)]
struct Model {
    calls: u64,
    fails: Option<Fails>,
    files: Vec<FileModel>,
    names: Names,
    durable_names: Names,
}

type Names = BTreeMap<PathBuf, Named>;

/// What a name is of.
#[derive(Clone, Copy, Debug)]
enum Named {
    File(usize),
    Folder,
}

/// Which calls fail: from one on, so many.
#[derive(Clone, Copy, Debug)]
struct Fails {
    from: u64,
    count: u64,
    os_error: i32,
}

#[derive(Clone, Debug, Default)]
struct FileModel {
    durable: Vec<u8>,
    /// Written since the last sync, oldest first.
    written: Vec<Change>,
    /// Written before a sync that failed: it may reach the disk or not, whatever is synced later.
    limbo: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

/// What a power cut keeps of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    Nothing,
    Some,
    SomeReordered,
    All,
}

/// A small generator: the same seed, the same cut.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bytes(at, new) => {
                bytes.resize(bytes.len().max(at + new.len()), 0);
                bytes[*at..at + new.len()].copy_from_slice(new);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// The parts that reach the disk each by itself.
    fn sectors(&self) -> Vec<Self> {
        match self {
            Self::Length(_) => vec![self.clone()],
            Self::Bytes(at, bytes) => {
                let (mut at, mut rest, mut parts) = (*at, &bytes[..], Vec::new());
                while !rest.is_empty() {
                    let (part, after) = rest.split_at((SECTOR - at % SECTOR).min(rest.len()));
                    parts.push(Self::Bytes(at, part.to_vec()));
                    (at, rest) = (at + part.len(), after);
                }
                parts
            }
        }
    }
}

impl FileModel {
    fn sync(&mut self) {
        self.written.drain(..).for_each(|change| change.apply(&mut self.durable));
    }

    fn after_cut(&self, keeps: Keeps, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let mut parts: Vec<Change> = self.limbo.iter().chain(&self.written).flat_map(Change::sectors).collect();
        match keeps {
            Keeps::All => {}
            Keeps::Nothing => parts.clear(),
            Keeps::Some | Keeps::SomeReordered => parts.retain(|_| dice.below(2) == 0),
        }
        if keeps == Keeps::SomeReordered {
            for index in (1..parts.len()).rev() {
                parts.swap(index, usize::try_from(dice.below(index as u64 + 1)).unwrap());
            }
        }
        parts.iter().for_each(|part| part.apply(&mut bytes));
        bytes
    }
}

impl DiskModel {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk that lives as long as the test process: what writes to it is long-lived too.
    pub(crate) fn leaked() -> &'static Self {
        Box::leak(Box::default())
    }

    pub(crate) fn calls(&self) -> u64 {
        self.model().calls
    }

    /// The calls from one on fail, so many of them.
    pub(crate) fn fail(&self, from: u64, count: u64, os_error: i32) {
        self.model().fails = Some(Fails { from, count, os_error });
    }

    pub(crate) fn works_again(&self) {
        self.model().fails = None;
    }

    /// Writes into `to` what a power cut at this moment would leave of what is below `root`. Folders that were not made by
    /// this disk are there.
    pub(crate) fn cut(&self, root: &Path, to: &Path, keeps: Keeps, dice: &mut Dice) {
        let model = self.model();
        let left = model.names_left(keeps, dice);
        for (path, named) in &left {
            let gone = |dir: &&Path| model.made(dir) && !left.contains_key(*dir);
            if path.ancestors().skip(1).take_while(|dir| *dir != root).any(|dir| gone(&dir)) {
                continue;
            }
            let to = to.join(path.strip_prefix(root).unwrap());
            match named {
                Named::Folder => std::fs::create_dir_all(&to).unwrap(),
                Named::File(file) => {
                    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                    std::fs::write(&to, model.files[*file].after_cut(keeps, dice)).unwrap();
                    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                    std::fs::set_permissions(&to, private).unwrap();
                }
            }
        }
    }

    /// Counts a call, and says whether it fails.
    fn call(&self) -> io::Result<MutexGuard<'_, Model>> {
        let mut model = self.model();
        let index = model.calls;
        model.calls += 1;
        match model.fails {
            Some(Fails { from, count, os_error }) if index >= from && index - from < count => {
                Err(io::Error::from_raw_os_error(os_error))
            }
            _ => Ok(model),
        }
    }

    fn change(&self, path: &Path, change: Change) {
        let mut model = self.model();
        model.file(path).written.push(change);
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        match self.call() {
            Ok(mut model) => {
                model.file(path).sync();
                Ok(())
            }
            Err(error) => {
                let mut model = self.model();
                let file = model.file(path);
                let written = std::mem::take(&mut file.written);
                file.limbo.extend(written);
                Err(error)
            }
        }
    }
}

impl Model {
    /// The file that has a name now.
    fn file(&mut self, path: &Path) -> &mut FileModel {
        match self.names.get(path) {
            Some(Named::File(file)) => &mut self.files[*file],
            other => panic!("{} is {other:?}: it was not made by this disk", path.display()),
        }
    }

    fn began(&mut self, path: &Path) {
        self.names.insert(path.to_owned(), Named::File(self.files.len()));
        self.files.push(FileModel::default());
    }

    /// Whether a folder was made by this disk.
    fn made(&self, dir: &Path) -> bool {
        self.names.contains_key(dir) || self.durable_names.contains_key(dir)
    }

    /// The names that are left: of each folder those of now, or those of its last sync.
    fn names_left(&self, keeps: Keeps, dice: &mut Dice) -> Names {
        let all = self.names.keys().chain(self.durable_names.keys());
        let folders: BTreeSet<&Path> = all.filter_map(|path| path.parent()).collect();
        let mut left = Names::new();
        for folder in folders {
            let synced = keeps == Keeps::Nothing || (keeps != Keeps::All && dice.below(2) == 0);
            let names = if synced { &self.durable_names } else { &self.names };
            left.extend(in_folder(names, folder));
        }
        left
    }
}

fn in_folder(names: &Names, folder: &Path) -> Vec<(PathBuf, Named)> {
    let of = names.iter().filter(|(path, _)| path.parent() == Some(folder));
    of.map(|(path, named)| (path.clone(), *named)).collect()
}

impl Disk for DiskModel {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut model = self.call()?;
        model.began(path);
        RealDisk.create(path)
    }

    fn create_private(&self, path: &Path) -> io::Result<File> {
        let mut model = self.call()?;
        model.began(path);
        RealDisk.create_private(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut model = self.call()?;
        for dir in path.ancestors().take_while(|dir| !dir.is_dir()) {
            model.names.insert(dir.to_owned(), Named::Folder);
        }
        RealDisk.create_dir(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut model = self.call()?;
        RealDisk.remove(path)?;
        model.names.remove(path);
        Ok(())
    }

    fn write_at(&self, path: &Path, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let place = usize::try_from(at).unwrap();
        if let Err(error) = self.call().map(drop) {
            // A write that fails may have written a part.
            let part = &bytes[..bytes.len() / 2];
            RealDisk.write_at(path, file, part, at)?;
            self.change(path, Change::Bytes(place, part.to_vec()));
            return Err(error);
        }
        RealDisk.write_at(path, file, bytes, at)?;
        self.change(path, Change::Bytes(place, bytes.to_vec()));
        Ok(())
    }

    fn set_len(&self, path: &Path, file: &File, length: u64) -> io::Result<()> {
        self.call().map(drop)?;
        self.change(path, Change::Length(usize::try_from(length).unwrap()));
        RealDisk.set_len(path, file, length)
    }

    fn sync_data(&self, path: &Path, _file: &File) -> io::Result<()> {
        self.sync(path)
    }

    fn sync_all(&self, path: &Path, _file: &File) -> io::Result<()> {
        self.sync(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut model = self.call()?;
        let file = model.names.remove(from).expect("a file of this disk");
        model.names.insert(to.to_owned(), file);
        RealDisk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut model = self.call()?;
        model.durable_names.retain(|path, _| path.parent() != Some(dir));
        let now = in_folder(&model.names, dir);
        model.durable_names.extend(now);
        Ok(())
    }
}
