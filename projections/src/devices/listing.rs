//! Which devices to list, in which order, and after which device.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Utc};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;

use super::{Device, Status, UnknownWord};
use crate::paging::{self, BadCursor};

/// The order of a list. Devices that share a time are in the order of their uids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sort {
    /// What the list is ordered by.
    pub by: SortBy,
    /// From the largest to the smallest.
    pub descending: bool,
}

/// What a list of devices may be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SortBy {
    /// The device's name within the tenant.
    #[default]
    Uid,
    /// When the device's newest message arrived. A device that was never seen counts as seen before all others.
    LastSeenAt,
    /// When the device was registered.
    RegisteredAt,
}

impl Sort {
    /// Every order, with the word that a client writes for it.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("uid", Self { by: SortBy::Uid, descending: false }),
        ("-uid", Self { by: SortBy::Uid, descending: true }),
        ("last_seen_at", Self { by: SortBy::LastSeenAt, descending: false }),
        ("-last_seen_at", Self { by: SortBy::LastSeenAt, descending: true }),
        ("registered_at", Self { by: SortBy::RegisteredAt, descending: false }),
        ("-registered_at", Self { by: SortBy::RegisteredAt, descending: true }),
    ];
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WORDS.iter().find(|(_, sort)| sort == self).map_or("uid", |(word, _)| word))
    }
}

impl FromStr for Sort {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, sort)| *sort).ok_or(UnknownWord {
            expected: "uid, -uid, last_seen_at, -last_seen_at, registered_at, -registered_at",
        })
    }
}

/// Which devices to list, and how.
#[derive(Debug, Clone)]
pub struct Query {
    /// Only devices whose uid or name contains this text, in upper or lower case.
    pub q: Option<String>,
    /// Only devices that carry all of these labels.
    pub labels: Option<Labels>,
    /// Only devices with this status. `None` lists all devices in service; decommissioned devices must be asked for.
    pub status: Option<Status>,
    /// The order of the list.
    pub sort: Sort,
    /// Only devices after this one in the list.
    pub after: Option<Cursor>,
    /// The most devices to return.
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self { q: None, labels: None, status: None, sort: Sort::default(), after: None, limit: 100 }
    }
}

/// The place of a device in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) sort: Sort,
    /// The time that the list is sorted by. `None` if the list is sorted by uid, or the device was never seen.
    pub(super) time: Option<DateTime<Utc>>,
    pub(super) uid: Uid,
}

impl Cursor {
    /// The place of a device in a list of this order.
    #[must_use]
    pub fn of(device: &Device, sort: Sort) -> Self {
        let time = match sort.by {
            SortBy::Uid => None,
            SortBy::LastSeenAt => device.last_seen_at,
            SortBy::RegisteredAt => Some(device.registered_at),
        };
        Self { sort, time, uid: device.uid.clone() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.map(|time| time.timestamp_micros());
        f.write_str(&paging::encode(&(self.sort.to_string(), time, &self.uid)))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (sort, micros, uid): (String, Option<i64>, Uid) = paging::decode(text)?;
        let sort = sort.parse().map_err(|_| BadCursor::Malformed)?;
        let time = micros.map(|micros| DateTime::from_timestamp_micros(micros).ok_or(BadCursor::Malformed));
        let time = time.transpose()?;
        // The database's calendar is narrower than chrono's.
        if time.is_some_and(|time| !(0..=9999).contains(&time.year())) {
            return Err(BadCursor::Malformed);
        }
        Ok(Self { sort, time, uid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(sort: &str, time: Option<&str>) -> Cursor {
        let time = time.map(|time| time.parse().expect("a time"));
        Cursor { sort: sort.parse().expect("a sort"), time, uid: "dev-01".parse().expect("a uid") }
    }

    #[test]
    fn every_sort_is_read_as_it_is_written() {
        for (word, sort) in Sort::WORDS {
            assert_eq!((word.parse(), sort.to_string().as_str()), (Ok(sort), word));
        }
        assert!("name".parse::<Sort>().is_err());
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for cursor in [
            cursor("uid", None),
            cursor("-last_seen_at", None),
            cursor("last_seen_at", Some("2026-03-01T12:00:00.123456Z")),
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn a_forged_cursor_is_refused() {
        for forged in [
            paging::encode(&("name", None::<i64>, "dev-01")),
            paging::encode(&("uid", None::<i64>, "a b")),
            paging::encode(&("uid", None::<i64>, "a\0")),
            paging::encode(&("uid", Some(i64::MAX), "dev-01")),
            paging::encode(&("uid", Some(-62_200_000_000_000_000_i64), "dev-01")),
            paging::encode(&("uid", "dev-01")),
            "nonsense".to_owned(),
        ] {
            assert_eq!(forged.parse::<Cursor>(), Err(BadCursor::Malformed), "{forged}");
        }
    }
}
