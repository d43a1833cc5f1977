//! Windows of metrics.

use std::borrow::Cow;

use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, Object, OutputType, Positioned, ServerResult, Value};
use chrono::{DateTime, Utc};
use fleetlog_event_log::LogId;
use fleetlog_event_log::moment::{Offset, Text};
use fleetlog_projections::telemetry_windows::{Series, Window as Row, WindowsQuery};
use serde::Serialize;

use super::scalars::Long;
use crate::rest::parameters::Step;

/// A device's windows, and how they were cut.
pub(super) struct Windows {
    pub(super) log_id: LogId,
    pub(super) query: WindowsQuery,
    pub(super) series: Vec<Series>,
}

#[Object]
impl Windows {
    /// The start of the range: the window that holds this moment is the first.
    async fn from(&self) -> DateTime<Utc> {
        self.query.from
    }

    /// The end of the range: no window starts at this moment or later.
    async fn to(&self) -> DateTime<Utc> {
        self.query.to
    }

    /// How long each window is.
    async fn step(&self) -> String {
        Step(self.query.step).to_string()
    }

    /// The IANA time zone whose midnight is the start of a day.
    async fn tz(&self) -> &'static str {
        self.query.tz.name()
    }

    /// The number of the log that the readings are in.
    async fn log_id(&self) -> i32 {
        self.log_id.0
    }

    /// The metrics of the device, each with its windows.
    async fn series(&self) -> Vec<Metric<'_>> {
        self.series.iter().map(Metric).collect()
    }
}

/// One metric over time.
struct Metric<'s>(&'s Series);

#[Object(name = "MetricSeries")]
impl Metric<'_> {
    /// The name of the metric, such as `temperature`.
    async fn metric(&self) -> &str {
        &self.0.metric
    }

    /// The metric's windows by time. A window without readings is left out.
    async fn windows(&self) -> List<'_> {
        List(&self.0.windows)
    }
}

/// All windows of a metric, of which there may be thousands, with a dozen fields each: the library would make a future and
/// a value of every one of them, at ten times the cost of all the rest. Where nothing but fields is asked for, they are
/// written as the text of the answer at once.
struct List<'s>(&'s [Row]);

impl OutputType for List<'_> {
    fn type_name() -> Cow<'static, str> {
        <Vec<Window<'_>> as OutputType>::type_name()
    }

    fn qualified_type_name() -> String {
        <Vec<Window<'_>> as OutputType>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <Vec<Window<'_>> as OutputType>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        context: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        if let Some(columns) = Columns::of(&context.item.node) {
            return Ok(Value::Binary(columns.write(self.0).into()));
        }
        let windows: Vec<_> = self.0.iter().map(Window).collect();
        OutputType::resolve(&windows, context, field).await
    }
}

/// Writes one field of a window as JSON.
type Write = fn(&Row, &mut Vec<u8>);

/// The fields that are asked for, each with the text that precedes its value: a separator and the field's name.
struct Columns(Vec<(String, Write)>);

impl Columns {
    /// Returns `None` if the selection holds anything but plain fields.
    fn of(asked: &SelectionSet) -> Option<Self> {
        let mut columns: Vec<(String, Write)> = vec![];
        for selection in &asked.items {
            let Selection::Field(field) = &selection.node else { return None };
            if !field.node.directives.is_empty() {
                return None;
            }
            let (name, key) = (field.node.name.node.as_str(), field.node.response_key().node.as_str());
            let (_, write) = WRITTEN.iter().find(|(written, _)| *written == name)?;
            let key = format!("{}{}:", if columns.is_empty() { '{' } else { ',' }, serde_json::json!(key));
            // A field that is asked for twice appears once in the answer; the library has already refused two fields
            // under one name.
            if columns.iter().all(|(other, _)| other[1..] != key[1..]) {
                columns.push((key, *write));
            }
        }
        Some(Self(columns))
    }

    fn write(&self, windows: &[Row]) -> Vec<u8> {
        let mut text = Vec::with_capacity(windows.len() * self.0.len() * 32 + 2);
        text.push(b'[');
        for (nth, window) in windows.iter().enumerate() {
            if nth > 0 {
                text.push(b',');
            }
            for (key, write) in &self.0 {
                text.extend_from_slice(key.as_bytes());
                write(window, &mut text);
            }
            text.push(b'}');
        }
        text.push(b']');
        text
    }
}

/// The fields of [`Window`], with the functions that write them.
const WRITTEN: &[(&str, Write)] = &[
    ("start", |window, text| time(&window.start, text)),
    ("end", |window, text| time(&window.end, text)),
    ("count", |window, text| number(&window.count, text)),
    ("sum", |window, text| number(&window.sum, text)),
    ("avg", |window, text| number(&window.avg, text)),
    ("min", |window, text| number(&window.min, text)),
    ("max", |window, text| number(&window.max, text)),
    ("first", |window, text| number(&window.first, text)),
    ("firstAt", |window, text| time(&window.first_at, text)),
    ("last", |window, text| number(&window.last, text)),
    ("lastAt", |window, text| time(&window.last_at, text)),
    ("position", |window, text| number(&window.position, text)),
];

fn time(at: &DateTime<Utc>, text: &mut Vec<u8>) {
    text.push(b'"');
    text.extend_from_slice(Text::of(at, Offset::Digits).as_str().as_bytes());
    text.push(b'"');
}

/// Writes a number, or null.
fn number(number: &impl Serialize, text: &mut Vec<u8>) {
    // Writing a number into a `Vec<u8>` does not fail.
    let _ = serde_json::to_writer(text, number);
}

/// A metric's statistics in one window.
pub(super) struct Window<'s>(pub(super) &'s Row);

#[Object]
impl Window<'_> {
    /// The moment at which the window starts.
    async fn start(&self) -> DateTime<Utc> {
        self.0.start
    }

    /// The moment at which the next window starts.
    async fn end(&self) -> DateTime<Utc> {
        self.0.end
    }

    /// The number of readings in the window.
    async fn count(&self) -> Long {
        Long(self.0.count)
    }

    /// The sum of the window's values.
    async fn sum(&self) -> f64 {
        self.0.sum
    }

    /// The mean of the window's values: `sum` divided by `count`.
    async fn avg(&self) -> f64 {
        self.0.avg
    }

    /// The smallest of the window's values.
    async fn min(&self) -> f64 {
        self.0.min
    }

    /// The largest of the window's values.
    async fn max(&self) -> f64 {
        self.0.max
    }

    /// The earliest value, by the device's clock.
    async fn first(&self) -> f64 {
        self.0.first
    }

    /// When the earliest value was taken, by the device's clock.
    async fn first_at(&self) -> DateTime<Utc> {
        self.0.first_at
    }

    /// The latest value, by the device's clock.
    async fn last(&self) -> f64 {
        self.0.last
    }

    /// When the latest value was taken, by the device's clock.
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }

    /// The position in the log `logId` of the last reading that is counted, by its place in the log. Null if it is not known of
    /// a part of the window.
    async fn position(&self) -> Option<Long> {
        self.0.position.map(Long)
    }
}
