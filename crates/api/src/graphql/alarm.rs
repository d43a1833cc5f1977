//! Alarms and the rules that raise them: the types, and the lists of them.

use async_graphql::connection::{Connection, ConnectionNameType, Edge, EmptyFields};
use async_graphql::{Context, Enum, ID, InputObject, Object, OutputType, Result};
use chrono::{DateTime, Utc};
use fleetlog_access::Action;
use fleetlog_aggregates::{alarm, alarm_rule};
use fleetlog_event_log::Lane;
use fleetlog_event_log::event;
use fleetlog_projections::alarms::{self, Cursor, Order, Rule};
use serde::Serialize;

use super::asker::Asker;
use super::loaders::{AlarmLifeOf, Loaders};
use super::log::EventPosition;
use super::query::{moment, page_size};
use super::scalars::{Json, Long};
use crate::door::guard;
use crate::rest::Error;
use crate::rest::extract::parse;
use crate::rest::parameters::check_span;

/// An alarm as the log left it.
pub(super) struct Alarm {
    row: alarms::Alarm,
    /// The alarm's steps, if they were read together with the alarm.
    steps: Option<Vec<alarms::Step>>,
    /// Whether the caller is already known to be allowed to see the steps.
    seen: bool,
}

impl From<alarms::Alarm> for Alarm {
    fn from(row: alarms::Alarm) -> Self {
        Self { row, steps: None, seen: true }
    }
}

impl Alarm {
    /// An alarm that was read together with its steps.
    pub(super) fn with_steps((row, steps): (alarms::Alarm, Vec<alarms::Step>)) -> Self {
        Self { row, steps: Some(steps), seen: true }
    }

    /// An alarm that the caller has just changed, and perhaps may not read.
    pub(super) fn written(alarm: (alarms::Alarm, Vec<alarms::Step>)) -> Self {
        Self { seen: false, ..Self::with_steps(alarm) }
    }
}

/// The state of an alarm.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "AlarmStatus", remote = "alarm::Status")]
pub(super) enum Status {
    /// Nobody has acknowledged the alarm.
    Raised,
    /// Somebody has acknowledged the alarm, and it is not over.
    Acknowledged,
    /// The alarm is over.
    Cleared,
}

/// The state of an alarm, or of any that is not over.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "AlarmState", remote = "alarms::State")]
pub(super) enum State {
    /// Raised or acknowledged.
    Open,
    /// Raised, and not acknowledged.
    Raised,
    /// Acknowledged, and not over.
    Acknowledged,
    /// The alarm is over.
    Cleared,
}

/// How bad an alarm is.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "AlarmSeverity", remote = "alarm_rule::Severity")]
pub(super) enum Severity {
    /// Somebody should look, some time.
    Warning,
    /// Something is wrong, and nothing stands still.
    Minor,
    /// Something does not work.
    Major,
    /// Somebody should act now.
    Critical,
}

/// The order of a list of alarms.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "AlarmSort", remote = "Order")]
pub(super) enum Sort {
    /// The newest alarms first.
    Newest,
    /// Those that are open first; of each kind, newest first.
    OpenFirst,
}

#[Object]
impl Alarm {
    /// The alarm's id, which follows from the event that caused it.
    async fn id(&self) -> ID {
        self.row.alarm_id.into()
    }

    /// The name of the rule that raised it.
    async fn rule(&self) -> &str {
        self.row.rule.as_str()
    }

    /// The version of the rule that raised it.
    async fn rule_version(&self) -> i32 {
        self.row.rule_version
    }

    /// The title of the rule when it raised the alarm.
    async fn title(&self) -> &str {
        &self.row.title
    }

    /// How bad it is.
    async fn severity(&self) -> Severity {
        self.row.severity.into()
    }

    /// The uid of the device that it is about.
    async fn device_uid(&self) -> &str {
        self.row.device_uid.as_str()
    }

    /// The kind of condition: `threshold`, `rate`, `silent` or `command_failed`.
    async fn condition(&self) -> &str {
        &self.row.condition
    }

    /// The metric, if it is about one.
    async fn metric(&self) -> Option<&str> {
        self.row.metric.as_deref()
    }

    /// The command type, if it is about one.
    async fn cmd(&self) -> Option<&str> {
        self.row.cmd.as_deref()
    }

    /// The metric's value that raised it; of a rate, by how much it had changed.
    async fn value(&self) -> Option<f64> {
        self.row.value
    }

