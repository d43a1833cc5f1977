//! From what a device writes as a time to the moment that it means.

use chrono::{
    DateTime, Datelike, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone,
    Utc,
};
use chrono_tz::Tz;

use crate::formats::lenient;
use crate::spec::Unit;
use crate::tree::Node;

/// A unit, and the zone of what does not say its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clock {
    pub(crate) unit: ClockUnit,
    pub(crate) zone: Option<Tz>,
}

/// A unit that a source names, or the one of SenML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockUnit {
    Said(Unit),
    /// Seconds since 1970, or since now if they are fewer than 2^28.
    Senml,
}

/// Microseconds of a second: Postgres's times have no finer steps.
const SECOND: i128 = 1_000_000;
/// Below this, a number of [`Unit::Auto`] counts nothing since 1970 that a device could have measured: it would be seconds
/// before March 1973.
const LEAST: f64 = 1e8;

impl Clock {
    /// The moment that a value means. `None` if it means none.
    pub(crate) fn read(self, value: &Node<'_>, received_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let time = match value {
            Node::Text(text) => self.read_text(text.trim(), received_at),
            value => self.read_number(value, received_at),
        };
        // Postgres and RFC 3339 agree on these years.
        time.filter(|time| (0..=9999).contains(&time.year()))
    }

    fn read_text(self, text: &str, received_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.unit {
            ClockUnit::Said(Unit::Rfc3339) => self.date(text),
            ClockUnit::Said(Unit::Local) => Self::local(self.zone?, parse(text)?.0),
            ClockUnit::Said(Unit::Auto) => self.date(text).or_else(|| {
                let digits = lenient::number(text)?;
                self.read_number(&digits, received_at)
            }),
            // A number in quotes.
            _ => self.read_number(&lenient::number(text)?, received_at),
        }
    }

    fn date(self, text: &str) -> Option<DateTime<Utc>> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(time.to_utc());
        }
        let (time, offset) = parse(text)?;
        match offset {
            Some(offset) => offset.from_local_datetime(&time).single().map(|time| time.to_utc()),
            None => Self::local(self.zone?, time),
        }
    }

    /// The moment of a local time: of two, when clocks are set back, the first. Where clocks were set forward past it, as many
    /// minutes after the change as it is behind it.
    fn local(zone: Tz, time: NaiveDateTime) -> Option<DateTime<Utc>> {
        match zone.from_local_datetime(&time) {
            LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.to_utc()),
            LocalResult::None => {
                let before = time.checked_sub_signed(TimeDelta::hours(3))?;
                let before = zone.from_local_datetime(&before).earliest()?;
                Some(before.to_utc() + TimeDelta::hours(3))
            }
        }
    }

    fn read_number(self, value: &Node<'_>, received_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let number = value.number()?;
        let unit = match self.unit {
            ClockUnit::Said(Unit::Auto) => by_magnitude(number)?,
            ClockUnit::Said(Unit::Rfc3339 | Unit::Local) => return None,
            ClockUnit::Said(unit) => unit,
            ClockUnit::Senml if number < 268_435_456.0 => {
                let seconds = received_at.timestamp_micros() as f64 / 1e6 + number;
                return micros(Unit::Seconds, &Node::Float(seconds));
            }
            ClockUnit::Senml => Unit::Seconds,
        };
        micros(unit, value)
    }
}

/// The unit of a number since 1970. For every date from 1973 to 5138 only one of the four fits.
fn by_magnitude(number: f64) -> Option<Unit> {
    [(1e11, Unit::Seconds), (1e14, Unit::Milliseconds), (1e17, Unit::Microseconds), (1e20, Unit::Nanoseconds)]
        .into_iter()
        .find(|(end, _)| number < *end)
        .map(|(_, unit)| unit)
        .filter(|_| number >= LEAST)
}

