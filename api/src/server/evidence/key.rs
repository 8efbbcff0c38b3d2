//! The signing key of the log: made at the first start, in a file that only its owner reads.
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mcpctl_core::log::disk::{Disk, RealDisk, put_whole};
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
    open_on(data, log, origin, &RealDisk)
}

/// The same on a disk that may fail, in tests.
pub(super) fn open_on(data: &Path, log: LogName, origin: Option<&str>, disk: &dyn Disk) -> Result<LogSigner, KeyError> {
    let path = data.join(log.key_file());
    let io = |source| KeyError::Io { path: path.clone(), source };
    let text = match fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => make(&path, origin, disk)?,
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

fn make(path: &Path, origin: Option<&str>, disk: &dyn Disk) -> Result<Zeroizing<String>, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let drawn = format!("mcpctl.log/{:016x}/config", u64::from_be_bytes(clock::random()));
    let secret = Zeroizing::new(clock::random::<32>());
    let text = Zeroizing::new(LogSigner::generate(origin.unwrap_or(&drawn), &secret)?);
    let line = Zeroizing::new(format!("{}\n", *text));
    put_whole(disk, path, &path.with_extension("key.new"), line.as_bytes()).map_err(io)?;
    Ok(text)
}