    /// When the condition began to hold: of a silence, when the device was last heard.
    async fn since(&self) -> DateTime<Utc> {
        self.row.since
    }

    /// The event with which it began: its log and position, such as `2:977`.
    async fn cause(&self) -> &str {
        &self.row.cause
    }

    /// When it was raised, by the server's clock.
    async fn raised_at(&self) -> DateTime<Utc> {
        self.row.raised_at
    }

    /// The alarm's state.
    async fn status(&self) -> Status {
        self.row.status.into()
    }

    /// When it was acknowledged.
    async fn acknowledged_at(&self) -> Option<DateTime<Utc>> {
        self.row.acknowledged_at
    }

    /// Who acknowledged it: a user's id, or `key:` and an API key's id.
    async fn acknowledged_by(&self) -> Option<&str> {
        self.row.acknowledged_by.as_deref()
    }

    /// What they said.
    async fn acknowledge_note(&self) -> Option<&str> {
        self.row.acknowledge_note.as_deref()
    }

    /// When it was cleared.
    async fn cleared_at(&self) -> Option<DateTime<Utc>> {
        self.row.cleared_at
    }

    /// Why it was cleared: `condition`, `person`, `rule_changed`, `rule_removed`, `labels_changed` or
    /// `device_decommissioned`.
    async fn cleared_because(&self) -> Option<&str> {
        self.row.cleared_because.map(alarm::Why::as_str)
    }

    /// Who cleared it, if a person or a program did: a user's id, or `key:` and an API key's id.
    async fn cleared_by(&self) -> Option<&str> {
        self.row.cleared_by.as_deref()
    }

    /// What they said.
    async fn clear_note(&self) -> Option<&str> {
        self.row.clear_note.as_deref()
    }

    /// The metric's value that cleared it; of a rate, by how much it had changed.
    async fn clear_value(&self) -> Option<f64> {
        self.row.clear_value
    }

    /// The position in the control log at which it was raised.
    async fn position(&self) -> Long {
        Long(self.row.position)
    }

    /// The alarm's last event.
    #[expect(clippy::unused_async, reason = "the library wants every resolver so")]
    async fn last_event(&self, context: &Context<'_>) -> Result<Option<EventPosition>> {
        EventPosition::of(context, Lane::Control, Some(self.row.last_position))
    }

    /// Every event of the alarm, in order, from the log itself.
    async fn history(&self, context: &Context<'_>) -> Result<Vec<Step>> {
        let asker = context.data::<Asker>()?;
        if !self.seen {
            asker.may_alarm(Action::AlarmsRead, Some(self.row.alarm_id)).await?;
        }
        let steps = if let Some(steps) = &self.steps {
            steps.clone()
        } else {
            let life = context.data::<Loaders>()?.load_one(AlarmLifeOf(self.row.alarm_id)).await?;
            life.map(|(_, steps)| steps).unwrap_or_default()
        };
        Ok(steps.into_iter().map(Step).collect())
    }
}

/// One event of an alarm, and the alarm's state after it.
pub(super) struct Step(alarms::Step);

#[Object(name = "AlarmStep")]
impl Step {
    /// The event's number in the alarm's stream: 1, 2, 3 …
    async fn sequence(&self) -> Long {
        Long(self.0.sequence)
    }

    /// Its position in the control log.
    async fn position(&self) -> Long {
        Long(self.0.position)
    }

    /// What happened: the name of the event, such as `AlarmRaised`.
    async fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// The event as it is stored, in JSON.
    async fn event(&self) -> Json {
        Json(self.0.event.clone())
    }

    /// The alarm's state after this event.
    async fn status(&self) -> Status {
        self.0.status.into()
    }

    /// Who caused the event: a user's id, `key:` and an API key's id, or `alarms` for the service itself.
    async fn actor(&self) -> Option<&str> {
        self.0.actor.as_deref()
    }

    /// The correlation id, which ties the event to other records.
    async fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id.as_deref()
    }

    /// The event that caused this one: its log and position, such as `2:42`.
    async fn causation_id(&self) -> Option<&str> {
        self.0.causation_id.as_deref()
    }

    /// When the event happened.
    async fn occurred_at(&self) -> DateTime<Utc> {
        self.0.occurred_at
    }

    /// When the event was recorded, by the database's clock.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.0.recorded_at
    }
}

/// A rule that raises alarms.
pub(super) struct AlarmRule(pub(super) Rule);

