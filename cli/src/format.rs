//! `-o`: how data is printed.
use mcpctl_core::manifest;
use mcpctl_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

/// How objects are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// Everything, with metadata and status
    Json,
    /// Manifests that `apply -f` takes
    Yaml,
    /// KIND/NAME, one a line
    Name,
}

/// How other things are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Plain {
    /// Aligned columns
    #[default]
    Table,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Indented JSON.
pub fn json<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value).expect("answers are plain data");
    format!("{text}\n")
}

/// YAML.
pub fn yaml<T: Serialize>(value: &T) -> String {
    yaml_serde::to_string(value).expect("answers are plain data")
}

/// Manifests as one stream of documents.
pub fn documents(manifests: &[Map<String, Value>]) -> String {
    manifests.iter().map(manifest::to_yaml).collect::<Vec<_>>().join("---\n")
}

/// The moment, to the second.
pub fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// The text, or as much of it as fits, and a sign that there is more.
pub fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        text.to_owned()
    } else {
        text.chars().take(chars_max - 1).chain(['…']).collect()
    }
}

/// Now.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How long ago, in its largest unit.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(since) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_ends_with_a_sign() {
        assert_eq!((shortened("abc", 3), shortened("abcd", 3)), ("abc".to_owned(), "ab…".to_owned()));
    }

    #[test]
    fn moments_and_ages_are_short() {
        let at: Timestamp = "2026-11-21T09:30:00Z".parse().unwrap();
        assert_eq!(moment(at.plus_millis(123)), "2026-11-21T09:30:00Z");
        for (seconds, text) in [(5, "5s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d")] {
            assert_eq!(age(at, at.plus_millis(seconds * 1000)), text);
        }
    }
}