fn micros(unit: Unit, value: &Node<'_>) -> Option<DateTime<Utc>> {
    let (times, through): (i128, i128) = match unit {
        Unit::Seconds => (SECOND, 1),
        Unit::Milliseconds => (1_000, 1),
        Unit::Nanoseconds => (1, 1_000),
        _ => (1, 1),
    };
    let micros = match *value {
        Node::Int(value) => (i128::from(value) * times).div_euclid(through),
        Node::Unsigned(value) => (i128::from(value) * times).div_euclid(through),
        // A double has about a microsecond's precision for today's seconds. Casting bounds what is out of range.
        Node::Float(value) => (value * times as f64 / through as f64).round() as i128,
        _ => return None,
    };
    DateTime::from_timestamp_micros(i64::try_from(micros).ok()?)
}

/// A date and a time, with or without an offset, in the forms that come next to RFC 3339.
fn parse(text: &str) -> Option<(NaiveDateTime, Option<FixedOffset>)> {
    let (date, rest) = text.split_at_checked(10)?;
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d")
        .or_else(|_| NaiveDate::parse_from_str(date, "%Y/%m/%d"))
        .ok()?;
    let rest = rest.strip_prefix(['T', 't', ' ', '_'])?;
    let end = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
    let (time, after) = rest.split_at(end);
    let time = time.replacen(',', ".", 1);
    let formats =
        if time.matches(':').count() == 1 { ["%H:%M", "%H:%M"] } else { ["%H:%M:%S%.f", "%H:%M:%S"] };
    let time = formats.iter().find_map(|format| NaiveTime::parse_from_str(&time, format).ok())?;
    let offset = match behind(after.trim()) {
        Behind::Offset(offset) => Some(offset),
        Behind::Nothing => None,
        Behind::Else => return None,
    };
    Some((date.and_time(time), offset))
}

/// What stands behind a time: an offset such as `Z`, `+01:00`, `+0100` or `+01`, nothing, or something else.
enum Behind {
    Offset(FixedOffset),
    Nothing,
    Else,
}

fn behind(text: &str) -> Behind {
    if text.is_empty() {
        return Behind::Nothing;
    }
    if matches!(text, "Z" | "z" | "UTC" | "GMT") {
        return FixedOffset::east_opt(0).map_or(Behind::Else, Behind::Offset);
    }
    offset(text).map_or(Behind::Else, Behind::Offset)
}

