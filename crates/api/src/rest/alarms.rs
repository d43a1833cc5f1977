//! Alarms: list, read, acknowledge, clear. The rules that raise them are in [`alarm_rules`](super::alarm_rules).

use axum::Json;
use fleetlog_access::action::typed::{AlarmsAcknowledge, AlarmsRead};
use fleetlog_access::{Action, Principal};
use fleetlog_aggregates::alarm::Status;
use fleetlog_aggregates::alarm_rule::Severity;
use fleetlog_engine::alarms::people;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::Committed;
use fleetlog_projections::alarms::{self, Alarm, Cursor, Order, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::error::Error;
use super::extract::{NoParameters, OptionalBody, Query, parse};
use super::page::List;
use super::parameters::{Limit, LogPosition, Moment, check_span};
use super::{RequestId, min_position, wire};
use crate::app::App;
use crate::door::action::guarded;
use crate::door::{May, guard};
use crate::resource::{Resource, uuid};

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_alarms, read_alarm, read_alarm_history, acknowledge_alarm, clear_alarm)
}

impl Resource for Alarm {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such alarm";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }

    async fn decide(
        caller: &Principal,
        log: &TenantLog,
        action: Action,
        id: &Uuid,
    ) -> Result<(), guard::Refused> {
        guard::alarm(caller, log, action, *id).await
    }
}

/// Selects the alarms of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only alarms of this device.
    device: Option<String>,
    /// Only alarms of this rule.
    rule: Option<String>,
    /// Only alarms in this state: `raised`, `acknowledged`, `cleared`, or `open`, which is raised or acknowledged.
    #[param(value_type = Option<String>, example = "open")]
    state: Option<State>,
    /// Only alarms of this severity: `warning`, `minor`, `major` or `critical`.
    #[param(value_type = Option<String>)]
    severity: Option<Severity>,
    /// Only alarms raised at this moment or later.
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<Moment>,
    /// Only alarms raised before this moment.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<Moment>,
    /// The order: `newest`, or `open_first`, which has those that are open before the others. An alarm that is cleared while
    /// pages are read may then be on two of them.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "newest")]
    sort: Order,
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Whether to count the items of all pages. They are not counted if policies hide some items from the caller.
    #[serde(default)]
    count: bool,
    /// Wait, for at most 2 s, until this write is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "1:42")]
    min_position: Option<LogPosition>,
}

/// Lists the tenant's alarms, newest first.
#[utoipa::path(
    get, path = "/alarms", tag = "alarms", operation_id = "list_alarms", params(Which),
    responses((status = 200, description = "A page of alarms", body = List<wire::Alarm>)),
)]
async fn list_alarms(
    door: May<AlarmsRead>,
    Query(which): Query<Which>,
) -> Result<Json<List<wire::Alarm>>, Error> {
    check_span(which.from, which.to).map_err(|error| Error::field("from", error))?;
    let after: Option<Cursor> = parse("cursor", which.cursor.as_deref())?;
    let after = after.map(|after| after.in_order(which.sort)).transpose();
    let query = alarms::Query {
        device_uid: which.device,
        rule: which.rule,
        state: which.state,
        severity: which.severity,
        from: which.from.map(|from| from.0),
        to: which.to.map(|to| to.0),
        order: which.sort,
        after: after.map_err(|error| Error::field("cursor", error))?,
        limit: which.limit.0,
    };
    min_position::of_projection::<alarms::Model>(&door.app, door.log(), which.min_position).await?;
    let page = alarms::list(door.log(), &query).await?;
    let mut list: List<Alarm> = List::page(page, |alarm| Cursor::of(alarm, which.sort).to_string());
    // Where policies hide some items from the caller, the total would reveal how many are hidden.
    if which.count && !door.caller.is_ruled(Action::AlarmsRead) {
        list = list.with_total(Some(alarms::count(door.log(), &query).await?));
    }
    let (action, items) = (Action::AlarmsRead, &mut list.items);
    guard::retain_by_device(&door.caller, door.log(), action, items, |alarm| &alarm.device_uid).await?;
    Ok(Json(list.map(|alarm| wire::Alarm::of(alarm, door.log()))))
}

