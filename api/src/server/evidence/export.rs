//! A whole log as files for strangers: C2SP tlog-tiles, which a plain file server can serve.
use std::fs;
use std::path::Path;

use mcpctl_core::ids::Seq;
use mcpctl_core::log::durable;
use mcpctl_tlog::{Resource, TILE_WIDTH, Tree};

use super::folder::Folder;
use super::offline::{Look, OfflineError, each_audit_record, each_state_root, log_folder, signer};
use super::source::Leaf;
use super::{EvidenceError, LogName};
use mcpctl_tlog::Leaves as _;

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// The log's origin.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// The public key.
    pub key: String,
    /// How many files.
    pub files: u64,
}

/// Writes a whole log, as C2SP tlog-tiles, into a folder: checkpoint, key, tiles of hashes, entries. A plain file server can
/// serve it, and whoever has it can verify it offline. Of audit entries it holds the headers; bundles with entries that were
/// dropped are left out.
///
/// # Errors
/// When the log is damaged or altered, or the folder can't be written.
pub fn export(data: &Path, log: LogName, to: &Path) -> Result<Exported, OfflineError> {
    let mut look = Look::at(data, log)?;
    let mut out = Export { to, bundle: Vec::new(), whole: true, files: 0, failed: None };
    match log {
        LogName::Config => {
            let dir = log_folder(data, log)?;
            durable::verify(&dir, Seq(u64::MAX), &mut |checked| {
                out.take(&mut look, Leaf::Bytes(checked.bytes));
                Ok(())
            })?;
        }
        LogName::Audit => each_audit_record(data, &mut |position, record| {
            if look.tree.size() + 1 < position {
                out.dropped(&mut look, position)?;
            }
            out.take(&mut look, record.into());
            Ok(())
        })?,
        LogName::State => {
            each_state_root(data, &mut |root| out.take(&mut look, Leaf::Bytes(root.to_text().as_bytes())))?;
        }
    }
    out.edge(&look.tree);
    let (tree, signer) = (look.tree.clone(), signer(data, log)?);
    look.end()?;
    let note = signer.sign(tree.size(), tree.root()).map_err(EvidenceError::from)?;
    out.write("log.vkey", format!("{}\n", signer.key().as_str()).as_bytes());
    out.write("checkpoint", &note);
    match out.failed {
        Some(failed) => Err(failed),
        None => Ok(Exported {
            origin: signer.key().origin().to_owned(),
            size: tree.size(),
            key: signer.key().as_str().to_owned(),
            files: out.files,
        }),
    }
}

struct Export<'a> {
    to: &'a Path,
    bundle: Vec<u8>,
    /// Whether the bundle that is being filled has all its entries.
    whole: bool,
    files: u64,
    failed: Option<OfflineError>,
}

impl Export<'_> {
    fn take(&mut self, look: &mut Look, leaf: Leaf<'_>) {
        match leaf {
            Leaf::Bytes(entry) => self.whole &= mcpctl_tlog::bundle::push(&mut self.bundle, entry),
            Leaf::Hash(_) => self.whole = false,
        }
        if let Some((n, tile)) = look.push(leaf.hash()) {
            self.full(&look.tree, n, &tile);
        }
    }

    /// Tiles of entries that were dropped are written as they were kept.
    fn dropped(&mut self, look: &mut Look, first: u64) -> Result<(), EvidenceError> {
        let before = look.tree.size() / TILE_WIDTH;
        look.take_dropped(first)?;
        for n in before..look.tree.size() / TILE_WIDTH {
            let tile = look.folder.full(n).map_err(|_| EvidenceError::LostTile { n })?;
            self.whole = false;
            self.full(&look.tree, n, &tile);
        }
        self.whole = look.tree.size().is_multiple_of(TILE_WIDTH);
        Ok(())
    }

    fn full(&mut self, tree: &Tree, n: u64, tile: &[u8]) {
        let (bundle, whole) = (std::mem::take(&mut self.bundle), std::mem::replace(&mut self.whole, true));
        if whole {
            self.write(&Resource::Entries { n, width: TILE_WIDTH }.to_string(), &bundle);
        }
        self.write(&Resource::Tile { level: 0, n, width: TILE_WIDTH }.to_string(), tile);
        let (mut level, mut count) = (1, n + 1);
        while count.is_multiple_of(TILE_WIDTH) {
            self.upper(tree, level, count / TILE_WIDTH - 1, TILE_WIDTH);
            (level, count) = (level + 1, count / TILE_WIDTH);
        }
    }

    fn edge(&mut self, tree: &Tree) {
        let (n, width) = (tree.size() / TILE_WIDTH, tree.size() % TILE_WIDTH);
        if width > 0 && self.whole {
            let bundle = std::mem::take(&mut self.bundle);
            self.write(&Resource::Entries { n, width }.to_string(), &bundle);
        }
        let mut at_level = tree.size();
        for level in 0..8 {
            if !at_level.is_multiple_of(TILE_WIDTH) {
                self.upper(tree, level, at_level / TILE_WIDTH, at_level % TILE_WIDTH);
            }
            at_level /= TILE_WIDTH;
        }
    }

    fn upper(&mut self, tree: &Tree, level: u8, n: u64, width: u64) {
        if let Ok(Some(tile)) = tree.tile(level, n, width, &Folder::exported(self.to)) {
            self.write(&Resource::Tile { level, n, width }.to_string(), &tile);
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) {
        let path = self.to.join(name);
        let folder = path.parent().unwrap_or(self.to);
        if let Err(source) = fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes)) {
            self.failed.get_or_insert(OfflineError::Write { path, source });
        }
        self.files += 1;
    }
}