fn offset(text: &str) -> Option<FixedOffset> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text.strip_prefix(['+', '-'])?.replacen(':', "", 1);
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = if digits.len() == 4 { digits[2..].parse().ok()? } else { 0 };
    FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60)).filter(|_| minutes < 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(unit: Unit, zone: Option<&str>, value: &Node<'_>) -> Option<String> {
        let zone = zone.map(|zone| zone.parse().expect("a zone"));
        let received_at = "2026-11-28T14:30:00Z".parse().expect("a time");
        let time = Clock { unit: ClockUnit::Said(unit), zone }.read(value, received_at)?;
        Some(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }

    fn auto(value: &Node<'_>) -> Option<String> {
        read(Unit::Auto, None, value)
    }

    #[test]
    fn the_magnitude_of_a_number_says_its_unit() {
        for (value, expected) in [
            (Node::Int(1_795_876_066), "2026-11-28T14:27:46Z"),
            (Node::Float(1_795_876_066.69), "2026-11-28T14:27:46.690Z"),
            (Node::Int(1_795_876_066_689), "2026-11-28T14:27:46.689Z"),
            (Node::Int(1_795_876_066_689_528), "2026-11-28T14:27:46.689528Z"),
            (Node::Int(1_795_876_066_689_528_320), "2026-11-28T14:27:46.689528Z"),
            (Node::Float(1_795_876_066_689.5), "2026-11-28T14:27:46.689500Z"),
            (Node::text("1795876066689"), "2026-11-28T14:27:46.689Z"),
            (Node::text("1.795876066e9"), "2026-11-28T14:27:46Z"),
        ] {
            assert_eq!(auto(&value).as_deref(), Some(expected), "{value:?}");
        }
        for value in [
            Node::Float(23.5),
            Node::Int(0),
            Node::Int(-1),
            Node::Float(1e300),
            Node::Null,
            Node::NotFinite,
            Node::Bool(true),
            Node::text(""),
            Node::List(vec![]),
        ] {
            assert_eq!(auto(&value), None, "{value:?}");
        }
    }

    #[test]
    fn a_unit_that_is_said_is_taken_at_its_word() {
        for (unit, expected) in [
            (Unit::Seconds, "1970-01-01T00:16:40Z"),
            (Unit::Milliseconds, "1970-01-01T00:00:01Z"),
            (Unit::Microseconds, "1970-01-01T00:00:00.001Z"),
            (Unit::Nanoseconds, "1970-01-01T00:00:00.000001Z"),
        ] {
            for value in [Node::Int(1000), Node::Float(1000.0), Node::text("1000")] {
                assert_eq!(read(unit, None, &value).as_deref(), Some(expected), "{unit:?}");
            }
            assert_eq!(read(unit, None, &Node::text("2026-11-28T14:27:46Z")), None);
        }
        assert_eq!(read(Unit::Seconds, None, &Node::Int(i64::MAX)), None);
        assert_eq!(read(Unit::Rfc3339, None, &Node::Int(1_795_876_066)), None);
    }

    #[test]
    fn what_comes_next_to_rfc_3339_is_read() {
        for text in [
            "2026-11-28T14:27:46Z",
            "2026-11-28 14:27:46Z",
            "2026-11-28T15:27:46+0100",
            "2026-11-28T15:27:46+01",
            "2026-11-28T15:27:46 +01:00",
            "2026-11-28T14:27:46,0Z",
            "2026/11/28 14:27:46 UTC",
        ] {
            assert_eq!(auto(&Node::text(text)).as_deref(), Some("2026-11-28T14:27:46Z"), "{text}");
        }
        assert_eq!(auto(&Node::text("2026-11-28T14:27Z")).as_deref(), Some("2026-11-28T14:27:00Z"));
        for text in [
            "yesterday",
            "2026-02-30T00:00:00Z",
            "2026-11-28",
            "2026-11-28T25:00:00Z",
            "2026-11-28T14:27:46+1",
            "2026-11-28T14:27:46+99:00",
            "é026-11-28T14:27:46Z",
            "2026-11-28T",
        ] {
            assert_eq!(auto(&Node::text(text)), None, "{text}");
        }
    }

    #[test]
    fn a_local_time_needs_a_zone_and_is_never_lost_when_clocks_change() {
        let text = Node::text("2026-11-28T14:27:46");
        assert_eq!(auto(&text), None);
        for unit in [Unit::Auto, Unit::Local, Unit::Rfc3339] {
            assert_eq!(read(unit, Some("Asia/Ho_Chi_Minh"), &text).as_deref(), Some("2026-11-28T07:27:46Z"));
        }
        let berlin = |text: &str| read(Unit::Local, Some("Europe/Berlin"), &Node::text(text.to_owned()));
        assert_eq!(
            berlin("2026-10-25 02:30:00").as_deref(),
            Some("2026-10-25T00:30:00Z"),
            "the first of two"
        );
        assert_eq!(
            berlin("2026-03-29 02:30:00").as_deref(),
            Some("2026-03-29T01:30:00Z"),
            "left out by clocks"
        );
        assert_eq!(berlin("2026-03-29 03:00:00").as_deref(), Some("2026-03-29T01:00:00Z"));
    }

    #[test]
    fn a_small_number_in_senml_counts_from_now() {
        let clock = Clock { unit: ClockUnit::Senml, zone: None };
        let received_at: DateTime<Utc> = "2026-11-28T14:30:00Z".parse().expect("a time");
        assert_eq!(clock.read(&Node::Float(-5.0), received_at), Some(received_at - TimeDelta::seconds(5)));
        let absolute = clock.read(&Node::Float(1.795_876_066e9), received_at).expect("a time");
        assert_eq!(absolute.timestamp(), 1_795_876_066);
    }
}