/// Returns one alarm, read from the log itself, so never behind.
#[utoipa::path(
    get, path = "/alarms/{id}", tag = "alarms", operation_id = "read_alarm",
    params(("id" = String, Path, description = "The alarm's id")),
    responses(
        (status = 200, description = "The alarm, as the log has it", body = wire::Alarm),
        (status = 404, description = "No such alarm"),
    ),
)]
async fn read_alarm(
    door: May<AlarmsRead, Alarm>,
    _: Query<NoParameters>,
) -> Result<Json<wire::Alarm>, Error> {
    let found = alarms::history(door.log(), door.id).await?;
    let (alarm, _) = found.ok_or_else(Error::missing::<Alarm>)?;
    Ok(Json(wire::Alarm::of(alarm, door.log())))
}

/// An alarm, with the steps that led to its state.
#[derive(Serialize, ToSchema)]
#[schema(as = AlarmHistory)]
struct History {
    /// The alarm as the steps have left it.
    alarm: wire::Alarm,
    /// Every event of the alarm, in order.
    steps: Vec<wire::AlarmStep>,
}

/// Returns every step of an alarm, with its actor and the state after it, read from the log itself.
#[utoipa::path(
    get, path = "/alarms/{id}/history", tag = "alarms", operation_id = "read_alarm_history",
    params(("id" = String, Path, description = "The alarm's id")),
    responses(
        (status = 200, description = "The alarm and its steps", body = History),
        (status = 404, description = "No such alarm"),
    ),
)]
async fn read_alarm_history(
    door: May<AlarmsRead, Alarm>,
    _: Query<NoParameters>,
) -> Result<Json<History>, Error> {
    let found = alarms::history(door.log(), door.id).await?;
    let (alarm, steps) = found.ok_or_else(Error::missing::<Alarm>)?;
    let steps = steps.into_iter().map(Into::into).collect();
    Ok(Json(History { alarm: wire::Alarm::of(alarm, door.log()), steps }))
}

/// A note to an alarm.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlarmNote)]
struct Note {
    /// What there is to say, for people: 1 to 1000 characters.
    #[schema(example = "On my way.")]
    note: Option<String>,
}

/// The id, the state and the position of what was put on the record.
#[derive(Serialize, ToSchema)]
#[schema(as = AlarmWritten)]
struct Written {
    /// The id of the alarm.
    alarm_id: Uuid,
    /// The state after this write.
    #[schema(value_type = String, example = "acknowledged")]
    status: Status,
    /// The position of this write on the record, to wait for with `min_position`.
    #[schema(example = "1:42")]
    position: String,
}

impl Written {
    fn new(alarm_id: Uuid, status: Status, at: Committed) -> Self {
        Self { alarm_id, status, position: LogPosition::from(at).to_string() }
    }
}

/// Acknowledges an alarm: somebody has seen it. It stays open until it is cleared.
#[utoipa::path(
    post, path = "/alarms/{id}/acknowledge", tag = "alarms", operation_id = "acknowledge_alarm",
    request_body = Option<Note>,
    params(("id" = String, Path, description = "The alarm's id")),
    responses(
        (status = 200, description = "The alarm is acknowledged", body = Written),
        (status = 404, description = "No such alarm"),
        (status = 409, description = "It is acknowledged or cleared already"),
    ),
)]
async fn acknowledge_alarm(
    door: May<AlarmsAcknowledge, Alarm>,
    request: RequestId,
    OptionalBody(Note { note }): OptionalBody<Note>,
) -> Result<Json<Written>, Error> {
    let at = people::acknowledge(door.log(), door.id, note, request.metadata(&door.caller)).await?;
    Ok(Json(Written::new(door.id, Status::Acknowledged, at)))
}

/// Clears an alarm. It is not raised again until its condition has ended and holds again.
#[utoipa::path(
    post, path = "/alarms/{id}/clear", tag = "alarms", operation_id = "clear_alarm",
    request_body = Option<Note>,
    params(("id" = String, Path, description = "The alarm's id")),
    responses(
        (status = 200, description = "The alarm is cleared", body = Written),
        (status = 404, description = "No such alarm"),
        (status = 409, description = "It is cleared already"),
    ),
)]
async fn clear_alarm(
    door: May<AlarmsAcknowledge, Alarm>,
    request: RequestId,
    OptionalBody(Note { note }): OptionalBody<Note>,
) -> Result<Json<Written>, Error> {
    let at = people::clear(door.log(), door.id, note, request.metadata(&door.caller)).await?;
    Ok(Json(Written::new(door.id, Status::Cleared, at)))
}
