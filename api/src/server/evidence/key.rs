//! The signing key of the log: made at the first start, in a file that only its owner reads.
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mcpctl_tlog::{CheckpointError, LogSigner};
use zeroize::Zeroizing;

use super::LogName;
use crate::server::clock;

/// A key that is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read or written.
    #[error("can't use the key of the log in {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("the key of the log in {path} can be read by others (mode {mode:o}): run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no key.
    #[error("the key of the log in {path} is damaged: restore it from a copy; another key makes it another log")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The origin that was asked for can't be one.
    #[error(transparent)]
    Origin(#[from] CheckpointError),
    /// The log has another origin.
    #[error(
        "the log is {found}, and {asked} was asked for: a log keeps its origin for ever. Leave MCPD_LOG_ORIGIN out"
    )]
    OtherOrigin {
        /// Its origin.
        found: String,
        /// Origin that was asked for.
        asked: String,
    },
}

/// Opens the key of a data folder, or makes one.
pub(super) fn open(data: &Path, log: LogName, origin: Option<&str>) -> Result<LogSigner, KeyError> {
    let path = data.join(log.key_file());
    let io = |source| KeyError::Io { path: path.clone(), source };
    let text = match fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => make(&path, origin)?,
        Err(error) if error.kind() == ErrorKind::InvalidData => return Err(KeyError::Damaged { path }),
        Err(error) => return Err(io(error)),
    };
    let mode = fs::metadata(&path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path, mode });
    }
    let signer = LogSigner::read(&text).map_err(|_| KeyError::Damaged { path })?;
    match origin.filter(|asked| *asked != signer.key().origin()) {
        Some(asked) => {
            let (found, asked) = (signer.key().origin().to_owned(), asked.to_owned());
            Err(KeyError::OtherOrigin { found, asked })
        }
        None => Ok(signer),
    }
}

fn make(path: &Path, origin: Option<&str>) -> Result<Zeroizing<String>, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let drawn = format!("mcpctl.log/{:016x}/config", u64::from_be_bytes(clock::random()));
    let secret = Zeroizing::new(clock::random::<32>());
    let text = Zeroizing::new(LogSigner::generate(origin.unwrap_or(&drawn), &secret)?);
    let draft = path.with_extension("key.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(io)?;
    writeln!(file, "{}", *text).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&draft, path).map_err(io)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(text)
}
