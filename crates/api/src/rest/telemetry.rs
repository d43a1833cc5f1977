//! A device's readings, as they are on the record.

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_access::action::typed::TelemetryRead;
use fleetlog_event_log::archived::holes::Sought;
use fleetlog_event_log::event::Json as StoredJson;
use fleetlog_event_log::{Lane, TenantLog, moment, read};
use fleetlog_projections::devices::{self, Device};
use fleetlog_projections::paging::{self, BadCursor};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::archived::OnRecord;
use super::error::Error;
use super::extract::{Query, parse};
use super::logs::in_lane;
use super::min_position;
use super::page::{Counted, List};
use super::parameters::{Limit, LogPosition, Moment, Order, check_span};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(read_telemetry)
}

/// Selects the readings of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only readings from this moment on, by the device's clock.
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<Moment>,
    /// Only readings before this moment, by the device's clock.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<Moment>,
    /// The order: oldest (`asc`) or newest (`desc`) first. Without it: newest first.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Whether to count the items of all pages, up to 100,000. If there are more, `total_is_lower_bound` is true. Each 10,000
    /// items that are counted cost as much as a further request.
    #[serde(default)]
    count: bool,
    /// Wait, for at most 2 s, until this event is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "2:42")]
    min_position: Option<LogPosition>,
}

/// A reading, as it is on the record.
#[derive(Serialize, ToSchema)]
#[schema(as = Reading)]
pub struct Item {
    /// The uid of the device that sent the reading.
    pub device_uid: String,
    /// The payload that the device sent.
    #[schema(value_type = Object)]
    pub payload: StoredJson,
    /// When the reading was taken, by the device's clock.
    #[serde(serialize_with = "moment::serialize")]
    pub ts: DateTime<Utc>,
    /// The device's message id, or the id that the server made for the message.
    pub msg_id: String,
    /// When the reading was recorded, by the server's clock.
    #[serde(serialize_with = "moment::serialize")]
    pub recorded_at: DateTime<Utc>,
    /// The reading's position in the telemetry log.
    pub position: i64,
    /// Remarks that ingest made about the reading: `raw`, `late`, `clock_ahead`, `no_msg_id`, `no_ts`, `partial`, `online`, `offline`, `will`, `bad_ts`, `bad_msg_id`, `id_reused`, `repeated_key`, `no_metrics`, `sourced`.
    pub flags: Vec<&'static str>,
}

impl From<read::Reading> for Item {
    fn from(reading: read::Reading) -> Self {
        Self {
            device_uid: reading.uid.into(),
            payload: reading.payload,
            ts: reading.occurred_at,
            msg_id: reading.msg_id,
            recorded_at: reading.recorded_at,
            position: reading.position,
            flags: reading.flags.names().collect(),
        }
    }
}

/// The place of a reading among its device's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(DateTime<Utc>, i64);

impl Place {
    /// Returns the place of a reading.
    #[must_use]
    pub fn of(reading: &read::Reading) -> Self {
        Self(reading.occurred_at, reading.position)
    }

    /// Returns the place as the log's queries take it.
    #[must_use]
    pub fn beyond(self) -> (DateTime<Utc>, i64) {
        (self.0, self.1)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&paging::encode(&(self.0.timestamp_micros(), self.1)))
    }
}

impl std::str::FromStr for Place {
    type Err = BadCursor;

    fn from_str(cursor: &str) -> Result<Self, BadCursor> {
        let (micros, position): (i64, i64) = paging::decode(cursor)?;
        let at = DateTime::from_timestamp_micros(micros).and_then(|at| Moment::try_from(at).ok());
        at.filter(|_| position > 0).map(|at| Self(at.0, position)).ok_or(BadCursor::Malformed)
    }
}

/// Returns the moment before which none of the tenant's readings are shown.
#[must_use]
pub fn shown_since(log: &TenantLog) -> Option<DateTime<Utc>> {
    log.terms().of(log.tenant().as_str()).shown_since(log.now())
}

/// Lists a device's readings, newest first unless `order` says otherwise. Where readings were removed because they are over age,
/// `archived` says which ranges may have held some of this device and of the span.
#[utoipa::path(
    get, path = "/telemetry/{uid}", tag = "telemetry", operation_id = "read_telemetry",
    params(("uid" = String, Path, description = "The device's uid"), Which),
    responses(
        (status = 200, description = "A page of readings", body = OnRecord<Item>),
        (status = 404, description = "No such device"),
    ),
)]
async fn read_telemetry(
    door: May<TelemetryRead, Device>,
    Query(which): Query<Which>,
) -> Result<Counted<OnRecord<Item>>, Error> {
    check_span(which.from, which.to).map_err(|error| Error::field("from", error))?;
    let span = read::Span {
        // `None` sorts below every moment, so `max` keeps the given one.
        from: which.from.map(|from| from.0).max(shown_since(door.log())),
        to: which.to.map(|to| to.0),
        ascending: which.order == Order::Asc,
        beyond: parse("cursor", which.cursor.as_deref())?.map(Place::beyond),
    };
    min_position::of_log(door.log(), which.min_position).await?;
    let log_id = in_lane(door.log(), Lane::Telemetry)?;
    let readings = door.log().readings_page(log_id, &door.id, span, which.limit.0).await?;
    if readings.items.is_empty() {
        must_exist(&door).await?;
    }
    let total =
        if which.count { Some(door.log().readings_total(log_id, &door.id, span).await?) } else { None };
    let asked = read::Span { from: which.from.map(|from| from.0), ..span };
    let stream = door.log().stream(&door.id).to_string();
    let holes = door.log().holes(log_id, &sought(&stream, asked, &readings)).await?;
    let list = List::page(readings, |reading| Place::of(reading).to_string());
    Ok(OnRecord::counted(list, holes, &door.caller, total))
}

/// What a page of a device's readings speaks of: from where it begins to its last reading or, if it is the last page, as far as
/// was asked for.
#[must_use]
pub fn sought<'q>(stream: &'q str, span: read::Span, page: &paging::Page<read::Reading>) -> Sought<'q> {
    let read::Span { from, to, ascending, beyond } = span;
    let begin = beyond.map(|(at, _)| at);
    let end = page.items.last().filter(|_| page.has_more).map(|last| last.occurred_at);
    // Until a moment and not before it: the next page may go on at the same one.
    let until = |at: DateTime<Utc>| at + TimeDelta::microseconds(1);
    let occurred = if ascending {
        (begin.or(from), end.map(until).or(to))
    } else {
        (end.or(from), begin.map(until).or(to))
    };
    Sought { occurred, stream: Some(stream), descending: !ascending, ..Sought::default() }
}

/// Answers 404 if the device does not exist, as opposed to one that has sent nothing.
pub(super) async fn must_exist(door: &May<TelemetryRead, Device>) -> Result<(), Error> {
    let uids = std::slice::from_ref(&door.id);
    let known = devices::get(door.log(), uids, door.app.online()).await?;
    if known.is_empty() { Err(Error::missing::<Device>()) } else { Ok(()) }
}