#[Object]
impl AlarmRule {
    /// The name of the rule.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// How often the rule was defined.
    async fn version(&self) -> i32 {
        self.0.version
    }

    /// What its alarms mean, for people.
    async fn title(&self) -> &str {
        &self.0.definition.title
    }

    /// How bad they are.
    async fn severity(&self) -> Severity {
        self.0.definition.severity.into()
    }

    /// The devices that the rule is about: `"all"`, or an object with `uids` or `labels`.
    async fn devices(&self) -> Json {
        json(&self.0.definition.devices)
    }

    /// What raises an alarm, and what clears it: an object with `kind` and the fields of that kind.
    async fn condition(&self) -> Json {
        json(&self.0.definition.condition)
    }

    /// The ids of the users who are told by mail.
    async fn mail(&self) -> Vec<ID> {
        self.0.definition.mail.iter().copied().map(ID::from).collect()
    }

    /// When the rule got this definition.
    async fn defined_at(&self) -> DateTime<Utc> {
        self.0.defined_at
    }
}

fn json(value: &impl Serialize) -> Json {
    // What a rule says was JSON before, so it can be written.
    Json(event::Json(serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())))
}

/// Selects alarms; absent fields select all.
#[derive(Default, InputObject)]
pub(super) struct AlarmFilter {
    /// Only alarms of this device.
    device_uid: Option<String>,
    /// Only alarms of this rule.
    rule: Option<String>,
    /// Only alarms in this state.
    state: Option<State>,
    /// Only alarms of this severity.
    severity: Option<Severity>,
    /// Only alarms raised at this moment or later.
    from: Option<DateTime<Utc>>,
    /// Only alarms raised before this moment.
    to: Option<DateTime<Utc>>,
}

/// A page of the tenant's alarms.
pub(super) async fn list(
    asker: &Asker,
    filter: AlarmFilter,
    sort: Option<Sort>,
    first: Option<i32>,
    after: Option<&str>,
) -> Result<Connection<String, Alarm, AlarmTotal>, Error> {
    let (from, to) = (moment("from", filter.from)?, moment("to", filter.to)?);
    check_span(from, to).map_err(|bad| Error::field("from", bad))?;
    let order = sort.map_or(Order::Newest, Order::from);
    let after: Option<Cursor> = parse("after", after)?;
    let after = after.map(|after| after.in_order(order)).transpose();
    let query = alarms::Query {
        device_uid: filter.device_uid,
        rule: filter.rule,
        state: filter.state.map(alarms::State::from),
        severity: filter.severity.map(alarm_rule::Severity::from),
        from: from.map(|from| from.0),
        to: to.map(|to| to.0),
        order,
        after: after.map_err(|bad| Error::field("after", bad))?,
        limit: page_size(first)?,
    };
    let page = alarms::list(asker.log(), &query).await?;
    let (has_previous, total) = (query.after.is_some(), AlarmTotal { query });
    let mut connection = Connection::with_additional_fields(has_previous, page.has_more, total);
    connection.edges.extend(page.items.into_iter().map(|alarm| edge(alarm, order)));
    let (caller, edges) = (&asker.caller(), &mut connection.edges);
    let action = Action::AlarmsRead;
    guard::retain_by_device(caller, asker.log(), action, edges, |edge| &edge.node.row.device_uid).await?;
    Ok(connection)
}

/// An alarm in a connection.
pub(super) fn edge(alarm: alarms::Alarm, order: Order) -> Edge<String, Alarm, EmptyFields> {
    Edge::new(Cursor::of(&alarm, order).to_string(), alarm.into())
}

/// Counts the alarms, only when `totalCount` is asked for.
pub(super) struct AlarmTotal {
    query: alarms::Query,
}

#[Object]
impl AlarmTotal {
    /// The number of items on all pages. Null if policies hide some items from the caller.
    async fn total_count(&self, context: &Context<'_>) -> Result<Option<Long>> {
        let asker = context.data::<Asker>()?;
        if asker.caller().is_ruled(Action::AlarmsRead) {
            return Ok(None);
        }
        Ok(Some(Long(alarms::count(asker.log(), &self.query).await.map_err(Error::from)?)))
    }
}

/// Names the connection of one device's alarms, which has no `totalCount`.
pub(super) struct OfDevice;

impl ConnectionNameType for OfDevice {
    fn type_name<T: OutputType>() -> String {
        "DeviceAlarmConnection".to_owned()
    }
}
