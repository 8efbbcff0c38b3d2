//! Levels of log messages, from `debug` to `emergency` (RFC 5424), and which messages a client wants.
use serde_json::value::RawValue;

use crate::json::Members;

const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Whether it is a level.
pub(crate) fn is_level(text: &str) -> bool {
    LEVELS.contains(&text)
}

/// Whether a message with these params is wanted by who asked for this level and what is graver. A level that nobody
/// knows is let through.
pub(crate) fn reaches(params: Option<&RawValue>, wanted: &str) -> bool {
    let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
    let level = params.and_then(|raw| Members::of(raw).text("level"));
    match (level.as_deref().and_then(rank), rank(wanted)) {
        (Some(level), Some(wanted)) => level >= wanted,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::raw;

    #[test]
    fn what_is_less_grave_than_wanted_is_not_told() {
        let message = |level: &str| raw(format!("{{\"level\":\"{level}\",\"data\":1}}"));
        assert!(reaches(Some(&message("error")), "warning"));
        assert!(reaches(Some(&message("warning")), "warning"));
        assert!(!reaches(Some(&message("debug")), "info"));
        assert!(reaches(Some(&message("custom")), "info"));
    }
}
