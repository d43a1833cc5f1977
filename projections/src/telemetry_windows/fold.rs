//! Folds readings into windows. Pure, and the hot path: folding an event allocates nothing once its device, metrics
//! and minute have been met in the page.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::telemetry;
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, Position};

use crate::read_model::Poison;

/// What a page of events adds to the windows of minutes; hours and days follow from those.
#[derive(Default)]
pub struct Fold {
    devices: Vec<Device>,
    device_by_id: HashMap<Box<str>, u32>,
    pub(super) series: Vec<Series>,
    pub(super) windows: Vec<Window>,
    window_by_minute: HashMap<(u32, i64), u32>,
    /// The metrics of one event, until all of them are known to be good.
    scratch: Vec<(u32, f64)>,
}

#[derive(Default)]
struct Device {
    id: Box<str>,
    /// In the order in which the metrics were met. A device mostly sends the same metrics in the same order, so the
    /// metric at the same place is compared first.
    metrics: Vec<(Box<str>, u32)>,
    metric_by_name: HashMap<Box<str>, u32>,
}

/// A metric of a device.
pub(super) struct Series {
    device: u32,
    metric: Box<str>,
    /// The window of the latest reading, which is probably the window of the next one.
    window: u32,
}

/// What some readings of a metric add to a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    /// The index of the series in the fold.
    pub(super) series: u32,
    /// The start of the window, in seconds of the Unix epoch.
    pub(super) start: i64,
    pub(super) count: i64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) first: f64,
    pub(super) first_at: DateTime<Utc>,
    pub(super) last: f64,
    pub(super) last_at: DateTime<Utc>,
    /// The last of the readings in the log. `None` as long as it is not known of one of them.
    pub(super) position: Option<Position>,
}

impl Window {
    fn of(series: u32, start: i64, event: &Event, value: f64) -> Self {
        let at = event.occurred_at;
        Self {
            series,
            start,
            count: 1,
            sum: value,
            min: value,
            max: value,
            first: value,
            first_at: at,
            last: value,
            last_at: at,
            position: Some(event.position),
        }
    }

    /// Adds readings that come later in the log. Of two readings at the same time, `first` is the one earlier in the
    /// log, and `last` the later one.
    pub(super) fn add(&mut self, later: &Self) {
        self.count += later.count;
        self.sum += later.sum;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        if later.first_at < self.first_at {
            (self.first, self.first_at) = (later.first, later.first_at);
        }
        if later.last_at >= self.last_at {
            (self.last, self.last_at) = (later.last, later.last_at);
        }
        self.position = self.position.zip(later.position).map(|(one, other)| one.max(other));
    }
}

impl Fold {
    /// Adds an event, whose metrics are what the sources say today. On an error no window has changed.
    pub(super) fn add(&mut self, event: &Event, sources: &Sources) -> Result<(), Poison> {
        if &*event.aggregate_type != telemetry::AGGREGATE_TYPE {
            return Ok(());
        }
        if &*event.event_type != telemetry::EVENT_TYPE {
            return Err(Poison::new(format_args!("telemetry has no event of type {}", event.event_type)));
        }
        let device_index = self.device(&event.aggregate_id);
        let Self { devices, series, scratch, .. } = self;
        let device = &mut devices[device_index as usize];
        scratch.clear();
        let metrics = sources.metrics(event.flags(), &event.payload.0, |metric, value| {
            let nth = scratch.len();
            scratch.push((device.series(device_index, nth, metric, series), value));
        });
        metrics.map_err(Poison::new)?;
        let minute = event.occurred_at.timestamp().div_euclid(60) * 60;
        for at in 0..self.scratch.len() {
            let (series, value) = self.scratch[at];
            self.add_value(&Window::of(series, minute, event, value));
        }
        Ok(())
    }

    pub(super) fn size(&self) -> usize {
        /// The bytes of a window with its place in the map, and of a metric's name, which is kept three times, with
        /// its places.
        const SIZES: (usize, usize) = (size_of::<Window>() + 32, 256);
        self.windows.len() * SIZES.0 + self.series.len() * SIZES.1
    }

    /// The device and the metric of a series.
    pub(super) fn name(&self, series: u32) -> (&str, &str) {
        let series = &self.series[series as usize];
        (&self.devices[series.device as usize].id, &series.metric)
    }

