//! How far an export has come, in a file: written when what was delivered is safe, and before anything more is fetched.
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use mcpctl_core::ids::Seq;
use serde::{Deserialize, Serialize};

use crate::failure::{Done, Failure, file};

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// The control plane.
    api: String,
    /// The filters, as they were at the first time: others would leave a hole.
    filters: Vec<(String, String)>,
    /// Position of the next entry.
    next: Seq,
}

/// A cursor. Its file is locked as long as it lives, so that two exports do not overtake each other.
pub struct Cursor {
    path: PathBuf,
    place: Place,
    known: bool,
    _lock: File,
}

impl Cursor {
    /// Opens a cursor, or begins one.
    ///
    /// # Errors
    /// When another export uses it, it is of another control plane or of other filters, or can't be read.
    pub fn open(path: &Path, api: &str, filters: &[(&'static str, String)]) -> Done<Self> {
        let lock = lock(path)?;
        let filters: Vec<(String, String)> =
            filters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let (place, known) = match std::fs::read(path) {
            Ok(bytes) => {
                let place = serde_json::from_slice::<Place>(&bytes);
                (place.map_err(|error| damaged(path, &error.to_string()))?, true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (Place { api: api.to_owned(), filters: filters.clone(), next: Seq(1) }, false)
            }
            Err(error) => return Err(file("can't read the cursor", path, &error)),
        };
        if place.api != api || place.filters != filters {
            return Err(Failure::new(format!(
                "the cursor {} is of another export: of {}, {}",
                path.display(),
                place.api,
                told(&place.filters)
            ))
            .hint("use a cursor file of its own for each control plane and each set of filters"));
        }
        Ok(Self { path: path.to_owned(), place, known, _lock: lock })
    }

    /// The next position, when an export wrote one before.
    pub fn next(&self) -> Option<Seq> {
        self.known.then_some(self.place.next)
    }

    /// Takes down, durably, that everything before `next` was delivered.
    ///
    /// # Errors
    /// When the file can't be written: then nothing more may be delivered.
    pub fn write(&mut self, next: Seq) -> Done {
        if self.known && next == self.place.next {
            return Ok(());
        }
        self.place.next = next;
        let draft = self.path.with_extension("new");
        let bytes = serde_json::to_vec(&self.place).map_err(|error| Failure::new(error.to_string()))?;
        let written = File::create(&draft).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written
            .and_then(|()| std::fs::rename(&draft, &self.path))
            .and_then(|()| File::open(folder(&self.path))?.sync_all())
            .map_err(|error| file("can't write the cursor", &self.path, &error))?;
        self.known = true;
        Ok(())
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn lock(path: &Path) -> Done<File> {
    let beside = path.with_extension("lock");
    let file_of = OpenOptions::new().create(true).truncate(false).write(true).open(&beside);
    let lock = file_of.map_err(|error| file("can't lock the cursor with", &beside, &error))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::new(format!("another export uses the cursor {}", path.display()))
            .hint("end it first, or use a cursor file of its own")
    })?;
    Ok(lock)
}

fn damaged(path: &Path, why: &str) -> Failure {
    Failure::new(format!("the cursor {} can't be read: {why}", path.display()))
        .hint("write it from a copy, or remove it to deliver everything again: entries keep their ids")
}

fn told(filters: &[(String, String)]) -> String {
    match filters {
        [] => "without filters".to_owned(),
        all => all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_on_where_it_was_and_belongs_to_one_export() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("siem.cursor");
        let filters = [("project", "web".to_owned())];
        let mut cursor = Cursor::open(&path, "http://a", &filters).unwrap();
        assert_eq!(cursor.next(), None);
        cursor.write(Seq(42)).unwrap();
        assert!(Cursor::open(&path, "http://a", &filters).is_err(), "it is in use");
        drop(cursor);
        assert_eq!(Cursor::open(&path, "http://a", &filters).unwrap().next(), Some(Seq(42)));
        assert!(Cursor::open(&path, "http://b", &filters).is_err());
        assert!(Cursor::open(&path, "http://a", &[]).is_err());
        std::fs::write(&path, "{").unwrap();
        assert!(Cursor::open(&path, "http://a", &filters).is_err());
    }
}
