//! Times as text: RFC 3339 exactly as chrono writes it, with as many digits of a second as needed, in a tenth of
//! the time. An answer with a day's windows has six thousand of them. And times to the microsecond, as they are stored.

use chrono::{DateTime, Datelike, SubsecRound, TimeDelta, Timelike, Utc};
use serde::Serializer;

/// How the text writes the offset: REST and `GraphQL` write the same offset differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// `Z`.
    Letter,
    /// `+00:00`.
    Digits,
}

/// A time as text.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    bytes: [u8; 40],
    length: usize,
}

impl Text {
    /// Formats a time.
    #[must_use]
    pub fn of(at: &DateTime<Utc>, offset: Offset) -> Self {
        let mut text = Self { bytes: [0; 40], length: 0 };
        let (date, time) = (at.date_naive(), at.time());
        let Some(year) = u32::try_from(date.year()).ok().filter(|year| *year <= 9999) else {
            // No stored time is beyond the year 9999.
            let long = if offset == Offset::Letter { format!("{at:?}") } else { at.to_rfc3339() };
            text.push(long.as_bytes());
            return text;
        };
        for (number, digits, behind) in [
            (year, 4, b'-'),
            (date.month(), 2, b'-'),
            (date.day(), 2, b'T'),
            (time.hour(), 2, b':'),
            (time.minute(), 2, b':'),
        ] {
            text.number(number, digits);
            text.push(&[behind]);
        }
        // In a leap second, chrono's nanoseconds count on beyond a billion.
        let nanos = time.nanosecond();
        text.number(time.second() + nanos / 1_000_000_000, 2);
        text.fraction(nanos % 1_000_000_000);
        text.push(if offset == Offset::Letter { b"Z" } else { b"+00:00" });
        text
    }

    /// The formatted time.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The bytes are ASCII.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    fn fraction(&mut self, nanos: u32) {
        let (number, digits) = match nanos {
            0 => return,
            _ if nanos.is_multiple_of(1_000_000) => (nanos / 1_000_000, 3),
            _ if nanos.is_multiple_of(1_000) => (nanos / 1_000, 6),
            _ => (nanos, 9),
        };
        self.push(b".");
        self.number(number, digits);
    }

    fn number(&mut self, mut number: u32, digits: usize) {
        for digit in self.bytes[self.length..self.length + digits].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.length += digits;
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = (self.length + bytes.len()).min(self.bytes.len());
        self.bytes[self.length..end].copy_from_slice(&bytes[..end - self.length]);
        self.length = end;
    }
}

/// Whether chrono and Postgres can hold a time, and one a day before or after it: time zones and clamping move it.
#[must_use]
pub fn is_in_calendar(at: DateTime<Utc>) -> bool {
    let day = TimeDelta::days(1);
    let moved = [at.checked_sub_signed(day), at.checked_add_signed(day)];
    moved.iter().all(|moved| moved.is_some_and(|moved| (0..=9999).contains(&moved.year())))
}

/// The first time at or after this one that can be stored. Stored times have microseconds, so a span from or to the one holds
/// what a span from or to the other holds.
#[must_use]
pub fn rounded_up(at: DateTime<Utc>) -> DateTime<Utc> {
    let whole = at.trunc_subsecs(6);
    if whole == at { whole } else { whole + TimeDelta::microseconds(1) }
}

/// Serializes a time, for `#[serde(serialize_with)]`.
pub fn serialize<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(Text::of(at, Offset::Letter).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_between_two_microseconds_is_rounded_up_and_others_stay() {
        let rounded = |text: &str| rounded_up(text.parse().expect("a time")).to_rfc3339();
        for (text, up) in [
            ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00+00:00"),
            ("2026-03-01T12:00:00.123456Z", "2026-03-01T12:00:00.123456+00:00"),
            ("2026-03-01T12:00:00.1234560001Z", "2026-03-01T12:00:00.123456+00:00"),
            ("2026-03-01T12:00:00.123456001Z", "2026-03-01T12:00:00.123457+00:00"),
            ("2026-03-01T23:59:59.999999999Z", "2026-03-02T00:00:00+00:00"),
            ("1969-12-31T23:59:59.999999001Z", "1970-01-01T00:00:00+00:00"),
        ] {
            assert_eq!(rounded(text), up, "{text}");
        }
    }

    #[test]
    fn the_calendar_has_the_years_that_postgres_and_chrono_have_with_a_day_to_spare() {
        let is_in = |text: &str| is_in_calendar(text.parse().expect("a time"));
        assert!(is_in("2026-03-01T00:00:00+07:00") && is_in("0000-01-02T00:00:00Z"));
        assert!(!is_in("0000-01-01T23:00:00Z") && !is_in("9999-12-31T01:00:00Z"));
        assert!(!is_in_calendar(DateTime::<Utc>::MAX_UTC) && !is_in_calendar(DateTime::<Utc>::MIN_UTC));
    }

    #[test]
    fn a_moment_is_written_as_chrono_writes_it() {
        for (second, nanos) in [
            (0, 0),
            (1_700_000_000, 120_000_000),
            (1_700_000_001, 123_456_000),
            (1_700_000_059, 123_456_789),
            (951_782_400, 1),
            (-1, 999_999_999),
            (-62_167_219_200, 0),
            (253_402_300_799, 999_999_000),
            (1_483_228_799, 1_500_000_000),
            (-62_200_000_000, 0),
            (253_402_300_800, 1_000),
        ] {
            let at = DateTime::from_timestamp(second, nanos).expect("a moment");
            let expected = serde_json::to_string(&at).expect("text");
            assert_eq!(format!("\"{}\"", Text::of(&at, Offset::Letter).as_str()), expected);
            assert_eq!(Text::of(&at, Offset::Digits).as_str(), at.to_rfc3339());
        }
    }
}