    fn device(&mut self, id: &str) -> u32 {
        if let Some(&index) = self.device_by_id.get(id) {
            return index;
        }
        let index = self.devices.len() as u32;
        self.devices.push(Device { id: id.into(), ..Device::default() });
        self.device_by_id.insert(id.into(), index);
        index
    }

    fn add_value(&mut self, value: &Window) {
        let series = &mut self.series[value.series as usize];
        let near = self.windows.get(series.window as usize);
        if near.is_none_or(|near| (near.series, near.start) != (value.series, value.start)) {
            let next = self.windows.len() as u32;
            series.window = *self.window_by_minute.entry((value.series, value.start)).or_insert(next);
            if series.window == next {
                self.windows.push(*value);
                return;
            }
        }
        self.windows[series.window as usize].add(value);
    }
}

impl Device {
    /// The index of the series for a metric that is the `nth` of its message.
    fn series(&mut self, device: u32, nth: usize, metric: &str, series: &mut Vec<Series>) -> u32 {
        if let Some((name, index)) = self.metrics.get(nth)
            && **name == *metric
        {
            return *index;
        }
        if let Some(&index) = self.metric_by_name.get(metric) {
            return index;
        }
        let index = series.len() as u32;
        series.push(Series { device, metric: metric.into(), window: u32::MAX });
        self.metrics.push((metric.into(), index));
        self.metric_by_name.insert(metric.into(), index);
        index
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fleetlog_aggregates::telemetry::Flags;
    use fleetlog_event_log::event::StoredMetadata;
    use proptest::prelude::*;

    use super::*;
    use crate::given::{at, given, reading};
    use crate::telemetry_windows::Model;

    fn folded(events: impl IntoIterator<Item = Event>) -> Fold {
        let (fold, results) = given::<Model>(events);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        fold
    }

    /// Device, metric, start, count and sum of each window, in the order in which the windows were met.
    fn windows(fold: &Fold) -> Vec<(String, DateTime<Utc>, i64, f64)> {
        let show = |window: &Window| {
            let (device, metric) = fold.name(window.series);
            let start = DateTime::from_timestamp_secs(window.start).expect("a time");
            (format!("{device} {metric}"), start, window.count, window.sum)
        };
        fold.windows.iter().map(show).collect()
    }

    fn named(
        device_and_metric: &str,
        start: &str,
        count: i64,
        sum: f64,
    ) -> (String, DateTime<Utc>, i64, f64) {
        (device_and_metric.to_owned(), at(start), count, sum)
    }

    #[test]
    fn readings_of_a_metric_in_one_minute_make_a_window() {
        let fold = folded([
            reading("dev-01", "12:00:00", r#"{"t":1,"on":true}"#),
            reading("dev-01", "12:00:59.999999", r#"{"t":2.5}"#),
            reading("dev-02", "12:00:30", r#"{"t":7}"#),
            reading("dev-01", "12:01:00", r#"{"on":false,"t":-1}"#),
        ]);
        let expected = [
            named("t0/dev-01 t", "12:00:00", 2, 3.5),
            named("t0/dev-01 on", "12:00:00", 1, 1.0),
            named("t0/dev-02 t", "12:00:00", 1, 7.0),
            named("t0/dev-01 on", "12:01:00", 1, 0.0),
            named("t0/dev-01 t", "12:01:00", 1, -1.0),
        ];
        assert_eq!(windows(&fold), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_value_counts_once_in_its_minute_in_whatever_order_it_comes(
            readings in prop::collection::vec((0..3_u8, 0..4_u8, 0..300_u32, -1e280..1e280_f64), 0..60),
        ) {
            let mut expected = BTreeMap::<_, Vec<f64>>::new();
            let events = readings.into_iter().map(|(device, metric, second, value)| {
                let (uid, metric) = (format!("dev-{device}"), format!("m{metric}"));
                let occurred_at = format!("12:{:02}:{:02}", second / 60, second % 60);
                let event = reading(&uid, &occurred_at, &format!(r#"{{"{metric}":{value}}}"#));
                let parsed = serde_json::from_str::<f64>(&value.to_string()).expect("a number");
                let start = i64::from(second / 60) * 60 + at("12:00:00").timestamp();
                expected.entry((format!("t0/{uid}"), metric, start)).or_default().push(parsed);
                event
            });
            let events: Vec<_> = events.collect();
            let fold = folded(events);
            prop_assert_eq!(fold.windows.len(), expected.len());
            for window in &fold.windows {
                let (device, metric) = fold.name(window.series);
                let values = &expected[&(device.to_owned(), metric.to_owned(), window.start)];
                prop_assert_eq!(window.count as usize, values.len());
                let sum = values[1..].iter().fold(values[0], |sum, value| sum + value);
                let min = values.iter().copied().fold(f64::INFINITY, f64::min);
                let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                prop_assert_eq!((window.sum, window.min, window.max), (sum, min, max));
                prop_assert!(window.first_at <= window.last_at && window.sum.is_finite());
                prop_assert!(values.contains(&window.first) && values.contains(&window.last));
            }
        }
    }

    #[test]
    fn a_late_reading_counts_where_it_occurred() {
        let fold = folded([
            reading("dev-01", "12:00:10", r#"{"t":1}"#),
            reading("dev-01", "12:05:00", r#"{"t":2}"#),
            reading("dev-01", "12:00:05", r#"{"t":3}"#),
        ]);
        let window = fold.windows[0];
        assert_eq!(
            (window.count, window.first, window.last, window.min, window.max),
            (2, 3.0, 1.0, 1.0, 3.0)
        );
        assert_eq!((window.first_at, window.last_at), (at("12:00:05"), at("12:00:10")));
        assert_eq!(window.position, Some(3), "the last one in the log");
    }

    #[test]
    fn of_readings_at_one_moment_the_first_and_the_last_go_by_position() {
        let fold = folded([1, 2, 3].map(|t| reading("dev-01", "12:00:00", &format!(r#"{{"t":{t}}}"#))));
        assert_eq!((fold.windows[0].first, fold.windows[0].last), (1.0, 3.0));
    }

    #[test]
    fn minutes_before_the_epoch_begin_before_their_readings() {
        let fold = folded([reading("dev-01", "0000-01-01T00:00:59.5Z", r#"{"t":1}"#)]);
        assert_eq!(windows(&fold), [named("t0/dev-01 t", "0000-01-01T00:00:00Z", 1, 1.0)]);
        let fold = folded([reading("dev-01", "1969-12-31T23:59:59.5Z", r#"{"t":1}"#)]);
        assert_eq!(windows(&fold), [named("t0/dev-01 t", "1969-12-31T23:59:00Z", 1, 1.0)]);
    }

    #[test]
    fn text_has_the_metrics_that_can_be_read_in_it() {
        let raw = |text: &str| {
            let mut event = reading("dev-01", "12:00:00", &serde_json::json!({ "raw": text }).to_string());
            event.metadata = StoredMetadata::Telemetry { flags: Flags::RAW };
            event
        };
        let fold = folded([raw("t=1"), raw("21.5"), raw(r#"{"t":NaN,"h":40}"#)]);
        let expected =
            [named("t0/dev-01 value", "12:00:00", 1, 21.5), named("t0/dev-01 h", "12:00:00", 1, 40.0)];
        assert_eq!(windows(&fold), expected);
        assert!(folded([reading("dev-01", "12:00:00", r#"{"raw":"21.5"}"#)]).windows.is_empty());
    }

    #[test]
    fn a_metric_counts_once_a_message() {
        let fold = folded([reading("dev-01", "12:00:00", r#"{"t":1,"t":2}"#)]);
        assert_eq!(windows(&fold), [named("t0/dev-01 t", "12:00:00", 1, 2.0)]);
    }

    #[test]
    fn a_payload_that_breaks_off_is_poison_and_counts_nowhere() {
        let broken = reading("dev-01", "12:00:00", r#"{"t":1,"#);
        let (fold, results) = given::<Model>([broken, reading("dev-01", "12:00:00", r#"{"t":2}"#)]);
        assert!(results[0].is_err());
        assert_eq!(windows(&fold), [named("t0/dev-01 t", "12:00:00", 1, 2.0)]);
    }
}
