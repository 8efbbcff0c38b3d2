//! What the processes of a server print on their standard error, and what befell them: a bounded ring that can be followed.
use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use zeroize::Zeroizing;

/// Lines kept per server.
const LINES_MAX: usize = 2_000;
/// Bytes kept of one line.
pub(super) const LINE_BYTES_MAX: usize = 4_096;
/// Lines that may wait for a slow follower before it is told that it lagged.
const FOLLOW_MAX: usize = 512;
/// Declared values shorter than this are too common as words to be taken out of lines.
const SECRET_CHARS_MIN: usize = 8;

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// The process printed it on its standard error.
    Stderr,
    /// mcpctl notes what happened to the process.
    Event,
    /// The process printed it on its standard output, but it is no message.
    Garbage,
}

/// One line of a server's log.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LogLine {
    /// When it was read.
    pub at: SystemTime,
    /// Name of the instance, such as `everything-0`.
    pub instance: String,
    /// Where it comes from.
    pub source: LogSource,
    /// The text, cut at 4 KiB, with the values of the declared environment taken out.
    pub text: String,
}

/// The log of one server, over all of its instances and restarts.
pub(super) struct ServerLog {
    lines: Mutex<VecDeque<LogLine>>,
    followers: broadcast::Sender<LogLine>,
}

impl ServerLog {
    pub(super) fn new() -> Self {
        Self { lines: Mutex::default(), followers: broadcast::Sender::new(FOLLOW_MAX) }
    }

    /// The last `tail` lines of one instance, or of all.
    pub(super) fn tail(&self, instance: Option<&str>, tail: usize) -> Vec<LogLine> {
        let lines = self.lines.lock();
        let chosen = lines.iter().rev().filter(|line| instance.is_none_or(|name| line.instance == name)).take(tail);
        let mut chosen: Vec<_> = chosen.cloned().collect();
        chosen.reverse();
        chosen
    }

    /// Lines from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<LogLine> {
        self.followers.subscribe()
    }

    fn push(&self, line: LogLine) {
        let mut lines = self.lines.lock();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        drop(lines);
        // Nobody may be following.
        drop(self.followers.send(line));
    }
}

/// The pen of one instance.
#[derive(Clone)]
pub(super) struct LogPen {
    log: std::sync::Arc<ServerLog>,
    instance: std::sync::Arc<str>,
    secrets: std::sync::Arc<Vec<(String, Zeroizing<String>)>>,
}

impl LogPen {
    /// `secrets` are the declared values, with their names: programs print their environment when they fail.
    pub(super) fn new<'a>(
        log: std::sync::Arc<ServerLog>,
        instance: &str,
        secrets: impl Iterator<Item = (&'a String, &'a Zeroizing<String>)>,
    ) -> Self {
        let secrets = secrets.filter(|(_, value)| value.len() >= SECRET_CHARS_MIN);
        let secrets = secrets.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { log, instance: instance.into(), secrets: std::sync::Arc::new(secrets) }
    }

    /// Writes one line.
    pub(super) fn write(&self, source: LogSource, text: &str) {
        let mut text = text.to_owned();
        for (name, value) in self.secrets.iter() {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), &format!("[value of {name}]"));
            }
        }
        if text.len() > LINE_BYTES_MAX {
            let end = (0..=LINE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
        self.log.push(LogLine { at: SystemTime::now(), instance: self.instance.to_string(), source, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    #[test]
    fn the_ring_keeps_the_newest_lines_and_can_be_read_by_instance() {
        let log = Arc::new(ServerLog::new());
        let (a, b) = (LogPen::new(log.clone(), "s-0", [].into_iter()), LogPen::new(log.clone(), "s-1", [].into_iter()));
        for n in 0..LINES_MAX {
            a.write(LogSource::Stderr, &n.to_string());
        }
        b.write(LogSource::Stderr, "other");
        assert_eq!(log.tail(None, usize::MAX).len(), LINES_MAX);
        assert_eq!(log.tail(None, 1)[0].text, "other");
        assert_eq!(log.tail(Some("s-0"), 1)[0].text, (LINES_MAX - 1).to_string());
        assert_eq!(log.tail(Some("s-0"), usize::MAX)[0].text, "1");
    }

    #[test]
    fn a_declared_value_never_shows_in_a_line() {
        let env: BTreeMap<String, Zeroizing<String>> = [("KEY".into(), Zeroizing::new("canary-secret".into()))].into();
        let log = Arc::new(ServerLog::new());
        LogPen::new(log.clone(), "s-0", env.iter()).write(LogSource::Stderr, "failed with canary-secret in hand");
        assert_eq!(log.tail(None, 1)[0].text, "failed with [value of KEY] in hand");
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let log = Arc::new(ServerLog::new());
        LogPen::new(log.clone(), "s-0", [].into_iter()).write(LogSource::Stderr, &"é".repeat(LINE_BYTES_MAX));
        assert_eq!(log.tail(None, 1)[0].text.len(), LINE_BYTES_MAX);
    }
}
