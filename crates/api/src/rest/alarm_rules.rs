//! The rules that raise alarms: define, read, remove, and try out on what has been.

use axum::Json;
use chrono::{DateTime, Utc};
use fleetlog_access::Action;
use fleetlog_access::action::typed::{AlarmRulesRead, AlarmRulesWrite};
use fleetlog_aggregates::alarm_rule::{Definition, Severity};
use fleetlog_aggregates::identity::RuleName;
use fleetlog_engine::alarms::{preview, rules};
use fleetlog_projections::alarms::{self, Rule};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::error::Error;
use super::extract::{Body, NewName, NoParameters, Query};
use super::min_position::When;
use super::page::List;
use super::parameters::{LogPosition, Moment};
use super::{RequestId, min_position, wire};
use crate::app::App;
use crate::door::action::guarded;
use crate::door::{May, guard};
use crate::resource::{Nameable, Resource};

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_alarm_rules, read_alarm_rule, define_alarm_rule, remove_alarm_rule, preview_alarm_rule)
}

impl Resource for Rule {
    type Id = RuleName;
    const MISSING: &'static str = "there is no such alarm rule";

    fn id(name: &str) -> Option<RuleName> {
        name.parse().ok()
    }
}

impl Nameable for Rule {
    const PARAMETER: &'static str = "name";
    const NAMES: &'static str = "expected 1 to 64 characters of A-Z, a-z, 0-9, '_', '.' and '-'";

    fn name(id: &RuleName) -> &str {
        id.as_str()
    }
}

/// Lists the tenant's alarm rules, by name.
#[utoipa::path(
    get, path = "/alarm-rules", tag = "alarms", operation_id = "list_alarm_rules", params(When),
    responses((status = 200, description = "The alarm rules", body = List<wire::AlarmRule>)),
)]
async fn list_alarm_rules(
    door: May<AlarmRulesRead>,
    Query(when): Query<When>,
) -> Result<Json<List<wire::AlarmRule>>, Error> {
    min_position::of_projection::<alarms::Model>(&door.app, door.log(), when.min_position).await?;
    let rules: List<Rule> = List::whole(alarms::rules(door.log()).await?);
    let rule = |rule: Rule| wire::AlarmRule::new(rule.name, rule.version.cast_unsigned(), rule.definition);
    Ok(Json(rules.map(rule)))
}

/// Returns one alarm rule, read from the log itself, so never behind.
#[utoipa::path(
    get, path = "/alarm-rules/{name}", tag = "alarms", operation_id = "read_alarm_rule",
    params(("name" = String, Path, description = "The alarm rule")),
    responses(
        (status = 200, description = "The alarm rule", body = wire::AlarmRule),
        (status = 404, description = "No such alarm rule"),
    ),
)]
async fn read_alarm_rule(
    door: May<AlarmRulesRead, Rule>,
    _: Query<NoParameters>,
) -> Result<Json<wire::AlarmRule>, Error> {
    let found = rules::read(door.log(), &door.id).await?;
    let (version, definition) = found.ok_or_else(Error::missing::<Rule>)?;
    Ok(Json(wire::AlarmRule::new(door.id.into(), version, definition)))
}

/// What a rule says.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAlarmRule)]
struct New {
    /// What its alarms mean, for people: 1 to 200 characters.
    #[schema(example = "Too hot")]
    title: String,
    /// How bad they are: `warning`, `minor`, `major` or `critical`.
    #[schema(value_type = String, example = "critical")]
    severity: Severity,
    /// The devices that the rule is about. Without it: all devices of the tenant.
    devices: Option<wire::Devices>,
    /// What raises an alarm, and what clears it.
    condition: wire::Condition,
    /// The ids of the users who are told by mail, at most 20: those who have confirmed their address.
    #[schema(value_type = Option<Vec<Uuid>>, example = json!([]))]
    mail: Option<Vec<Uuid>>,
    /// The version that this replaces, or 0 for a rule that is not there; with another version, nothing changes. Without it:
    /// any.
    #[schema(example = 0)]
    replaces: Option<u32>,
}

impl New {
    fn definition(self) -> (Definition, Option<u32>) {
        let Self { title, severity, devices, condition, mail, replaces } = self;
        let (devices, condition) = (wire::Devices::read(devices), condition.into());
        (Definition { title, severity, devices, condition, mail: mail.unwrap_or_default() }, replaces)
    }
}

/// The result of a write.
#[derive(Serialize, ToSchema)]
#[schema(as = AlarmRuleWritten)]
struct Written {
    /// The name of the alarm rule.
    #[schema(example = "too-hot")]
    name: String,
    /// The version that the rule has now; null once it is removed.
    #[schema(example = 1)]
    version: Option<u32>,
    /// The position of this write on the record, to wait for with `min_position`; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

/// Defines an alarm rule, or changes it. Other devices or another condition clear the rule's open alarms, and begin anew.
#[utoipa::path(
    put, path = "/alarm-rules/{name}", tag = "alarms", operation_id = "define_alarm_rule", request_body = New,
    params(("name" = String, Path, description = "The alarm rule: 1 to 64 of `A-Z a-z 0-9 _ . -`")),
    responses(
        (status = 200, description = "The rule holds so", body = Written),
        (status = 409, description = "The rule has another version than the one to be replaced, or the tenant has as many rules as it may have"),
    ),
)]
async fn define_alarm_rule(
    door: May<AlarmRulesWrite>,
    request: RequestId,
    NewName(name): NewName<Rule>,
    Body(new): Body<New>,
) -> Result<Json<Written>, Error> {
    let ((definition, replaces), metadata) = (new.definition(), request.metadata(&door.caller));
    let defined = rules::define(door.log(), &name, definition, replaces, metadata).await?;
    let position = defined.at.map(|at| LogPosition::from(at).to_string());
    Ok(Json(Written { name: name.into(), version: Some(defined.version), position }))
}

