//! The data folder: for its owner only, and of a format that this program knows.
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Format of the folder as a whole: which files are in it, and what they are.
pub const FOLDER_FORMAT: u32 = 1;

/// Why a folder can't be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It can't be made, read or written.
    #[error("can't use the data folder {path}: choose another with --data-dir, or make it writable")]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A later program wrote it.
    #[error("the data folder {path} has format {found}, and this program knows {FOLDER_FORMAT}: use the newer mcpctl")]
    Newer {
        /// The folder.
        path: PathBuf,
        /// What stands in its file `format`.
        found: String,
    },
}

/// Checks the format of a folder, and changes nothing.
///
/// # Errors
/// See [`FolderError`].
pub fn check(folder: &Path) -> Result<(), FolderError> {
    match fs::read_to_string(folder.join("format")) {
        Ok(text) if text.trim() == FOLDER_FORMAT.to_string() => Ok(()),
        Ok(text) => {
            let found = text.trim().chars().take(20).collect();
            Err(FolderError::Newer { path: folder.to_owned(), found })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FolderError::Unusable { path: folder.to_owned(), source }),
    }
}

/// Makes the folder when there is none, and checks the format of one that is there. Changes nothing in one that it refuses.
///
/// # Errors
/// See [`FolderError`].
pub fn prepare(folder: &Path) -> Result<(), FolderError> {
    let unusable = |source| FolderError::Unusable { path: folder.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    check(folder)?;
    let format = folder.join("format");
    if format.exists() {
        return Ok(());
    }
    // A torn write leaves an empty file behind, so it is written beside and moved into place.
    let temporary = folder.join("format.tmp");
    fs::write(&temporary, format!("{FOLDER_FORMAT}\n")).map_err(unusable)?;
    fs::rename(&temporary, &format).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_later_format_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path()).unwrap();
        prepare(folder.path()).unwrap();
        fs::write(folder.path().join("format"), "2\n").unwrap();
        let Err(FolderError::Newer { found, .. }) = prepare(folder.path()) else { panic!("accepted") };
        assert_eq!(found, "2");
        assert_eq!(fs::read_to_string(folder.path().join("format")).unwrap(), "2\n");
    }
}
