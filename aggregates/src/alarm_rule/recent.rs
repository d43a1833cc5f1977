//! The lowest and the highest values of the last seconds, in bounded memory.
//!
//! Of the values that are neither lower nor higher than a later one nothing is kept. Of each sixty-fourth of the time, at
//! most one low and one high are: so a change is found if its two readings lie within 63/64 of the time, and none is
//! invented.

use chrono::{DateTime, TimeDelta, Utc};

/// Into how many parts the time is divided.
const PARTS: i64 = 64;

/// A value, and its time in microseconds of the epoch.
type Point = (i64, f64);

/// The values of the last seconds that a later change may be measured from, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recent {
    /// Each is lower than all that come after it in time, until the next one: rising.
    pub lows: Vec<(i64, f64)>,
    /// Falling.
    pub highs: Vec<(i64, f64)>,
}

impl Recent {
    /// Adds a value that is newer than all others, and returns by how much it differs from the one within the time that
    /// differs most.
    pub(super) fn add(&mut self, at: DateTime<Utc>, value: f64, within: TimeDelta) -> f64 {
        let (at, within) = (at.timestamp_micros(), within.num_microseconds().unwrap_or(i64::MAX));
        let part = (within / PARTS).max(1);
        let oldest = at.saturating_sub(within);
        let far = |points: &mut Vec<Point>| {
            let expired = points.partition_point(|(then, _)| *then < oldest);
            points.drain(..expired);
            points.first().map_or(0.0, |(_, extreme)| (value - extreme).abs())
        };
        let change = far(&mut self.lows).max(far(&mut self.highs));
        push(&mut self.lows, (at, value), part, |kept, new| kept < new);
        push(&mut self.highs, (at, value), part, |kept, new| kept > new);
        change
    }
}

/// Drops what the new value makes useless, and adds it, unless the same part of the time has a point that is further out.
fn push(points: &mut Vec<Point>, new: Point, part: i64, is_further_out: impl Fn(f64, f64) -> bool) {
    while points.last().is_some_and(|(_, kept)| !is_further_out(*kept, new.1)) {
        points.pop();
    }
    if points.last().is_none_or(|(then, _)| then.div_euclid(part) != new.0.div_euclid(part)) {
        points.push(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
    }

    #[test]
    fn a_change_is_measured_from_the_value_within_the_time_that_differs_most() {
        let (mut recent, minute) = (Recent::default(), TimeDelta::seconds(60));
        let changes: Vec<f64> = [(0, 10.0), (20, 14.0), (40, 12.0), (61, 11.0), (90, 20.0), (200, 0.0)]
            .map(|(second, value)| recent.add(at(second), value, minute))
            .to_vec();
        // At 61 s the first value is out of the time; at 200 s all are.
        assert_eq!(changes, [0.0, 4.0, 2.0, 3.0, 9.0, 0.0]);
    }

    #[test]
    fn however_many_values_there_are_only_so_many_points_are_kept() {
        let (mut recent, minute) = (Recent::default(), TimeDelta::seconds(60));
        for n in 0..100_000_u32 {
            let then = at(0) + TimeDelta::milliseconds(i64::from(n));
            let change = recent.add(then, f64::from(n), minute);
            let exact = f64::from(n.min(60_000));
            assert!(change <= exact && change >= exact * 63.0 / 64.0 - 1.0, "{n}: {change}");
        }
        assert!(recent.lows.len() <= 66 && recent.highs.len() <= 66, "{}", recent.lows.len());
    }
}
