//! The types of parameters' values, checked as they are read. REST and GraphQL both use them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
pub use fleetlog_event_log::as_of::AsOf;
pub use fleetlog_event_log::place::LogPosition;
use fleetlog_event_log::{Position, moment, place};
use fleetlog_projections::telemetry_windows;
use serde::{Deserialize, Serialize};

/// The most items on a page.
pub const MAX_LIMIT: usize = 1000;

/// A parameter's value is not valid. The text says what a valid value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(pub(super) &'static str);

/// The most items that a page has: 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Limit(pub usize);

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<i64> for Limit {
    type Error = BadValue;

    fn try_from(limit: i64) -> Result<Self, BadValue> {
        let limit = usize::try_from(limit).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.map(Self).ok_or(BadValue("expected 1 to 1000"))
    }
}

/// The position after which a page begins: 0 at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct After(pub Position);

impl TryFrom<String> for After {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        place::position(&text).map(Self).ok_or(BadValue("expected a position, 0 or more"))
    }
}

/// The number of a log's first events that a proof speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        let size = place::position(&text).and_then(|size| u64::try_from(size).ok());
        size.map(Self).ok_or(BadValue("expected a number of events, 0 or more"))
    }
}

/// A moment in RFC 3339, in years 0 to 9999: the range that both chrono and Postgres can hold. One between two microseconds is
/// the later of them: what is stored has microseconds, so a span from or to the one holds what it would from or to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "DateTime<Utc>")]
pub struct Moment(pub DateTime<Utc>);

impl TryFrom<DateTime<Utc>> for Moment {
    type Error = BadValue;

    fn try_from(at: DateTime<Utc>) -> Result<Self, BadValue> {
        if moment::is_in_calendar(at) {
            Ok(Self(moment::rounded_up(at)))
        } else {
            Err(BadValue("expected a time from 0000-01-02 to 9999-12-30"))
        }
    }
}

/// Refuses a span that ends before it begins. An empty span is allowed: its answer is an empty list.
pub fn check_span(from: Option<Moment>, to: Option<Moment>) -> Result<(), BadValue> {
    match (from, to) {
        (Some(from), Some(to)) if from.0 > to.0 => Err(BadValue("from must not be after to")),
        _ => Ok(()),
    }
}

/// The order of a list by time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema, async_graphql::Enum,
)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The oldest item comes first.
    Asc,
    /// The newest item comes first.
    #[default]
    Desc,
}

/// How long a window is: `30m`, `1h`, `7d`, `month`, `quarter`, `year`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Step(pub telemetry_windows::Step);

const MINUTE: i64 = 1;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The steps that follow the calendar, by name.
const CALENDAR: [(&str, telemetry_windows::Step); 3] = [
    ("month", telemetry_windows::Step::Month),
    ("quarter", telemetry_windows::Step::Quarter),
    ("year", telemetry_windows::Step::Year),
];

impl Step {
    /// The steps to choose from when the request names none, in minutes.
    const ROUND: [i64; 14] = [
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        15 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
        DAY,
        7 * DAY,
        28 * DAY,
    ];

    /// Returns the smallest round step that cuts a range into at most 1000 windows.
    #[must_use]
    pub fn for_range(range: TimeDelta) -> Self {
        let fits = |step: &i64| range.num_minutes() / step < 1000;
        Self::minutes(Self::ROUND.into_iter().find(fits).unwrap_or(366 * DAY))
    }

    fn minutes(minutes: i64) -> Self {
        Self(TimeDelta::minutes(minutes).into())
    }
}

impl FromStr for Step {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = BadValue(
            "expected a number of minutes, hours or days, such as 30m, 1h or 7d, at most 366d; or month, quarter or year",
        );
        if let Some((_, step)) = CALENDAR.iter().find(|(name, _)| *name == text) {
            return Ok(Self(*step));
        }
        let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(bad)?;
        let unit = match unit {
            "m" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            _ => return Err(bad),
        };
        let minutes =
            number.parse::<u32>().ok().filter(|_| !number.starts_with('+')).map(|n| i64::from(n) * unit);
        let minutes = minutes.filter(|minutes| (1..=366 * DAY).contains(minutes)).ok_or(bad)?;
        Ok(Self::minutes(minutes))
    }
}

