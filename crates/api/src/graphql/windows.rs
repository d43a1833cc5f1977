//! Windows of metrics.

use std::borrow::Cow;

use async_graphql::connection::PageInfo;
use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, Object, OutputType, Positioned, ServerResult, Value};
use chrono::{DateTime, Utc};
use fleetlog_event_log::LogId;
use fleetlog_event_log::moment::{Offset, Text};
use fleetlog_projections::telemetry_windows::{Series, SeriesPage, Window as Row};
use serde::Serialize;

use super::loaders::WindowsPage;
use super::scalars::Long;
use crate::rest::parameters::Step;

/// A device's windows, and how they were cut.
pub(super) struct Windows {
    pub(super) log_id: LogId,
    pub(super) page: WindowsPage,
    pub(super) found: SeriesPage,
}

#[Object]
impl Windows {
    /// The start of the range: the window that holds this moment is the first.
    async fn from(&self) -> DateTime<Utc> {
        self.page.query.from
    }

    /// The end of the range: no window starts at this moment or later.
    async fn to(&self) -> DateTime<Utc> {
        self.page.query.to
    }

    /// How long each window is.
    async fn step(&self) -> String {
        Step(self.page.query.step).to_string()
    }

    /// The IANA time zone whose midnight is the start of a day.
    async fn tz(&self) -> &'static str {
        self.page.query.tz.name()
    }

    /// The number of the log that the readings are in.
    async fn log_id(&self) -> i32 {
        self.log_id.0
    }

    /// The metrics of this page by name, each with its windows.
    async fn series(&self) -> Vec<Metric<'_>> {
        self.found.series.iter().map(Metric).collect()
    }

    /// Whether further metrics follow; `endCursor` is what to pass as `after` then, and null on the last page.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_previous_page: self.page.after.is_some(),
            has_next_page: self.found.next.is_some(),
            start_cursor: None,
            end_cursor: self.found.next.as_ref().map(ToString::to_string),
        }
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

    /// The metric's windows by time. A window without readings is left out, unless `fill` is given.
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
    ("count", |window, text| plain(&window.count, text)),
    ("sum", |window, text| plain(&window.sum, text)),
    ("avg", |window, text| plain(&window.avg, text)),
    ("min", |window, text| plain(&window.min, text)),
    ("max", |window, text| plain(&window.max, text)),
    ("first", |window, text| plain(&window.first, text)),
    ("firstAt", |window, text| optional(window.first_at.as_ref(), text)),
    ("last", |window, text| plain(&window.last, text)),
    ("lastAt", |window, text| optional(window.last_at.as_ref(), text)),
    ("position", |window, text| plain(&window.position, text)),
    ("filled", |window, text| plain(&window.is_filled(), text)),
];

fn time(at: &DateTime<Utc>, text: &mut Vec<u8>) {
    text.push(b'"');
    text.extend_from_slice(Text::of(at, Offset::Digits).as_str().as_bytes());
    text.push(b'"');
}

/// Writes a time, or null.
fn optional(at: Option<&DateTime<Utc>>, text: &mut Vec<u8>) {
    match at {
        Some(at) => time(at, text),
        None => text.extend_from_slice(b"null"),
    }
}

/// Writes a number, true, false or null.
fn plain(value: &impl Serialize, text: &mut Vec<u8>) {
    // Writing such a value into a `Vec<u8>` does not fail.
    let _ = serde_json::to_writer(text, value);
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

    /// The mean of the window's values: `sum` divided by `count`. Null only if the window has no readings, and so are the other
    /// values; see `filled`.
    async fn avg(&self) -> Option<f64> {
        self.0.avg
    }

    /// The smallest of the window's values.
    async fn min(&self) -> Option<f64> {
        self.0.min
    }

    /// The largest of the window's values.
    async fn max(&self) -> Option<f64> {
        self.0.max
    }

    /// The earliest value, by the device's clock.
    async fn first(&self) -> Option<f64> {
        self.0.first
    }

    /// When the earliest value was taken, by the device's clock. Null if the window has no readings.
    async fn first_at(&self) -> Option<DateTime<Utc>> {
        self.0.first_at
    }

    /// The latest value, by the device's clock.
    async fn last(&self) -> Option<f64> {
        self.0.last
    }

    /// When the latest value was taken, by the device's clock. Null if the window has no readings.
    async fn last_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_at
    }

    /// The position in the log `logId` of the last reading that is counted, by its place in the log. Null if it is not known of
    /// a part of the window.
    async fn position(&self) -> Option<Long> {
        self.0.position.map(Long)
    }

    /// Whether the window has no readings, and is there because of `fill`.
    async fn filled(&self) -> bool {
        self.0.is_filled()
    }
}
