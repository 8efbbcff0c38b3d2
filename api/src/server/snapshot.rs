//! The snapshot of the state on disk: what lets a start skip the fold. A cache, and never more than that.
//!
//! A file is `mcpctl snapshot 1`, seq and chain hash of its last event, the program that wrote it, the image, and a
//! keyed hash over all of it. Whatever does not fit (another program, a changed byte, a hash that the log does not have
//! at that seq) is deleted, and the log is folded from its beginning. The key comes from the key file, so that whoever
//! can write here, and can't read that, makes no state up. See `docs/decisions/0009-what-a-start-checks.md`.
//!
//! Beside it lie the seals of the log's finished segments (`core/src/log/seal.rs`), under the same key: what lets a
//! start hash those as a whole instead of looking at each record.
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::log::{LogError, Seal, seal};
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::published::Published;

/// A new snapshot is written in the background when so many events came since the last one.
pub const EVERY_EVENTS: u64 = 50_000;
/// At the end one is written when at least so many came: folding fewer takes no time.
pub const AT_END_EVENTS: u64 = 1_000;

/// What the key of snapshots is derived for.
pub const KEY: &str = "mcpctl snapshot of the state 1";

const MAGIC: &str = "mcpctl snapshot 1";
const MAC_BYTES: usize = 32;
const SUFFIX: &str = "snapshot";
const SEALS_MAGIC: &str = "mcpctl seals 1\n";
const SEALS: &str = "segments.seals";

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it can't be read")]
    Read(#[from] io::Error),
    #[error("it is damaged, or was not written here")]
    Damaged,
    #[error("another program wrote it")]
    OtherProgram,
    #[error("its state does not decode")]
    Image(#[from] mcpctl_projections::ImageError),
}

/// The snapshots of one data folder.
pub struct Snapshots {
    dir: PathBuf,
    key: [u8; 32],
    program: String,
    last: AtomicU64,
}

impl Snapshots {
    /// Snapshots in a folder, under a key of their own, for this program only.
    #[must_use]
    pub fn new(dir: PathBuf, key: [u8; 32], program: String) -> Self {
        Self { dir, key, program, last: AtomicU64::new(0) }
    }

    /// The newest state that there is a snapshot of. What can't be used is named in a warning and deleted.
    #[must_use]
    pub fn newest(&self) -> Option<State> {
        let mut found = self.files();
        found.sort();
        while let Some(path) = found.pop() {
            match self.read(&path) {
                Ok(state) => {
                    self.last.store(state.seq().0, Ordering::Relaxed);
                    return Some(state);
                }
                Err(why) => {
                    tracing::warn!(path = %path.display(), %why, "a snapshot of the state is not used: the log is folded");
                    let _ = fs::remove_file(&path);
                }
            }
        }
        None
    }

    /// The same, and changes nothing.
    #[must_use]
    pub fn peek(&self) -> Option<State> {
        let mut found = self.files();
        found.sort();
        found.iter().rev().find_map(|path| self.read(path).ok())
    }

    /// Snapshots that were not read back as they were written, by name.
    #[must_use]
    pub fn damaged(&self) -> Vec<String> {
        let damaged =
            |path: &PathBuf| matches!(self.read(path), Err(Unfit::Read(_) | Unfit::Damaged | Unfit::Image(_)));
        let name = |path: PathBuf| format!("snapshot {}", path.file_name().unwrap_or_default().to_string_lossy());
        self.files().into_iter().filter(damaged).map(name).collect()
    }

    /// The seals of the log's segments; none when there are none that were written here.
    #[must_use]
    pub fn seals(&self) -> Vec<Seal> {
        let Ok(bytes) = fs::read(self.dir.join(SEALS)) else { return Vec::new() };
        let said = bytes.split_last_chunk::<MAC_BYTES>();
        let ours = said.filter(|(said, mac)| bool::from(blake3::keyed_hash(&self.key, said).as_bytes().ct_eq(*mac)));
        let seals = ours.and_then(|(said, _)| said.strip_prefix(SEALS_MAGIC.as_bytes()));
        seals.and_then(|seals| serde_json::from_slice(seals).ok()).unwrap_or_else(|| {
            tracing::warn!("the seals of the log's segments are not used: each record is looked at");
            Vec::new()
        })
    }

    /// Seals the segments of the log that another one follows and that have no seal yet, while `go_on` says so. Takes
    /// a part of a second for each.
    ///
    /// # Errors
    /// When a segment is damaged or the disk does not take the seals.
    pub fn seal(&self, log: &Path, go_on: &dyn Fn() -> bool) -> Result<usize, LogError> {
        let known = self.seals();
        let seals = seal::seal(log, known.clone(), go_on)?;
        if seals != known {
            let bytes = [SEALS_MAGIC.as_bytes(), &serde_json::to_vec(&seals).unwrap_or_default()].concat();
            let path = self.dir.join(SEALS);
            let failed = |source| LogError::Io { action: "write", path: path.clone(), source };
            fs::create_dir_all(&self.dir).and_then(|()| self.put(&path, bytes)).map_err(failed)?;
        }
        Ok(seals.len())
    }

    /// Deletes all snapshots and seals: the log says otherwise.
    pub fn discard(&self) {
        self.last.store(0, Ordering::Relaxed);
        let _ = fs::remove_file(self.dir.join(SEALS));
        for path in self.files() {
            let _ = fs::remove_file(path);
        }
    }

    /// Writes a snapshot of a state that is durable in the log, and deletes the older ones.
    ///
    /// # Errors
    /// When the disk does not take it. Nothing depends on it.
    pub fn write(&self, state: &State) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let (path, older) = (self.dir.join(name_of(state.seq(), &state.head())), self.files());
        let mut bytes = self.head_of(state.seq(), &state.head()).into_bytes();
        bytes.extend(state.to_image());
        self.put(&path, bytes)?;
        self.last.store(state.seq().0, Ordering::Relaxed);
        older.iter().filter(|other| **other != path).for_each(|other| drop(fs::remove_file(other)));
        Ok(())
    }

    /// Puts a file in place, with its keyed hash, durably.
    fn put(&self, path: &Path, mut bytes: Vec<u8>) -> io::Result<()> {
        let mac = blake3::keyed_hash(&self.key, &bytes);
        bytes.extend_from_slice(mac.as_bytes());
        let draft = path.with_extension("new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn lacks(&self, state: &State, events: u64) -> bool {
        state.seq().0.saturating_sub(self.last.load(Ordering::Relaxed)) >= events
    }

    /// Writes one when there are at least so many events that the last one lacks.
    fn write_after(&self, state: &State, events: u64) {
        if !self.lacks(state, events) {
            return;
        }
        match self.write(state) {
            Ok(()) => tracing::info!(seq = %state.seq(), "wrote a snapshot of the state"),
            Err(error) => {
                // Not again at every event: the disk may be full.
                self.last.store(state.seq().0, Ordering::Relaxed);
                tracing::warn!(%error, "a snapshot of the state can't be written: the next start takes longer");
            }
        }
    }

    /// Writes the last one, at an orderly end.
    pub fn close(&self, state: &State) {
        self.write_after(state, AT_END_EVENTS);
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.extension().is_some_and(|end| end == SUFFIX || end == "new")).collect()
    }

    fn head_of(&self, seq: Seq, hash: &Digest) -> String {
        format!("{MAGIC}\n{seq} {hash}\n{}\n", self.program)
    }

    fn read(&self, path: &Path) -> Result<State, Unfit> {
        let bytes = fs::read(path)?;
        let (said, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(Unfit::Damaged)?;
        if !bool::from(blake3::keyed_hash(&self.key, said).as_bytes().ct_eq(mac)) {
            return Err(Unfit::Damaged);
        }
        // Nobody but this code wrote what follows.
        let mut lines = said.splitn(4, |byte| *byte == b'\n');
        let (Some(_), Some(_), Some(program), Some(image)) = (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(Unfit::Damaged);
        };
        if program != self.program.as_bytes() {
            return Err(Unfit::OtherProgram);
        }
        let state = State::of_image(image)?;
        let head = self.head_of(state.seq(), &state.head());
        let named = path.file_name().is_some_and(|name| *name == *name_of(state.seq(), &state.head()));
        if named && said.starts_with(head.as_bytes()) { Ok(state) } else { Err(Unfit::Damaged) }
    }
}

fn name_of(seq: Seq, hash: &Digest) -> String {
    format!("{:020}-{}.{SUFFIX}", seq.0, &hash.to_string()[..16])
}

/// Which program this is: its version, and which build of it. Another build may fold otherwise.
#[must_use]
pub fn this_program() -> String {
    let file = std::env::current_exe().and_then(fs::metadata);
    let build = file.map(|file| format!("{:x}.{:x}.{:x}", file.len(), file.mtime(), file.mtime_nsec()));
    format!("{} {}", env!("CARGO_PKG_VERSION"), build.unwrap_or_default())
}

/// Writes a snapshot now and then, and the seals of what was finished by then, until stopped.
pub(super) async fn keep(snapshots: Arc<Snapshots>, log: PathBuf, published: Published, stop: CancellationToken) {
    let mut states = published.follow();
    let mut first = true;
    loop {
        let state = states.borrow_and_update().clone();
        if std::mem::take(&mut first) || snapshots.lacks(&state, EVERY_EVENTS) {
            let (snapshots, log, stop) = (snapshots.clone(), log.clone(), stop.clone());
            let write = move || {
                snapshots.write_after(&state, EVERY_EVENTS);
                if let Err(error) = snapshots.seal(&log, &|| !stop.is_cancelled()) {
                    tracing::error!(%error, "a finished segment of the log can't be sealed");
                }
            };
            if tokio::task::spawn_blocking(write).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}