impl TryFrom<String> for Step {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = match self.0 {
            telemetry_windows::Step::Length(length) => length,
            calendar => {
                let name = CALENDAR.iter().find(|(_, step)| *step == calendar);
                return f.write_str(name.map_or("", |(name, _)| name));
            }
        };
        match length.num_minutes() {
            minutes if minutes % DAY == 0 => write!(f, "{}d", minutes / DAY),
            minutes if minutes % HOUR == 0 => write!(f, "{}h", minutes / HOUR),
            minutes => write!(f, "{minutes}m"),
        }
    }
}

/// What windows without readings are given as their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema, async_graphql::Enum)]
#[serde(rename_all = "snake_case")]
#[graphql(name = "WindowFill", remote = "telemetry_windows::Fill")]
pub enum Fill {
    /// No value at all.
    Null,
    /// The value of the last reading before the window.
    Previous,
    /// The straight line between the last reading before the window and the first one after it.
    Linear,
}

/// A time zone by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Zone(pub chrono_tz::Tz);

impl Default for Zone {
    fn default() -> Self {
        Self(chrono_tz::UTC)
    }
}

impl FromStr for Zone {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        text.parse().map(Self).map_err(|_| BadValue("expected a time zone such as UTC or Europe/Berlin"))
    }
}

impl TryFrom<String> for Zone {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_as_it_is_written() {
        for (text, shown) in [("30m", "30m"), ("60m", "1h"), ("90m", "90m"), ("24h", "1d"), ("366d", "366d")]
        {
            assert_eq!(text.parse().map(|step: Step| step.to_string()).as_deref(), Ok(shown));
        }
        for calendar in ["month", "quarter", "year"] {
            assert_eq!(calendar.parse().map(|step: Step| step.to_string()).as_deref(), Ok(calendar));
        }
        for bad in [
            "months",
            "Month",
            "1month",
            "week",
            "",
            "m",
            "0m",
            "-1m",
            "+1m",
            "1",
            "1s",
            "1.5h",
            "367d",
            "99999999999d",
            "1é",
            "é",
        ] {
            assert!(bad.parse::<Step>().is_err(), "{bad}");
        }
    }

    #[test]
    fn without_a_step_a_range_has_at_most_a_thousand_windows() {
        for (minutes, step) in [(1, "1m"), (24 * 60, "2m"), (30 * DAY, "1h"), (9999 * 366 * DAY, "366d")] {
            assert_eq!(Step::for_range(TimeDelta::minutes(minutes)).to_string(), step);
        }
    }

    #[test]
    fn a_page_begins_after_a_plain_decimal_number() {
        assert_eq!(After::try_from("0".to_owned()), Ok(After(0)));
        assert_eq!(After::try_from("17".to_owned()), Ok(After(17)));
        for bad in ["", "-1", "+5", "05", "1.0", " 1", "99999999999999999999"] {
            assert!(After::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_limit_is_one_to_a_thousand() {
        assert!([1, 100, 1000].into_iter().all(|n| Limit::try_from(n).is_ok()));
        assert!([-1, 0, 1001, 1_000_000_000].into_iter().all(|n| Limit::try_from(n).is_err()));
    }

    #[test]
    fn a_moment_is_within_the_calendar() {
        let moment = |text: &str| Moment::try_from(text.parse::<DateTime<Utc>>().expect("a time"));
        assert!(moment("2026-03-01T00:00:00+07:00").is_ok());
        assert!(moment("+10000-01-01T00:00:00Z").is_err());
        assert!(moment("-0001-12-31T00:00:00Z").is_err());
        let between = moment("2026-03-01T00:00:00.0000001Z");
        assert_eq!(between, moment("2026-03-01T00:00:00.000001Z"), "the next microsecond");
    }
}
