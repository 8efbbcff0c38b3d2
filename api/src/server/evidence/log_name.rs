//! The logs that have evidence, by name.
use std::fmt;
use std::str::FromStr;

/// A log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogName {
    /// Events: what was changed, by whom.
    Config,
    /// Entries of the audit log: what was called, and what was refused.
    Audit,
    /// State roots: which facts about rights held after each event.
    State,
}

/// The text names no log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no log {0:?}: config, audit or state")]
pub struct UnknownLog(String);

impl LogName {
    /// Every log.
    pub const ALL: [Self; 3] = [Self::Config, Self::Audit, Self::State];

    /// The name, as it stands in paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Audit => "audit",
            Self::State => "state",
        }
    }

    /// Name of its key file, in the data folder.
    pub(super) const fn key_file(self) -> &'static str {
        match self {
            Self::Config => "log.key",
            Self::Audit => "audit-log.key",
            Self::State => "state-log.key",
        }
    }

    /// Its origin, beside that of the config log: `example.com/config` and `example.com/audit`.
    #[must_use]
    pub fn beside(self, config: &str) -> String {
        match self {
            Self::Config => config.to_owned(),
            other => format!("{}/{other}", config.strip_suffix("/config").unwrap_or(config)),
        }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LogName {
    type Err = UnknownLog;
    fn from_str(text: &str) -> Result<Self, UnknownLog> {
        Self::ALL.into_iter().find(|log| log.as_str() == text).ok_or_else(|| UnknownLog(text.to_owned()))
    }
}
