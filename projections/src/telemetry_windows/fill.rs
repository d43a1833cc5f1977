//! Adds the windows that have no readings. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Fill, Window};

/// A reading's time and value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) at: DateTime<Utc>,
    pub(super) value: f64,
}

/// The nearest readings of a series outside the range.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beside {
    pub(super) before: Option<Point>,
    pub(super) after: Option<Point>,
}

/// All windows of the range: those with readings, and for each other bucket one without. Buckets that end at `since` or earlier are
/// hidden, and get none.
pub(super) fn all(
    fill: Fill,
    boundaries: &[DateTime<Utc>],
    since: Option<DateTime<Utc>>,
    windows: Vec<Window>,
    beside: Beside,
) -> Vec<Window> {
    let mut known = windows.into_iter().peekable();
    let (mut before, mut all) = (beside.before, Vec::with_capacity(boundaries.len()));
    for (&start, &end) in boundaries.iter().zip(&boundaries[1..]) {
        if let Some(window) = known.next_if(|window| window.start == start) {
            before = point(window.last_at, window.last);
            all.push(window);
        } else if since.is_none_or(|since| since < end) {
            let after = known.peek().map_or(beside.after, |next| point(next.first_at, next.first));
            all.push(without_readings(start, end, line(fill, before, after, start, end)));
        }
    }
    all
}

fn point(at: Option<DateTime<Utc>>, value: Option<f64>) -> Option<Point> {
    Some(Point { at: at?, value: value? })
}

/// The values at the start and at the end of a window between two readings.
fn line(
    fill: Fill,
    before: Option<Point>,
    after: Option<Point>,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Option<(f64, f64)> {
    match fill {
        Fill::Null => None,
        Fill::Previous => before.map(|before| (before.value, before.value)),
        Fill::Linear => {
            let (before, after) = before.zip(after)?;
            Some((between(before, after, start), between(before, after, end)))
        }
    }
}

/// The value at a moment on the straight line between two readings.
fn between(before: Point, after: Point, at: DateTime<Utc>) -> f64 {
    let micros = |span: TimeDelta| span.num_microseconds().unwrap_or(i64::MAX) as f64;
    let part = micros(at - before.at) / micros(after.at - before.at);
    before.value + (after.value - before.value) * part
}

fn without_readings(start: DateTime<Utc>, end: DateTime<Utc>, line: Option<(f64, f64)>) -> Window {
    Window {
        start,
        end,
        count: 0,
        sum: 0.0,
        avg: line.map(|(first, last)| f64::midpoint(first, last)),
        min: line.map(|(first, last)| first.min(last)),
        max: line.map(|(first, last)| first.max(last)),
        first: line.map(|(first, _)| first),
        first_at: None,
        last: line.map(|(_, last)| last),
        last_at: None,
        position: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::given::at;

    /// A window of ten minutes from noon on with one reading, a minute after it starts.
    fn window(nth: usize, value: f64) -> Window {
        let start = boundaries()[nth];
        let at = Some(start + TimeDelta::minutes(1));
        let known = without_readings(start, boundaries()[nth + 1], Some((value, value)));
        Window { count: 1, sum: value, first_at: at, last_at: at, position: Some(1), ..known }
    }

    fn boundaries() -> Vec<DateTime<Utc>> {
        (0..6).map(|nth| at("12:00:00") + TimeDelta::minutes(10 * nth)).collect()
    }

    fn filled(fill: Fill, windows: Vec<Window>, beside: Beside) -> Vec<Window> {
        all(fill, &boundaries(), None, windows, beside)
    }

    /// Count, and first, avg and last, of a window.
    type Shown = (i64, Option<(f64, f64, f64)>);

    fn shown(windows: &[Window]) -> Vec<Shown> {
        let values = |w: &Window| Some((w.first?, w.avg?, w.last?));
        windows.iter().map(|w| (w.count, values(w))).collect()
    }

    fn same(count: i64, value: f64) -> Shown {
        (count, Some((value, value, value)))
    }

    #[test]
    fn null_gives_a_window_without_values_for_each_without_readings() {
        let windows = filled(Fill::Null, vec![window(1, 5.0), window(3, 7.0)], Beside::default());
        let none = (0, None);
        assert_eq!(shown(&windows), [none, same(1, 5.0), none, same(1, 7.0), none]);
        let empty = &windows[2];
        assert_eq!((empty.start, empty.end), (at("12:20:00"), at("12:30:00")));
        assert_eq!((empty.sum, empty.first_at, empty.last_at, empty.position), (0.0, None, None, None));
        assert!(empty.is_filled() && !windows[1].is_filled());
    }

    #[test]
    fn previous_holds_the_last_value_from_before_the_range_on() {
        let known = vec![window(1, 5.0), window(3, 7.0)];
        let windows = filled(Fill::Previous, known.clone(), Beside::default());
        assert_eq!(shown(&windows), [(0, None), same(1, 5.0), same(0, 5.0), same(1, 7.0), same(0, 7.0)]);
        let before = Some(Point { at: at("09:00:00"), value: -1.0 });
        let windows = filled(Fill::Previous, known, Beside { before, after: None });
        assert_eq!(shown(&windows)[0], same(0, -1.0));
        let silent = filled(Fill::Previous, vec![], Beside { before, after: None });
        assert_eq!(shown(&silent), [same(0, -1.0); 5]);
    }

    #[test]
    fn linear_lies_on_the_line_between_the_readings_around() {
        // 20 at 12:01 and 60 at 12:41: one a minute.
        let windows = filled(Fill::Linear, vec![window(0, 20.0), window(4, 60.0)], Beside::default());
        let expected = [(29.0, 34.0, 39.0), (39.0, 44.0, 49.0), (49.0, 54.0, 59.0)];
        assert_eq!(shown(&windows[1..4]), expected.map(|values| (0, Some(values))));
        let falling = filled(Fill::Linear, vec![window(0, 60.0), window(4, 20.0)], Beside::default());
        assert_eq!((falling[1].min, falling[1].max), (Some(41.0), Some(51.0)));
        // Nothing lies beyond the last reading, unless one after the range is known.
        let known = vec![window(0, 20.0)];
        assert_eq!(shown(&filled(Fill::Linear, known.clone(), Beside::default()))[1], (0, None));
        let after = Some(Point { at: at("13:01:00"), value: 80.0 });
        let windows = filled(Fill::Linear, known, Beside { before: None, after });
        assert_eq!(shown(&windows)[4], (0, Some((59.0, 64.0, 69.0))));
    }

    #[test]
    fn values_of_any_size_stay_finite() {
        let most = fleetlog_aggregates::metrics::MAX_MAGNITUDE;
        let windows = filled(Fill::Linear, vec![window(0, -most), window(4, most)], Beside::default());
        assert!(windows.iter().all(|w| w.avg.is_some_and(f64::is_finite)));
    }

    #[test]
    fn what_is_hidden_is_not_filled() {
        let since = Some(at("12:20:00"));
        let windows = all(Fill::Null, &boundaries(), since, vec![window(3, 7.0)], Beside::default());
        assert_eq!(windows[0].start, at("12:20:00"));
        assert_eq!(windows.len(), 3);
    }
}
