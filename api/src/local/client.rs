//! Asks the control plane of a data folder on this machine, over its socket.
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{Answered, Key, KeyError, LINE_BYTES_MAX, Recover, Recovered, folder, socket};

/// How long an answer may take: a password is hashed, and events are made durable.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Why local recovery did not come about. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The key file can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nobody answers.
    #[error("no control plane runs on the data folder {data}: start `mcpctl up` or `mcpd serve` on it first")]
    NobodyThere {
        /// The data folder.
        data: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The socket failed, or belongs to somebody else.
    #[error("the control plane of {data} can't be asked: {why}")]
    Failed {
        /// The data folder.
        data: PathBuf,
        /// What happened.
        why: String,
    },
    /// It answered no.
    #[error("{detail}")]
    Refused {
        /// Why.
        detail: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// Makes somebody an administrator with a new password.
///
/// # Errors
/// See [`LocalError`].
pub async fn recover_administrator(data: &Path, user: Option<String>) -> Result<Recovered, LocalError> {
    let failed = |why: String| LocalError::Failed { data: data.to_owned(), why };
    let asked = tokio::time::timeout(ANSWER_WAIT, ask(data, user)).await;
    match asked.map_err(|_| failed("it did not answer in time".to_owned()))?? {
        Answered::Recovered(recovered) => Ok(recovered),
        Answered::Refused { detail, hint } => Err(LocalError::Refused { detail, hint }),
    }
}

async fn ask(data: &Path, user: Option<String>) -> Result<Answered, LocalError> {
    let failed = |why: String| LocalError::Failed { data: data.to_owned(), why };
    let folder = folder(data);
    let (address, _open) = socket(&folder);
    let connected = UnixStream::connect(&address).await;
    let mut stream = connected.map_err(|source| match source.kind() {
        ErrorKind::PermissionDenied => {
            failed("its socket belongs to somebody else: run this as the owner of the folder".to_owned())
        }
        _ => LocalError::NobodyThere { data: data.to_owned(), source },
    })?;
    // The key is shown to nobody but the owner of the folder, or root.
    let peer = stream.peer_cred().map_err(|error| failed(error.to_string()))?;
    if !is_trusted(peer.uid()) {
        return Err(failed(format!("its socket is answered by user id {}", peer.uid())));
    }
    let key = Key::read(&folder)?;
    let mut line = zeroize::Zeroizing::new(
        serde_json::to_vec(&Recover { key: key.hex().to_string(), user }).map_err(|error| failed(error.to_string()))?,
    );
    line.push(b'\n');
    stream.write_all(&line).await.map_err(|error| failed(error.to_string()))?;
    let mut answer = zeroize::Zeroizing::new(Vec::new());
    let read = stream.take(LINE_BYTES_MAX as u64).read_to_end(&mut answer).await;
    read.map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&answer).map_err(|error| failed(format!("its answer can't be read: {error}")))
}

/// This process's own user, or root.
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
