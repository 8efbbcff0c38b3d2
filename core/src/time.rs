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

/// The first moment that the calendar library has no date for: in the last days of the year 9999.
const DATES_END: u64 = 253_402_207_200_001;

impl Timestamp {
    /// `2026-11-21T09:30:00.123Z`, of a moment before [`DATES_END`]. Every event and audit entry has at least one, so it is
    /// written without the generality of a calendar library; the days are counted as in "chrono-Compatible Low-Level Date
    /// Algorithms" (H. Hinnant, `civil_from_days`).
    fn written(self) -> [u8; 24] {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        // Eras of 400 years that begin on a 1st of March, so that the leap day is the last of a year.
        let since_march = days + 719_468;
        let (era, day) = (since_march / 146_097, since_march % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let parts = [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, ms / 3_600_000),
            (14, 2, ms / 60_000 % 60),
            (17, 2, ms / 1_000 % 60),
            (20, 3, ms % 1_000),
        ];
        for (at, digits, mut value) in parts {
            for slot in text[at..at + digits].iter_mut().rev() {
                *slot = b'0' + u8::try_from(value % 10).expect("a digit is below 10");
                value /= 10;
            }
        }
        text
    }
}

fn as_text(written: &[u8; 24]) -> &str {
    std::str::from_utf8(written).expect("digits and signs are ASCII")
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < DATES_END {
            return f.write_str(as_text(&self.written()));
        }
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
        match s.is_human_readable() {
            true if self.0 < DATES_END => s.serialize_str(as_text(&self.written())),
            true => s.collect_str(self),
            false => s.serialize_u64(self.0),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_library(at: Timestamp) -> String {
        let moment = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap()).unwrap();
        format!("{moment:.3}")
    }

    #[test]
    fn edges_of_the_calendar_are_written_as_the_library_writes_them() {
        let day = 86_400_000;
        // The ends of February and of the year, of years that are leap years by each of the rules.
        for days in [0, 58, 59, 364, 365, 789, 790, 10_956, 11_015, 11_016, 11_322, 47_540, 47_541, 157_112, 157_113] {
            for ms in [days * day, days * day + day - 1] {
                assert_eq!(Timestamp(ms).to_string(), by_library(Timestamp(ms)));
            }
        }
        for ms in [DATES_END - 1, 0, 999, 1_000] {
            assert_eq!(Timestamp(ms).to_string(), by_library(Timestamp(ms)));
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_written_as_the_library_writes_it_and_read_back(ms in 0..DATES_END) {
            let at = Timestamp(ms);
            prop_assert_eq!(at.to_string(), by_library(at));
            prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
            prop_assert_eq!(serde_json::to_string(&at).unwrap(), format!("\"{at}\""));
        }
    }
}
