//! How far a follower has come in each log that it follows.

use std::fmt;
use std::str::FromStr;

use fleetlog_event_log::place::{BadPlace, LogPosition};
use fleetlog_event_log::{LogId, Position, TenantLog};

/// The most logs that one follower follows.
pub const MAX_LOGS: usize = 8;

/// A place in each log that is followed, in the order of the logs: at least one. As text: `1:42`, or `1:42,2:977`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places(Vec<LogPosition>);

/// Why a follower cannot go on after some places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlaces {
    /// The text is no list of places.
    #[error("expected the position of each log that is followed: 1:42, or 1:42,2:977")]
    Text,
    /// The tenant has no such log.
    #[error("there is no log {0}")]
    NoSuchLog(LogId),
    /// The log does not go that far.
    #[error("log {log_id} ends at position {head} now")]
    BeyondHead {
        /// The log.
        log_id: LogId,
        /// Its last position.
        head: Position,
    },
    /// A log is followed that is not named, or named and not followed.
    #[error("expected the positions of these logs and of no others: {0}")]
    OtherLogs(String),
}

impl Places {
    /// These places. `None`: there is none, there are too many, or two are in one log.
    #[must_use]
    pub fn new(mut places: Vec<LogPosition>) -> Option<Self> {
        places.sort_unstable_by_key(|place| place.log_id);
        let is_double = places.windows(2).any(|pair| pair[0].log_id == pair[1].log_id);
        ((1..=MAX_LOGS).contains(&places.len()) && !is_double).then_some(Self(places))
    }

    /// The logs.
    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        self.0.iter().map(|place| place.log_id)
    }

    /// The place in a log; `None` if the log is not followed.
    #[must_use]
    pub fn of(&self, log_id: LogId) -> Option<Position> {
        self.0.iter().find(|place| place.log_id == log_id).map(|place| place.position)
    }

    /// Goes on to a position of a log that is followed.
    pub fn advance(&mut self, log_id: LogId, position: Position) {
        if let Some(place) = self.0.iter_mut().find(|place| place.log_id == log_id) {
            place.position = place.position.max(position);
        }
    }

    /// Checks that these are places in the tenant's logs, and in exactly those that are to be followed.
    ///
    /// # Errors
    ///
    /// [`BadPlaces`], if they are not.
    pub fn check(&self, log: &TenantLog, followed: &[LogId]) -> Result<(), BadPlaces> {
        for place in &self.0 {
            let known = log.heads().log(place.log_id);
            let known = known.filter(|known| known.tenant == log.tenant().as_str());
            let head = known.ok_or(BadPlaces::NoSuchLog(place.log_id))?.head;
            if head < place.position {
                return Err(BadPlaces::BeyondHead { log_id: place.log_id, head });
            }
        }
        if self.logs().eq(followed.iter().copied()) {
            return Ok(());
        }
        let names: Vec<_> = followed.iter().map(ToString::to_string).collect();
        Err(BadPlaces::OtherLogs(names.join(", ")))
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, place) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{place}")?;
        }
        Ok(())
    }
}

impl FromStr for Places {
    type Err = BadPlaces;

    fn from_str(text: &str) -> Result<Self, BadPlaces> {
        let places = text.split(',').map(str::parse).collect::<Result<_, BadPlace>>();
        Self::new(places.map_err(|_| BadPlaces::Text)?).ok_or(BadPlaces::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_from_their_text() {
        for text in ["1:42", "1:0,2:977"] {
            assert_eq!(text.parse::<Places>().map(|places| places.to_string()).as_deref(), Ok(text));
        }
        let sorted = "2:977,1:42".parse::<Places>().map(|places| places.to_string());
        assert_eq!(sorted.as_deref(), Ok("1:42,2:977"));
        for bad in
            ["", ",", "1:42,", "1:42,1:43", "1:-1", "1:42 2:977", "x", "1:1,2:1,3:1,4:1,5:1,6:1,7:1,8:1,9:1"]
        {
            assert_eq!(bad.parse::<Places>(), Err(BadPlaces::Text), "{bad:?}");
        }
    }

    #[test]
    fn a_place_never_goes_back_and_none_is_added() {
        let mut places: Places = "1:42,2:977".parse().expect("places");
        places.advance(LogId(1), 41);
        places.advance(LogId(2), 978);
        places.advance(LogId(3), 5);
        assert_eq!(places.to_string(), "1:42,2:978");
    }
}
