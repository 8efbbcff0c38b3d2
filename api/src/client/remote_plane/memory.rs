//! What this gateway remembers of the control plane's log: the last place that it saw, and the last checkpoint that the log
//! signed. A log that ends before it, has something else there, does not go on from that checkpoint, or signs with another
//! key, is another log than the one that was served by: it is refused, over restarts too, until a person has decided.
//!
//! The place is known at once and covers the last moments; the checkpoint is signed, so that nobody can say later that it was
//! not shown. What was told must stand in a checkpoint within a minute.
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcpctl_core::ids::Seq;
use mcpctl_tlog::seen::{Distrust, Seen, Shown, judge};
use mcpctl_tlog::{Checkpoint, Hash, LogKey};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::client::Address;
use crate::client::stream_wire::{Anchor, ShownLog};
use crate::lease::Boottime;

/// How often the place is written down.
const WRITE_EVERY_MS: u128 = 1_000;
/// How often a log that grew is looked at; one of which no checkpoint was seen yet more often.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_FIRST_EVERY: Duration = Duration::from_secs(1);
/// What the control plane told must stand in a checkpoint after this time, once it has shown any.
const SIGNED_WITHIN: Duration = Duration::from_secs(60);
/// Shortest time between two lines that say that the control plane is refused.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// What those lines begin with.
const REFUSED: &str = "THE CONTROL PLANE IS REFUSED, until a person decides";

/// The memory of one control plane.
pub(super) struct LogMemory {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

/// What is written down.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    saw: Option<Anchor>,
    /// Public key of the log, believed at first sight and for ever after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The last checkpoint that it signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    /// Why nothing that it says is believed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Default)]
struct State {
    kept: Kept,
    /// Size of the checkpoint that is kept.
    size: u64,
    /// The log was looked at since the last connection was lost.
    confirmed: bool,
    /// The first place that was told and stands in no checkpoint yet, and since when.
    unsigned: Option<(Seq, Boottime)>,
    looked: Boottime,
    written: Boottime,
    /// When it was last said that the control plane is refused.
    reminded: Option<Boottime>,
}

/// The log is not the one that was seen before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct OtherLog(String);

/// What is to be asked about the log with an introspection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ToAsk {
    /// What is there?
    pub(super) saw: Option<Anchor>,
    /// Does it go on from the checkpoint of this size?
    pub(super) size: Option<u64>,
}

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
        let kept: Kept = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error),
        };
        let size = kept.size()?;
        let this = Self { file: Some(file), state: Mutex::new(State { kept, size, ..State::default() }) };
        this.remind();
        Ok(this)
    }

    /// Says that the control plane is refused, when it is, and not more often than is of use.
    pub(super) fn remind(&self) {
        let mut state = self.state.lock();
        let now = Boottime::now();
        let Some(why) = state.kept.refused.clone() else { return };
        if state.reminded.is_none_or(|last| now.since(last) >= REMIND_EVERY) {
            state.reminded = Some(now);
            tracing::error!(%why, "{REFUSED}");
        }
    }

    /// Why nobody is served by what this control plane says, when that is so.
    pub(super) fn refused(&self) -> Option<OtherLog> {
        self.state.lock().kept.refused.clone().map(OtherLog)
    }

    /// The last place that was seen.
    pub(super) fn saw(&self) -> Option<Anchor> {
        self.state.lock().kept.saw
    }

    /// Size of the last checkpoint that was seen; 0 when there was none.
    pub(super) fn size(&self) -> u64 {
        self.state.lock().size
    }

    /// What to ask with an introspection: nothing when the log was looked at since the connection was made.
    pub(super) fn to_ask(&self) -> ToAsk {
        let state = self.state.lock();
        if state.confirmed { ToAsk::default() } else { ToAsk { saw: state.kept.saw, size: Some(state.size) } }
    }

    /// The connection is lost: another log may answer next.
    pub(super) fn lost(&self) {
        let mut state = self.state.lock();
        // Whoever was not there could sign nothing.
        (state.confirmed, state.unsigned) = (false, None);
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
                state.confirmed = true;
                return Ok(());
            }
            Some(found) if found.seq == asked.seq => "has another record there: it was forked",
            Some(_) | None => "ends before it: it was cut off, or set back to an older copy",
        };
        let Seq(seq) = asked.seq;
        Err(self.refuse(&mut state, &format!("it was at seq {seq}, and the log {what}")))
    }

    /// Judges a checkpoint that the control plane shows; nothing is shown while its tree is not level with its log.
    ///
    /// # Errors
    /// When it is another log; and as long as nothing is shown for too long.
    pub(super) fn judge(&self, shown: Option<&ShownLog>) -> Result<(), OtherLog> {
        let mut state = self.state.lock();
        let now = Boottime::now();
        state.looked = now;
        let Some(shown) = shown else { return state.signed_in_time(now) };
        let kept = state.kept.clone();
        let judged = kept.judge(shown);
        let before = state.size;
        match judged {
            Ok(checkpoint) => {
                state.size = checkpoint.size;
                state.kept.key = Some(shown.key.trim().to_owned());
                state.kept.checkpoint = Some(shown.checkpoint.clone());
                state.unsigned = state.unsigned.filter(|(seq, _)| seq.0 > checkpoint.size);
                if before == 0 {
                    self.write(&state.kept);
                }
                state.signed_in_time(now)
            }
            Err(why) => Err(self.refuse(&mut state, &why)),
        }
    }

    fn refuse(&self, state: &mut State, why: &str) -> OtherLog {
        let at = self.file.as_ref().map_or_else(
            || "restart this gateway".to_owned(),
            |file| format!("remove {} and restart this gateway", file.display()),
        );
        let why = format!(
            "its log is not the one that this gateway served by: {why}. Nothing is served. If that was done on purpose, {at}"
        );
        if state.kept.refused.is_none() {
            tracing::error!(%why, "{REFUSED}");
            state.reminded = Some(Boottime::now());
            state.kept.refused = Some(why.clone());
            self.write(&state.kept);
        }
        OtherLog(why)
    }

    /// The log has come to a place.
    ///
    /// # Errors
    /// When what it said before stands in no checkpoint for too long.
    pub(super) fn see(&self, anchor: Anchor) -> Result<(), OtherLog> {
        let now = Boottime::now();
        let mut state = self.state.lock();
        if state.kept.refused.is_some() {
            return Ok(());
        }
        if state.kept.key.is_some() && anchor.seq.0 > state.size {
            state.unsigned.get_or_insert((anchor.seq, now));
        }
        state.signed_in_time(now)?;
        if state.kept.saw.is_some_and(|saw| saw.seq >= anchor.seq) {
            return Ok(());
        }
        state.kept.saw = Some(anchor);
        state.confirmed = true;
        if now.since(state.written).as_millis() >= WRITE_EVERY_MS {
            state.written = now;
            self.write(&state.kept);
        }
        Ok(())
    }

    /// Size of the checkpoint that is kept, when the log has grown since and was not looked at for a while.
    pub(super) fn look_due(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let (now, every) = (Boottime::now(), if state.kept.key.is_some() { LOOK_EVERY } else { LOOK_FIRST_EVERY });
        let grown = state.kept.saw.is_some_and(|saw| saw.seq.0 > state.size);
        if !grown || state.kept.refused.is_some() || now.since(state.looked) < every {
            return None;
        }
        state.looked = now;
        Some(state.size)
    }

    /// Writes down what is remembered, for an orderly end.
    pub(super) fn keep(&self) {
        let kept = self.state.lock().kept.clone();
        if kept.saw.is_some() || kept.key.is_some() {
            self.write(&kept);
        }
    }

    fn write(&self, kept: &Kept) {
        let Some(file) = &self.file else { return };
        let written = || {
            let new = file.with_extension("new");
            let mut open = fs::File::create(&new)?;
            open.write_all(&serde_json::to_vec(kept).map_err(std::io::Error::other)?)?;
            open.sync_data()?;
            fs::rename(&new, file)
        };
        if let Err(error) = written() {
            tracing::warn!(%error, file = %file.display(), "what is remembered of the log can't be written down");
        }
    }
}

