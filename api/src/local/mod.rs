//! The way in for somebody at the machine: a Unix socket and a key file in the data folder, and what is said over it.
//!
//! Both lie in a folder of mode 0700 and have mode 0600: only the owner of the data folder gets to either. Whoever has
//! both can read the log and the sealed values' key anyway; here what they do is decided by the writer and recorded.
mod client;
mod key;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use mcpctl_core::ids::Seq;
use serde::{Deserialize, Serialize};

pub(crate) use client::is_trusted;
pub use client::{LocalError, recover_administrator};
pub use key::{Key, KeyError};

/// Most bytes of a question or an answer.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 10;
/// Longest address of a socket that every system takes, in bytes.
const SOCKET_PATH_MAX: usize = 100;

/// The folder of socket and key in a data folder.
#[must_use]
pub fn folder(data: &Path) -> PathBuf {
    data.join("local")
}

/// A question: one line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Recover {
    /// What stands in the key file, in hexadecimal.
    pub key: String,
    /// E-mail address of the person who is to administer; the administrator of the first start when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// An answer: one line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answered {
    /// It is done.
    Recovered(Recovered),
    /// It is not.
    Refused {
        /// Why.
        detail: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// What local recovery did. Shown once.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovered {
    /// E-mail address of the administrator.
    pub user: String,
    /// Their new password.
    pub password: String,
    /// Whether rights were given, because they did not hold them any more.
    pub bound: bool,
    /// Seq of the last event.
    pub seq: Seq,
}

/// The socket of a data folder by an address that is short enough, and what must stay open while it is used.
pub(crate) fn socket(folder: &Path) -> (PathBuf, Option<File>) {
    let plain = folder.join("control.sock");
    if plain.as_os_str().len() <= SOCKET_PATH_MAX {
        return (plain, None);
    }
    // The address of a socket is short by definition of the system; the folder's descriptor stands in for its path.
    match File::open(folder) {
        Ok(open) => (PathBuf::from(format!("/proc/self/fd/{}/control.sock", open.as_raw_fd())), Some(open)),
        Err(_) => (plain, None),
    }
}
