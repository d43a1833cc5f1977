//! Reads positions among the arguments of commands.

use fleetlog_event_log::place::{self, LogPosition};
use fleetlog_event_log::{LogId, Position};

/// Reads the position of an event: 1, 2, 3 …
pub(super) fn position(text: &str) -> Result<Position, &'static str> {
    place::position(text).filter(|position| *position > 0).ok_or("expected a position, as 1042")
}

/// Reads the place of an event.
pub(super) fn of_event(text: &str) -> Result<(LogId, Position), &'static str> {
    let place = text.parse().ok().filter(|place: &LogPosition| place.log_id.0 > 0 && place.position > 0);
    let place = place.map(|LogPosition { log_id, position }| (log_id, position));
    place.ok_or("expected a log and a position in it, as 2:1042")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_plain_decimal_number_from_one_on() {
        assert_eq!((position("1"), of_event("2:1042")), (Ok(1), Ok((LogId(2), 1042))));
        for bad in ["0", "-1", "+5", "05", "", "five"] {
            assert!(position(bad).is_err() && of_event(&format!("2:{bad}")).is_err(), "{bad}");
            assert!(of_event(&format!("{bad}:1")).is_err(), "{bad}");
        }
    }
}
