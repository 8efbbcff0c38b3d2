//! Moments and spans, in milliseconds. Core never reads a clock: a moment always comes in as an argument.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01 UTC. RFC 3339 where people read it, an integer in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment, `ms` milliseconds later.
    #[must_use]
    pub const fn plus_millis(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since an earlier moment, or 0.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The text is not a date or a date and time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text:?} is not a moment: write 2026-11-21T09:30:00Z or 2026-11-21")]
pub struct InvalidTimestamp {
    text: String,
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let fail = || InvalidTimestamp { text: text.to_owned() };
        let moment = match text.parse::<jiff::Timestamp>() {
            Ok(moment) => moment,
            Err(_) => {
                let date: jiff::civil::Date = text.parse().map_err(|_| fail())?;
                date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| fail())?.timestamp()
            }
        };
        u64::try_from(moment.as_millisecond()).map(Self).map_err(|_| fail())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
            return text.parse().map_err(serde::de::Error::custom);
        }
        u64::deserialize(d).map(Self)
    }
}

/// The text is not a span such as `30d` or `12h`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text:?} is not a span: write a number and s, m, h, d or w, such as 30d or 12h")]
pub struct InvalidSpan {
    text: String,
}

/// Milliseconds of a span such as `90s`, `15m`, `12h`, `30d`, `2w`.
///
/// # Errors
/// When the text is not one positive number with one of these units, or is longer than a hundred years.
pub fn parse_span_ms(text: &str) -> Result<u64, InvalidSpan> {
    let fail = || InvalidSpan { text: text.to_owned() };
    let unit = text.chars().last().ok_or_else(fail)?;
    let unit_ms: u64 = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        'w' => 604_800_000,
        _ => return Err(fail()),
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    let count: u64 = digits.parse().map_err(|_| fail())?;
    let span = count.checked_mul(unit_ms).ok_or_else(fail)?;
    if count == 0 || digits.starts_with('+') || span > 36_525 * 86_400_000 { Err(fail()) } else { Ok(span) }
}