impl State {
    fn signed_in_time(&self, now: Boottime) -> Result<(), OtherLog> {
        match self.unsigned {
            Some((Seq(seq), since)) if now.since(since) > SIGNED_WITHIN => Err(OtherLog(format!(
                "it told of seq {seq}, and shows no signed checkpoint that covers it: nothing is served until it does"
            ))),
            _ => Ok(()),
        }
    }
}

impl Kept {
    fn size(&self) -> std::io::Result<u64> {
        let (Some(key), Some(note)) = (&self.key, &self.checkpoint) else { return Ok(0) };
        let opened = LogKey::read(key).and_then(|key| key.open(note.as_bytes()));
        opened.map(|checkpoint| checkpoint.size).map_err(std::io::Error::other)
    }

    fn judge(&self, shown: &ShownLog) -> Result<Checkpoint, String> {
        let proof: Result<Vec<Hash>, _> = shown.proof.iter().map(|hash| Hash::parse_hash(hash)).collect();
        let proof = proof.map_err(|_| "the proof that the log goes on can't be read".to_owned())?;
        let seen = self.key.as_ref().zip(self.checkpoint.as_ref());
        let seen = seen.map(|(key, note)| Seen { key, note: note.as_bytes() });
        let shown = Shown { key: &shown.key, note: shown.checkpoint.as_bytes(), proof: &proof };
        judge(seen, shown).map_err(|why: Distrust| why.to_string())
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
