//! Definitions of tools in full, one file each: what stands behind the hashes in the log.
//!
//! The log has hashes and what changed; the texts lie beside it, so that it stays small whatever servers write. A text is
//! believed only when it has the hash that it is asked by, so a lost or altered file is a definition that is not kept.
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mcpctl_core::definition;
use mcpctl_core::ids::{Digest, Uid};
use parking_lot::Mutex;

/// Longest definition that is kept, in bytes of its canonical form.
const DEFINITION_BYTES_MAX: usize = 256 << 10;
/// What is kept of one server, in bytes. The oldest give way: to its own, never to another server's.
const SERVER_BYTES_MAX: u64 = 16 << 20;
/// Definitions that are kept of one server.
const SERVER_FILES_MAX: usize = 8_192;

/// What is kept of one server.
#[derive(Clone, Copy, Default)]
struct Held {
    files: usize,
    bytes: u64,
}

/// The folder of definitions.
pub struct KeptDefinitions {
    folder: PathBuf,
    held: Mutex<HashMap<Uid, Held>>,
}

impl KeptDefinitions {
    /// Opens the folder, and makes it when there is none.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), held: Mutex::default() })
    }

    fn of_server(&self, server: Uid) -> PathBuf {
        self.folder.join(server.to_string())
    }

    /// Keeps a definition, in canonical form. One that is kept already, or is too long, is left alone.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep(&self, server: Uid, hash: Digest, canonical: &str) -> io::Result<()> {
        let folder = self.of_server(server);
        let path = folder.join(hash.to_string());
        if canonical.len() > DEFINITION_BYTES_MAX || path.exists() {
            return Ok(());
        }
        let mut held = self.held.lock();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let known = match held.get(&server) {
            Some(known) => *known,
            None => measured(&folder)?,
        };
        let bytes = canonical.len() as u64;
        let full = known.files >= SERVER_FILES_MAX || known.bytes + bytes > SERVER_BYTES_MAX;
        let known = if full { make_room(&folder)? } else { known };
        let temporary = folder.join("new.tmp");
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        io::Write::write_all(&mut file, canonical.as_bytes())?;
        fs::rename(&temporary, &path)?;
        held.insert(server, Held { files: known.files + 1, bytes: known.bytes + bytes });
        Ok(())
    }

    /// A definition that is kept, in canonical form.
    #[must_use]
    pub fn read(&self, server: Uid, hash: Digest) -> Option<String> {
        let text = fs::read_to_string(self.of_server(server).join(hash.to_string())).ok()?;
        (definition::hash_of_canonical(server, &text) == hash).then_some(text)
    }
}

fn files(folder: &Path) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_file() {
            all.push((about.modified()?, about.len(), entry.path()));
        }
    }
    Ok(all)
}

fn measured(folder: &Path) -> io::Result<Held> {
    let all = files(folder)?;
    Ok(Held { files: all.len(), bytes: all.iter().map(|(_, bytes, _)| bytes).sum() })
}

/// Takes the older half away.
fn make_room(folder: &Path) -> io::Result<Held> {
    let mut all = files(folder)?;
    all.sort();
    let old: Vec<_> = all.drain(..all.len().div_ceil(2)).collect();
    for (_, _, path) in old {
        fs::remove_file(path)?;
    }
    Ok(Held { files: all.len(), bytes: all.iter().map(|(_, bytes, _)| bytes).sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> (tempfile::TempDir, KeptDefinitions) {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptDefinitions::open(&folder.path().join("definitions")).unwrap();
        (folder, kept)
    }

    #[test]
    fn a_text_that_was_altered_is_not_believed() {
        let (_folder, kept) = kept();
        let (server, text) = (Uid::fixed(1), r#"{"name":"a"}"#);
        let hash = definition::hash_of_canonical(server, text);
        kept.keep(server, hash, text).unwrap();
        assert_eq!(kept.read(server, hash).as_deref(), Some(text));
        assert_eq!(kept.read(Uid::fixed(2), hash), None);
        fs::write(kept.of_server(server).join(hash.to_string()), r#"{"name":"b"}"#).unwrap();
        assert_eq!(kept.read(server, hash), None);
    }

    #[test]
    fn a_server_that_writes_much_loses_its_own_texts_only() {
        let (_folder, kept) = kept();
        let (quiet, loud) = (Uid::fixed(1), Uid::fixed(2));
        let put = |server: Uid, text: &str| {
            let hash = definition::hash_of_canonical(server, text);
            kept.keep(server, hash, text).unwrap();
            hash
        };
        let first = put(quiet, r#"{"name":"a"}"#);
        let long = |n: usize| format!("{{\"name\":\"{n}{}\"}}", "x".repeat(DEFINITION_BYTES_MAX - 30));
        let mut last = Digest::default();
        (0..150).for_each(|n| last = put(loud, &long(n)));
        assert!(measured(&kept.of_server(loud)).unwrap().bytes <= SERVER_BYTES_MAX);
        assert!(kept.read(loud, last).is_some() && kept.read(quiet, first).is_some());
        let too_long = format!("{}{}", long(0), "x".repeat(100));
        assert!(kept.read(loud, put(loud, &too_long)).is_none());
    }
}
