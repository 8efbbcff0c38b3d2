//! What this gateway remembers of the control plane's log: the last place that it saw. A log that ends before it, or has
//! something else there, is another log than the one that was served by; it is refused until a person has decided.
//!
//! Today a place is known by the hash of its record, which names the one before it. A signed checkpoint with a proof of
//! consistency says more, and can take its place without a change of the rest.
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use mcpctl_core::ids::Seq;
use parking_lot::Mutex;

use crate::client::Address;
use crate::client::stream_wire::Anchor;
use crate::lease::Boottime;

/// How often the place is written down.
const WRITE_EVERY_MS: u128 = 1_000;

/// The memory of one control plane.
pub(super) struct LogMemory {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    saw: Option<Anchor>,
    /// The log was looked at since the last connection was lost.
    confirmed: bool,
    refused: Option<String>,
    written: Boottime,
}

/// The log is not the one that was seen before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct OtherLog(String);

impl LogMemory {
    /// Reads what is remembered in a folder; without one it is remembered as long as the process lives.
    ///
    /// # Errors
    /// When the folder can't be made, or what is in it can't be read: it must not be taken for nothing.
    pub(super) fn open(folder: Option<&Path>, address: &Address) -> std::io::Result<Self> {
        let Some(folder) = folder else { return Ok(Self { file: None, state: Mutex::default() }) };
        fs::create_dir_all(folder)?;
        let name: String =
            address.to_string().chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let file = folder.join(format!("log-of-{name}.json"));
        let saw = match fs::read(&file) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(std::io::Error::other)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { file: Some(file), state: Mutex::new(State { saw, ..State::default() }) })
    }

    /// The last place that was seen.
    pub(super) fn saw(&self) -> Option<Anchor> {
        self.state.lock().saw
    }

    /// The place to ask about with an introspection: nothing when the log was looked at since the connection was made.
    pub(super) fn unconfirmed(&self) -> Option<Anchor> {
        let state = self.state.lock();
        state.saw.filter(|_| !state.confirmed)
    }

    /// The connection is lost: another log may answer next.
    pub(super) fn lost(&self) {
        self.state.lock().confirmed = false;
    }

    /// Compares what the control plane has at a place with what was seen there.
    ///
    /// # Errors
    /// When it is another log.
    pub(super) fn check(&self, asked: Option<Anchor>, found: Option<Anchor>) -> Result<(), OtherLog> {
        let Some(asked) = asked else { return Ok(()) };
        let mut state = self.state.lock();
        let what = match found {
            Some(found) if found == asked => {
                (state.confirmed, state.refused) = (true, None);
                return Ok(());
            }
            Some(found) if found.seq == asked.seq => "has another record there: it was forked",
            Some(_) | None => "ends before it: it was cut off, or set back to an older copy",
        };
        let at = self.file.as_ref().map_or_else(
            || "restart this gateway".to_owned(),
            |file| format!("remove {} and restart this gateway", file.display()),
        );
        let Seq(seq) = asked.seq;
        let why = format!(
            "its log is not the one that this gateway served by: it was at seq {seq}, and the log {what}. Nothing is served. If that was done on purpose, {at}"
        );
        if state.refused.as_ref() != Some(&why) {
            tracing::error!(%why, "the control plane is refused");
            state.refused = Some(why.clone());
        }
        Err(OtherLog(why))
    }

    /// The log has come to a place.
    pub(super) fn see(&self, anchor: Anchor) {
        let now = Boottime::now();
        let mut state = self.state.lock();
        if state.saw.is_some_and(|saw| saw.seq >= anchor.seq) || state.refused.is_some() {
            return;
        }
        state.saw = Some(anchor);
        state.confirmed = true;
        if now.since(state.written).as_millis() >= WRITE_EVERY_MS {
            state.written = now;
            self.write(anchor);
        }
    }

    /// Writes the place down, for an orderly end.
    pub(super) fn keep(&self) {
        if let Some(saw) = self.saw() {
            self.write(saw);
        }
    }

    fn write(&self, anchor: Anchor) {
        let Some(file) = &self.file else { return };
        let written = || {
            let new = file.with_extension("new");
            let mut open = fs::File::create(&new)?;
            open.write_all(&serde_json::to_vec(&anchor).map_err(std::io::Error::other)?)?;
            open.sync_data()?;
            fs::rename(&new, file)
        };
        if let Err(error) = written() {
            tracing::warn!(%error, file = %file.display(), "the place in the log can't be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use mcpctl_core::ids::Digest;

    use super::*;

    fn anchor(seq: u64, what: &[u8]) -> Anchor {
        Anchor { seq: Seq(seq), hash: Digest::sha256(what) }
    }

    #[test]
    fn a_shorter_and_a_forked_log_are_refused_and_the_same_is_not_even_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let address: Address = "http://127.0.0.1:3100".parse().unwrap();
        let memory = LogMemory::open(Some(folder.path()), &address).unwrap();
        assert_eq!(memory.unconfirmed(), None);
        memory.see(anchor(7, b"a"));
        memory.see(anchor(5, b"old"));
        memory.keep();
        let again = LogMemory::open(Some(folder.path()), &address).unwrap();
        assert_eq!(again.unconfirmed(), Some(anchor(7, b"a")));
        again.check(again.saw(), Some(anchor(7, b"a"))).unwrap();
        assert_eq!(again.unconfirmed(), None);
        again.lost();
        for (found, what) in [(Some(anchor(7, b"b")), "forked"), (Some(anchor(6, b"a")), "cut off"), (None, "cut off")]
        {
            let refused = again.check(again.saw(), found).unwrap_err();
            assert!(refused.to_string().contains(what), "{refused}");
            assert!(refused.to_string().contains("remove "), "{refused}");
        }
        let elsewhere = LogMemory::open(Some(folder.path()), &"http://127.0.0.1:3101".parse().unwrap()).unwrap();
        assert_eq!(elsewhere.saw(), None, "each control plane has a log of its own");
    }

    #[test]
    fn what_can_not_be_read_is_not_taken_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let address: Address = "http://127.0.0.1:3100".parse().unwrap();
        LogMemory::open(Some(folder.path()), &address).unwrap().see(anchor(7, b"a"));
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        fs::write(&file, "{").unwrap();
        assert!(LogMemory::open(Some(folder.path()), &address).is_err());
    }
}