/// Removes an alarm rule. Its open alarms are cleared soon after.
#[utoipa::path(
    delete, path = "/alarm-rules/{name}", tag = "alarms", operation_id = "remove_alarm_rule",
    params(("name" = String, Path, description = "The alarm rule")),
    responses(
        (status = 200, description = "The rule is gone", body = Written),
        (status = 404, description = "No such alarm rule"),
    ),
)]
async fn remove_alarm_rule(
    door: May<AlarmRulesWrite, Rule>,
    request: RequestId,
) -> Result<Json<Written>, Error> {
    let at = rules::remove(door.log(), &door.id, request.metadata(&door.caller)).await?;
    let position = at.map(|at| LogPosition::from(at).to_string());
    Ok(Json(Written { name: door.id.into(), version: None, position }))
}

/// A rule to try out, and on which span of the past.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlarmRulePreviewRequest)]
struct Trial {
    /// What the rule would say.
    rule: New,
    /// From when on: by the devices' time, of commands by the time of their request.
    #[schema(value_type = DateTime<Utc>)]
    from: Moment,
    /// Until when: at most 31 days later.
    #[schema(value_type = DateTime<Utc>)]
    to: Moment,
}

/// What a rule would have raised.
#[derive(Serialize, ToSchema)]
#[schema(as = AlarmRulePreview)]
struct Preview {
    /// The alarms, device by device, each device's in order: at most 1000.
    alarms: Vec<Previewed>,
    /// How many devices were looked at: at most 100, by uid.
    #[schema(example = 3)]
    devices: usize,
    /// How many readings, or commands, were looked at: at most about 50000.
    #[schema(example = 4200)]
    events: usize,
    /// Whether all devices and all of their events in the span were looked at, and all alarms are listed.
    complete: bool,
}

/// An alarm that a rule would have raised.
#[derive(Serialize, ToSchema)]
#[schema(as = AlarmRulePreviewAlarm)]
struct Previewed {
    /// The device that it is about.
    device_uid: String,
    /// The command type, if it is about one.
    cmd: Option<String>,
    /// The metric's value; of a rate, by how much it had changed.
    #[schema(example = 81.5)]
    value: Option<f64>,
    /// When the condition began to hold.
    since: DateTime<Utc>,
    /// When it would have been raised, by the server's clock.
    raised_at: DateTime<Utc>,
    /// When it would have been cleared. Null if not within the span.
    cleared_at: Option<DateTime<Utc>>,
}

impl From<preview::Previewed> for Previewed {
    fn from(alarm: preview::Previewed) -> Self {
        Self {
            device_uid: alarm.device_uid.into(),
            cmd: alarm.cmd,
            value: alarm.value,
            since: alarm.since,
            raised_at: alarm.raised_at,
            cleared_at: alarm.cleared_at,
        }
    }
}

/// Tells which alarms a rule would have raised over a span of the past, if it had begun with that span. Nothing is put on the
/// record, and no mail is sent. The caller must also be allowed to read the devices' telemetry, or the commands.
#[utoipa::path(
    post, path = "/alarm-rules/preview", tag = "alarms", operation_id = "preview_alarm_rule", request_body = Trial,
    responses((status = 200, description = "The alarms that it would have raised", body = Preview)),
)]
async fn preview_alarm_rule(
    door: May<AlarmRulesRead>,
    Body(Trial { rule, from, to }): Body<Trial>,
) -> Result<Json<Preview>, Error> {
    let (definition, _) = rule.definition();
    let is_of_commands = definition.condition.kind() == "command_failed";
    let action = if is_of_commands { Action::CommandsRead } else { Action::TelemetryRead };
    if !door.caller.is_ruled(action) {
        door.also(action)?;
    }
    let (chosen, is_all) = preview::choose(door.log(), &definition.devices).await?;
    let seen = guard::those(&door.caller, door.log(), action, chosen).await?;
    let found = preview::run(door.log(), &definition, &seen, (from.0, to.0)).await;
    // The rule is a part of this body.
    let within_rule = |error: Error| {
        let error = error.renamed("title", "rule.title").renamed("devices", "rule.devices");
        error.renamed("mail", "rule.mail").renamed("condition", "rule.condition")
    };
    let found = found.map_err(|error| within_rule(error.into()))?;
    let preview::Preview { alarms, devices, events, complete } = found;
    let alarms = alarms.into_iter().map(Into::into).collect();
    Ok(Json(Preview { alarms, devices, events, complete: complete && is_all }))
}
