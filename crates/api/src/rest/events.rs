//! The log itself, for auditors: every event, in order.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::EventsRead;
use fleetlog_event_log::event::{Json as StoredJson, StoredMetadata};
use fleetlog_event_log::read::{Filter, Start};
use fleetlog_event_log::{self as event_log, LogId, TenantLog};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::Query;
use super::logs::{Log, in_lane};
use super::min_position;
use super::page::{Counted, List};
use super::parameters::{After, Limit, LogPosition, Moment, Order, check_span};
use super::telemetry::shown_since;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::Resource;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(read_events)
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
/// `has_more` is true.
#[utoipa::path(
    get, path = "/events", tag = "log", operation_id = "read_events", params(Which),
    responses(
        (status = 200, description = "A page of events", body = List<Item>),
        (status = 404, description = "No such log"),
    ),
)]
async fn read_events(door: May<EventsRead>, Query(which): Query<Which>) -> Result<Counted<Item>, Error> {
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
    let (events, next) = door.log().events_page(log_id, start, which.limit.0, &filter).await?;
    let total = if which.count { Some(door.log().events_total(log_id, &filter).await?) } else { None };
    let next_cursor = next.map(|position| position.to_string());
    Ok(List { next_cursor, ..List::page(events, |event| event.position.to_string()) }.counted(total))
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
