//! Local recovery: whoever owns the data folder makes an administrator, over a Unix socket and with the key file.
//!
//! It takes three things: the socket (0600 in a folder of 0700), a peer that the system says is the same user or root,
//! and the key. What it does is decided and appended by the writer like everything else, with `authz.mode = local`.
mod administrator;
mod conversation;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::clock;
use crate::local::{Key, KeyError, folder, socket};

/// Wait after a connection could not be accepted, such as for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Why there is no way in for somebody at the machine.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The key file can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Folder or socket can't be made.
    #[error("can't make {path} for local recovery: choose a data folder on a local disk with --data-dir")]
    Io {
        /// Folder or socket.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// The open socket, and the key that opens what is behind it.
pub(super) struct Recovery {
    listener: UnixListener,
    key: Key,
}

impl Recovery {
    /// Opens the socket of a data folder that this process has locked: one that is left there is nobody's.
    ///
    /// # Errors
    /// See [`RecoveryError`].
    pub(super) fn open(data: &Path) -> Result<Self, RecoveryError> {
        let folder = folder(data);
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| RecoveryError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(fail(&folder))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(fail(&folder))?;
        let key = Key::open(&folder, clock::random)?;
        let (address, _open) = socket(&folder);
        let _ = fs::remove_file(&address);
        let listener = UnixListener::bind(&address).map_err(fail(&address))?;
        fs::set_permissions(&address, fs::Permissions::from_mode(0o600)).map_err(fail(&address))?;
        Ok(Self { listener, key })
    }

    /// Answers one after the other until stopped: it is somebody at the machine who asks.
    pub(super) async fn serve(self, app: Arc<App>, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => conversation::hold(stream, &self.key, &app).await,
                Err(error) => {
                    tracing::warn!(%error, "a local connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}
