//! Reads the time that a device gives its reading.

use std::ops::Range;

use chrono::{DateTime, Utc};

/// The seconds of the Unix epoch from 2001 to 2100. Within these years a number's magnitude tells its unit: there are
/// 10 digits to the seconds, 13 to the milliseconds, 16 to the microseconds and 19 to the nanoseconds, or one less.
const YEARS: Range<f64> = 978_307_200.0..4_133_980_800.0;
/// How many of each unit make a second.
const UNITS: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];
/// The earliest time that a reading may carry: year 0, in milliseconds of the Unix epoch.
const EARLIEST_MS: i64 = -62_167_219_200_000;

/// Reads a JSON value: RFC 3339, or a number of the epoch, in quotes or not. `None` if it is neither.
pub(super) fn read(json: &str) -> Option<DateTime<Utc>> {
    if !json.starts_with('"') {
        return from_epoch(json);
    }
    let text: String = serde_json::from_str(json).ok()?;
    from_epoch(&text).or_else(|| from_text(&text))
}

/// Reads a number of seconds, milliseconds, microseconds or nanoseconds, of the years 2001 to 2100.
fn from_epoch(number: &str) -> Option<DateTime<Utc>> {
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let size: f64 = number.parse().ok()?;
    let unit = UNITS.into_iter().find(|&unit| YEARS.contains(&(size / unit as f64)))?;
    let micros = match number.parse::<i64>() {
        Ok(whole) => (i128::from(whole) * 1_000_000 / i128::from(unit)) as i64,
        Err(_) => (size * (1e6 / unit as f64)).round() as i64,
    };
    DateTime::from_timestamp_micros(micros)
}

fn from_text(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text)
        .ok()
        .or_else(|| DateTime::parse_from_rfc3339(&with_whole_offset(text)?).ok())?
        .to_utc();
    (time.timestamp_millis() >= EARLIEST_MS).then_some(time)
}

/// Writes the offsets `+0700` and `+07`, which many clock libraries print, as RFC 3339 has them.
fn with_whole_offset(text: &str) -> Option<String> {
    let sign = text.rfind(['+', '-'])?;
    let digits = &text[sign + 1..];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match digits.len() {
        2 => Some(format!("{text}:00")),
        4 => Some(format!("{}:{}", &text[..sign + 3], &digits[2..])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(json: &str) -> Option<String> {
        read(json).map(|time| time.to_rfc3339())
    }

    #[test]
    fn the_magnitude_of_a_number_tells_its_unit() {
        for (number, expected) in [
            ("1795876066", "2026-11-28T14:27:46+00:00"),
            ("1795876066.69", "2026-11-28T14:27:46.690+00:00"),
            ("1.795876066e9", "2026-11-28T14:27:46+00:00"),
            ("1795876066689", "2026-11-28T14:27:46.689+00:00"),
            ("1795876066689.5", "2026-11-28T14:27:46.689500+00:00"),
            ("1795876066689528", "2026-11-28T14:27:46.689528+00:00"),
            ("1795876066689528320", "2026-11-28T14:27:46.689528+00:00"),
            ("978307200", "2001-01-01T00:00:00+00:00"),
            ("978307200000", "2001-01-01T00:00:00+00:00"),
            ("4133980799", "2100-12-31T23:59:59+00:00"),
            ("4133980799999000000", "2100-12-31T23:59:59.999+00:00"),
        ] {
            assert_eq!(time(number).as_deref(), Some(expected), "{number}");
            assert_eq!(time(&format!("\"{number}\"")).as_deref(), Some(expected), "{number} in quotes");
        }
    }

    #[test]
    fn a_number_of_other_years_is_no_time() {
        for number in
            ["0", "-1", "23.5", "1e3", "978307199", "4133980800", "99999999999", "4133980800e9", "1e300"]
        {
            assert_eq!(time(number), None, "{number}");
            assert_eq!(time(&format!("\"{number}\"")), None, "{number} in quotes");
        }
    }

    #[test]
    fn an_offset_may_lack_its_colon_or_its_minutes() {
        for (text, expected) in [
            ("2026-11-28T14:27:46+0000", "2026-11-28T14:27:46+00:00"),
            ("2026-11-28T14:27:46.5+00", "2026-11-28T14:27:46.500+00:00"),
            ("2026-11-28 14:27:46-0330", "2026-11-28T17:57:46+00:00"),
            ("2026-11-28t14:27:46z", "2026-11-28T14:27:46+00:00"),
        ] {
            assert_eq!(time(&format!("{text:?}")).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_time() {
        for text in [
            "",
            "yesterday",
            "2026-11-28",
            "2026-11-28T14:27:46",
            "2026-02-30T00:00:00Z",
            "2026-11-28T14:27:46+000",
            "2026-11-28T14:27:46+é0",
            "-0001-01-01T00:00:00Z",
            "NaN",
        ] {
            assert_eq!(time(&format!("{text:?}")), None, "{text}");
        }
        for json in ["true", "null", "[]", "{}", "NaN", ""] {
            assert_eq!(time(json), None, "{json}");
        }
    }
}
