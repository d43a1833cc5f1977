//! The log itself, for auditors: every event, in order.

use std::borrow::Cow;

use axum::Json;
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::EventsRead;
use fleetlog_aggregates::telemetry::{AGGREGATE_TYPE, EVENT_TYPE};
use fleetlog_event_log::archived::holes::{Holes, Sought};
use fleetlog_event_log::event::{Json as StoredJson, StoredMetadata};
use fleetlog_event_log::read::{EventsPage, Filter, Start};
use fleetlog_event_log::{self as event_log, LogId, Position, TenantLog, place};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::archived::{self, OnRecord};
use super::error::Error;
use super::extract::{AtPosition, NoParameters, Query};
use super::logs::{Log, in_lane};
use super::min_position;
use super::page::{Counted, List};
use super::parameters::{After, Limit, LogPosition, Moment, Order, check_span};
use super::telemetry::shown_since;
use super::wire;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::Resource;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(read_events, read_event, read_record)
}

/// Selects the events of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// `control`, `telemetry`, or the number of a log.
    #[param(default = "control")]
    log: Option<String>,
    /// Only events that come after this position, or before it if `order` is `desc`. Pass a page's `next_cursor` here.
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<After>,
    /// The order: first (`asc`) or last (`desc`) recorded event first. Without it: `asc`.
    #[param(inline)]
    order: Option<Order>,
    /// Only events of this stream: `dev-01`, or with its tenant `t0/dev-01`.
    aggregate: Option<String>,
    /// Only events of streams of this type, such as `Device` or `Command`.
    aggregate_type: Option<String>,
    /// Only events of this type, such as `DeviceRegistered`.
    r#type: Option<String>,
    /// Only events that this actor caused: a user's id, `key:` and an API key's id, `device:` and a uid, `dispatcher`.
    /// Readings have no actor.
    actor: Option<String>,
    /// Only events of the request with this id: its `X-Request-Id`. Readings have none.
    correlation_id: Option<String>,
    /// Only events recorded at this moment or later, by the database's clock.
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<Moment>,
    /// Only events recorded before this moment, by the database's clock.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<Moment>,
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// Whether to count the items of all pages, up to 100,000. If there may be more, `total_is_lower_bound` is true. Each 10,000
    /// items that are counted cost as much as a further request.
    #[serde(default)]
    count: bool,
    /// Wait, for at most 2 s, until this event is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "1:42")]
    min_position: Option<LogPosition>,
}

/// An event, as it is on the record.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
struct Item {
    /// The number of the event's log.
    log_id: i32,
    /// The event's position in its log: 1, 2, 3 … without a gap.
    position: i64,
    /// The type of the aggregate that the event's stream belongs to.
    #[schema(value_type = String, example = "Device")]
    aggregate_type: Cow<'static, str>,
    /// The event's stream: the tenant, and the name within the tenant.
    #[schema(example = "t0/dev-01")]
    aggregate_id: String,
    /// The event's number in its stream: 1, 2, 3 …
    sequence: i64,
    /// What happened: the name of the event.
    #[schema(value_type = String, example = "DeviceRegistered")]
    event_type: Cow<'static, str>,
    /// The version of the payload's format.
    #[schema(value_type = String, example = "1.0")]
    event_version: Cow<'static, str>,
    /// The event's data, as JSON.
    #[schema(value_type = Object)]
    payload: StoredJson,
    /// The event's actor and cause: `actor`, `correlation_id`, `causation_id`; for a reading, its `flags`.
    #[schema(value_type = Object)]
    metadata: StoredMetadata,
    /// When the event happened, by the device's or caller's clock.
    occurred_at: DateTime<Utc>,
    /// When the event was recorded, by the database's clock.
    recorded_at: DateTime<Utc>,
    /// The device's message id; readings only.
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_id: Option<String>,
}

impl From<event_log::Event> for Item {
    fn from(event: event_log::Event) -> Self {
        Self {
            log_id: event.log_id.0,
            position: event.position,
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            event_type: event.event_type,
            event_version: event.event_version,
            payload: event.payload,
            metadata: event.metadata,
            occurred_at: event.occurred_at,
            recorded_at: event.recorded_at,
            msg_id: event.msg_id,
        }
    }
}

