//! A point of the past as people write it: a seq, a moment, or how long ago.
use std::fmt;
use std::str::FromStr;

use crate::ids::Seq;
use crate::time::{Timestamp, parse_span_ms};

/// `--at`: which state is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// After an event.
    Seq(Seq),
    /// At a moment.
    Moment(Timestamp),
    /// So many milliseconds before now.
    Ago(u64),
}

/// The text says no point of the past.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no point of the past: write a seq such as 1207, a moment such as 2026-11-21T09:30:00Z or 2026-11-21, or \"2 days ago\""
)]
pub struct InvalidAt {
    text: String,
}

impl At {
    /// The moment that is meant; `None` for a seq.
    #[must_use]
    pub const fn moment(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Seq(_) => None,
            Self::Moment(at) => Some(at),
            Self::Ago(ms) => Some(Timestamp::from_millis(now.as_millis().saturating_sub(ms))),
        }
    }
}

impl FromStr for At {
    type Err = InvalidAt;
    fn from_str(text: &str) -> Result<Self, InvalidAt> {
        let text = text.trim();
        let fail = || InvalidAt { text: text.chars().take(80).collect() };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(|seq| Self::Seq(Seq(seq))).map_err(|_| fail());
        }
        if text.eq_ignore_ascii_case("now") {
            return Ok(Self::Ago(0));
        }
        if let Ok(at) = text.parse() {
            return Ok(Self::Moment(at));
        }
        span_ago(text).map(Self::Ago).ok_or_else(fail)
    }
}

/// `2 days ago`, `1 hour ago`, `90m ago`, `30d`. Months and years have no one length.
fn span_ago(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (span, ago) = lower.strip_suffix("ago").map_or((lower.as_str(), false), |span| (span, true));
    let mut words = span.split_whitespace();
    let (first, second, None) = (words.next()?, words.next(), words.next()) else { return None };
    let Some(unit) = second else { return parse_span_ms(first).ok() };
    let count: u64 = if matches!(first, "a" | "an" | "one") { 1 } else { first.parse().ok()? };
    let letter = match unit.strip_suffix('s').unwrap_or(unit) {
        "second" | "sec" => 's',
        "minute" | "min" => 'm',
        "hour" => 'h',
        "day" => 'd',
        "week" => 'w',
        _ => return None,
    };
    // "2 days" alone may be a typo of anything.
    ago.then(|| parse_span_ms(&format!("{count}{letter}")).ok()).flatten()
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seq(seq) => write!(f, "{seq}"),
            Self::Moment(at) => write!(f, "{at}"),
            Self::Ago(ms) => write!(f, "{}s ago", ms / 1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_the_past_are_read_as_people_write_them() {
        let day = 86_400_000;
        for (text, at) in [
            ("0", At::Seq(Seq(0))),
            ("1207", At::Seq(Seq(1207))),
            ("2 days ago", At::Ago(2 * day)),
            ("1 hour ago", At::Ago(3_600_000)),
            ("an hour ago", At::Ago(3_600_000)),
            ("15 min ago", At::Ago(900_000)),
            ("30d", At::Ago(30 * day)),
            ("90s ago", At::Ago(90_000)),
            ("now", At::Ago(0)),
            ("1970-01-02", At::Moment(Timestamp::from_millis(day))),
            ("1970-01-02T00:00:00.5Z", At::Moment(Timestamp::from_millis(day + 500))),
            ("1970-01-02T02:00:00+02:00", At::Moment(Timestamp::from_millis(day))),
        ] {
            assert_eq!(text.parse(), Ok(at), "{text}");
        }
        for text in
            ["", "yesterday", "-1", "2 days", "2 months ago", "ago", "two days ago", "1.5 hours ago", "12x", "0d"]
        {
            assert!(text.parse::<At>().is_err(), "{text}");
        }
        assert_eq!(At::Ago(5).moment(Timestamp::from_millis(7)), Some(Timestamp::from_millis(2)));
    }
}
