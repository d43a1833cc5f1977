//! Thins out windows so that a line through their averages keeps its shape (LTTB). Pure.

use super::Window;

/// Keeps `points` windows, at least 2, with which the averages over time keep their shape. All of them have readings.
pub(super) fn thin_out(windows: &mut Vec<Window>, points: usize) {
    if windows.len() <= points {
        return;
    }
    if points < 3 {
        // Two points leave no triangle to compare: only the ends are kept.
        windows.drain(1..windows.len() - 1);
        return;
    }
    let point = |window: &Window| {
        lttb::DataPoint::new(window.start.timestamp() as f64, window.avg.unwrap_or_default())
    };
    let mut kept = lttb::lttb(windows.iter().map(point).collect(), points).into_iter().peekable();
    windows.retain(|window| kept.next_if(|point| point.x as i64 == window.start.timestamp()).is_some());
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn windows(averages: &[f64]) -> Vec<Window> {
        let window = |(minute, &avg): (i64, &f64)| {
            let at = DateTime::from_timestamp_secs(minute * 60).expect("a time");
            Window {
                start: at,
                end: at,
                count: 1,
                sum: avg,
                avg: Some(avg),
                min: Some(avg),
                max: Some(avg),
                first: Some(avg),
                first_at: Some(at),
                last: Some(avg),
                last_at: Some(at),
                position: Some(minute),
            }
        };
        (0..).zip(averages).map(window).collect()
    }

    fn thinned(averages: &[f64], points: usize) -> Vec<f64> {
        let mut windows = windows(averages);
        thin_out(&mut windows, points);
        windows.iter().filter_map(|window| window.avg).collect()
    }

    #[test]
    fn thinning_out_keeps_the_first_the_last_and_the_peak() {
        let mut line = [0.0; 100];
        line[40] = 9.0;
        line[0] = 1.0;
        line[99] = 2.0;
        let kept = thinned(&line, 10);
        assert_eq!((kept.len(), kept[0], kept[9]), (10, 1.0, 2.0));
        assert!(kept.contains(&9.0), "{kept:?}");
    }

    #[test]
    fn few_windows_stay_as_they_are() {
        for points in [3, 4, 100] {
            assert_eq!(thinned(&[1.0, 2.0, 3.0], points), [1.0, 2.0, 3.0]);
        }
        assert!(thinned(&[], 2).is_empty());
        assert_eq!(thinned(&[1.0, 2.0, 3.0], 2), [1.0, 3.0]);
    }
}