/// Lists the events of one of the tenant's logs, in order. Several filters select what all of them let through. With `actor`
/// or `correlation_id`, and without `aggregate`, a page looks through 100,000 events: it may have few items or none while
/// `has_more` is true. Where readings were removed because they are over age, `archived` says which ranges the page passes over.
#[utoipa::path(
    get, path = "/events", tag = "log", operation_id = "read_events", params(Which),
    responses(
        (status = 200, description = "A page of events", body = OnRecord<Item>),
        (status = 404, description = "No such log"),
    ),
)]
async fn read_events(
    door: May<EventsRead>,
    Query(which): Query<Which>,
) -> Result<Counted<OnRecord<Item>>, Error> {
    check_span(which.from, which.to).map_err(|error| Error::field("from", error))?;
    let log_id = log_named(door.log(), which.log.as_deref().unwrap_or("control"))?;
    let within = |stream| format!("{}/{stream}", door.caller.tenant);
    let filter = Filter {
        aggregate_type: which.aggregate_type,
        aggregate_id: which.aggregate.map(|name| if name.contains('/') { name } else { within(name) }),
        event_type: which.r#type,
        actor: which.actor,
        correlation_id: which.correlation_id,
        from: which.from.map(|from| from.0),
        to: which.to.map(|to| to.0),
        since: shown_since(door.log()),
    };
    let descending = which.order == Some(Order::Desc);
    let start = Start { after: which.after.map(|after| after.0), descending };
    min_position::of_log(door.log(), which.min_position).await?;
    let EventsPage { page, next, covered } =
        door.log().events_page(log_id, start, which.limit.0, &filter).await?;
    let holes = match sought(&filter, covered, descending) {
        Some(sought) => door.log().holes(log_id, &sought).await?,
        None => Holes::default(),
    };
    let total = if which.count { Some(door.log().events_total(log_id, &filter).await?) } else { None };
    let next_cursor = next.map(|position| position.to_string());
    let list = List { next_cursor, ..List::page(page, |event| event.position.to_string()) };
    Ok(OnRecord::counted(list, holes, &door.caller, total))
}

/// What a page of readings speaks of. `None` if no reading passes the filter.
fn sought(filter: &Filter, positions: (i64, i64), descending: bool) -> Option<Sought<'_>> {
    let other = |word: &Option<String>, of_all| word.as_ref().is_some_and(|word| word != of_all);
    let none = other(&filter.aggregate_type, AGGREGATE_TYPE)
        || other(&filter.event_type, EVENT_TYPE)
        || filter.actor.is_some()
        || filter.correlation_id.is_some();
    let recorded = (filter.from, filter.to);
    let stream = filter.aggregate_id.as_deref();
    (!none).then(|| Sought { positions, recorded, stream, descending, ..Sought::default() })
}

/// Returns the event at a position of a log.
#[utoipa::path(
    get, path = "/events/{log}/{position}", tag = "log", operation_id = "read_event",
    params(
        ("log" = String, Path, description = "The log's number"),
        ("position" = String, Path, description = "The event's position in its log"),
    ),
    responses(
        (status = 200, description = "The event as it is on the record", body = Item),
        (status = 404, description = "No such log, or it has no event at this position"),
        (status = 410, description = "The event is a reading that was kept long enough. `archived`: it is in the archive, and the \
            problem's detail says in which file and how it comes back. `removed`: it is kept no longer"),
    ),
)]
async fn read_event(
    door: May<EventsRead, Log>,
    AtPosition(position): AtPosition,
    _: Query<NoParameters>,
) -> Result<Json<Item>, Error> {
    Ok(Json(event_at(door.log(), door.id, position).await?.into()))
}

/// Returns the record of the event at a position of a log: every stored column, with payload and metadata as the stored
/// text, byte for byte. It is what the event's leaf covers, and what a line of a bundle's `events.ndjson` has; the leaf's hash,
/// and with the event's proof the root of a checkpoint, are computed from it.
#[utoipa::path(
    get, path = "/events/{log}/{position}/record", tag = "audit", operation_id = "read_record",
    params(
        ("log" = String, Path, description = "The log's number"),
        ("position" = String, Path, description = "The event's position in its log"),
    ),
    responses(
        (status = 200, description = "The event's record", body = wire::Record),
        (status = 404, description = "No such log, or it has no event at this position"),
        (status = 410, description = "The event is a reading that was kept long enough: `archived` or `removed`"),
    ),
)]
async fn read_record(
    door: May<EventsRead, Log>,
    AtPosition(position): AtPosition,
    _: Query<NoParameters>,
) -> Result<Json<wire::Record>, Error> {
    Ok(Json(event_at(door.log(), door.id, position).await?.into()))
}

/// The event at a position, or why it is not there.
async fn event_at(log: &TenantLog, log_id: LogId, position: Position) -> Result<event_log::Event, Error> {
    let found = log.read(log_id, position - 1, 1, &Filter::default()).await?.into_iter().next();
    let Some(event) = found.filter(|event| event.position == position) else {
        let hole = log.hole_at(log_id, position).await?;
        return Err(hole.map_or_else(Error::missing::<Recorded>, |range| archived::gone(&range)));
    };
    let over_age = shown_since(log).is_some_and(|since| event.occurred_at < since);
    if event.msg_id.is_some() && over_age {
        return Err(Error::over_age());
    }
    Ok(event)
}

/// An event, by its position in its log.
pub(super) struct Recorded;

impl Resource for Recorded {
    type Id = Position;
    const MISSING: &'static str = "the log has no event at this position";

    fn id(name: &str) -> Option<Position> {
        place::position(name).filter(|position| *position > 0)
    }
}

/// Finds one of the tenant's logs, by lane or by number. Another tenant's log is answered with 404.
fn log_named(log: &TenantLog, name: &str) -> Result<LogId, Error> {
    if let Ok(lane) = name.parse() {
        return in_lane(log, lane);
    }
    let named = Log::id(name).and_then(|log_id| log.heads().log(log_id));
    named
        .filter(|named| named.tenant == log.tenant().as_str())
        .map(|named| named.log_id)
        .ok_or_else(Error::missing::<Log>)
}
