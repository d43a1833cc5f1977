//! Alarms, their steps and their rules, as REST shows and reads them.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm::{Status, Why};
use fleetlog_aggregates::alarm_rule::condition::Side;
use fleetlog_aggregates::alarm_rule::{self, Severity};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::{CommandName, Uid};
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Lane, Position, TenantLog};
use fleetlog_projections::alarms;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::EventPosition;
use crate::rest::json::Object;

/// An alarm, and what has become of it.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "an alarm's id has one name, here and in its events")]
pub(in crate::rest) struct Alarm {
    /// The alarm's id, which follows from the event that caused it.
    pub(in crate::rest) alarm_id: Uuid,
    /// The name of the rule that raised it.
    #[schema(example = "too-hot")]
    pub(in crate::rest) rule: String,
    /// The version of the rule that raised it.
    #[schema(example = 1)]
    pub(in crate::rest) rule_version: i32,
    /// The title of the rule when it raised the alarm.
    #[schema(example = "Too hot")]
    pub(in crate::rest) title: String,
    /// How bad it is: `warning`, `minor`, `major` or `critical`.
    #[schema(value_type = String, example = "critical")]
    pub(in crate::rest) severity: Severity,
    /// The device that it is about.
    pub(in crate::rest) device_uid: String,
    /// The kind of condition: `threshold`, `rate`, `silent` or `command_failed`.
    #[schema(example = "threshold")]
    pub(in crate::rest) condition: String,
    /// The metric, if it is about one.
    pub(in crate::rest) metric: Option<String>,
    /// The command type, if it is about one.
    pub(in crate::rest) cmd: Option<String>,
    /// The metric's value that raised it; of a rate, by how much it had changed.
    #[schema(example = 81.5)]
    pub(in crate::rest) value: Option<f64>,
    /// When the condition began to hold: of a silence, when the device was last heard.
    pub(in crate::rest) since: DateTime<Utc>,
    /// The event with which it began: its log and position.
    #[schema(example = "2:977")]
    pub(in crate::rest) cause: String,
    /// When it was raised, by the server's clock.
    pub(in crate::rest) raised_at: DateTime<Utc>,
    /// The state: `raised`, `acknowledged` or `cleared`.
    #[schema(value_type = String, example = "acknowledged")]
    pub(in crate::rest) status: Status,
    /// When it was acknowledged.
    pub(in crate::rest) acknowledged_at: Option<DateTime<Utc>>,
    /// Who acknowledged it: a user's id, or `key:` and an API key's id.
    pub(in crate::rest) acknowledged_by: Option<String>,
    /// What they said: 1 to 1000 characters.
    #[schema(example = "On my way.")]
    pub(in crate::rest) acknowledge_note: Option<String>,
    /// When it was cleared.
    pub(in crate::rest) cleared_at: Option<DateTime<Utc>>,
    /// Why it was cleared: `condition`, `person`, `rule_changed`, `rule_removed`, `labels_changed` or
    /// `device_decommissioned`.
    #[schema(value_type = Option<String>, example = "condition")]
    pub(in crate::rest) cleared_because: Option<Why>,
    /// Who cleared it, if a person or a program did: a user's id, or `key:` and an API key's id.
    pub(in crate::rest) cleared_by: Option<String>,
    /// What they said: 1 to 1000 characters.
    #[schema(example = "The fan was replaced.")]
    pub(in crate::rest) clear_note: Option<String>,
    /// The metric's value that cleared it; of a rate, by how much it had changed.
    #[schema(example = 74.0)]
    pub(in crate::rest) clear_value: Option<f64>,
    /// The position in the control log at which it was raised.
    #[schema(value_type = i64)]
    pub(in crate::rest) position: Position,
    /// The alarm's last event.
    pub(in crate::rest) last_event: Option<EventPosition>,
}

impl Alarm {
    /// An alarm of the log's tenant.
    pub(in crate::rest) fn of(alarm: alarms::Alarm, log: &TenantLog) -> Self {
        Self {
            alarm_id: alarm.alarm_id,
            rule: alarm.rule.into(),
            rule_version: alarm.rule_version,
            title: alarm.title,
            severity: alarm.severity,
            device_uid: alarm.device_uid.into(),
            condition: alarm.condition,
            metric: alarm.metric,
            cmd: alarm.cmd,
            value: alarm.value,
            since: alarm.since,
            cause: alarm.cause,
            raised_at: alarm.raised_at,
            status: alarm.status,
            acknowledged_at: alarm.acknowledged_at,
            acknowledged_by: alarm.acknowledged_by,
            acknowledge_note: alarm.acknowledge_note,
            cleared_at: alarm.cleared_at,
            cleared_because: alarm.cleared_because,
            cleared_by: alarm.cleared_by,
            clear_note: alarm.clear_note,
            clear_value: alarm.clear_value,
            position: alarm.position,
            last_event: EventPosition::of(log, Lane::Control, Some(alarm.last_position)),
        }
    }
}

/// One event of an alarm, and the state that it left the alarm in.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct AlarmStep {
    /// The number of the event in the alarm's stream: 1, 2, 3 …
    pub(in crate::rest) sequence: i64,
    /// The number of the event in the control log.
    #[schema(value_type = i64)]
    pub(in crate::rest) position: Position,
    /// What happened: the name of the event, such as `AlarmRaised`.
    #[schema(example = "AlarmRaised")]
    pub(in crate::rest) event_type: String,
    /// The fields of the event, as they are stored.
    #[schema(value_type = Object)]
    pub(in crate::rest) event: Json,
    /// The state of the alarm after the event.
    #[schema(value_type = String, example = "raised")]
    pub(in crate::rest) status: Status,
    /// Who caused the event; `alarms` is the service itself.
    pub(in crate::rest) actor: Option<String>,
    /// The correlation id, which ties the event to other records.
    pub(in crate::rest) correlation_id: Option<String>,
    /// The event that caused this one: its log and position, such as `2:42`.
    pub(in crate::rest) causation_id: Option<String>,
    /// When the event happened.
    pub(in crate::rest) occurred_at: DateTime<Utc>,
    /// When the event was appended to the log.
    pub(in crate::rest) recorded_at: DateTime<Utc>,
}

impl From<alarms::Step> for AlarmStep {
    fn from(step: alarms::Step) -> Self {
        Self {
            sequence: step.sequence,
            position: step.position,
            event_type: step.event_type,
            event: step.event,
            status: step.status,
            actor: step.actor,
            correlation_id: step.correlation_id,
            causation_id: step.causation_id,
            occurred_at: step.occurred_at,
            recorded_at: step.recorded_at,
        }
    }
}

/// A rule of the tenant.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct AlarmRule {
    /// The name of the rule.
    #[schema(example = "too-hot")]
    pub(in crate::rest) name: String,
    /// How often the rule was defined. Pass it on as `replaces`, to change nothing that somebody else has changed since.
    #[schema(example = 1)]
    pub(in crate::rest) version: u32,
    /// What its alarms mean, for people.
    #[schema(example = "Too hot")]
    pub(in crate::rest) title: String,
    /// How bad they are: `warning`, `minor`, `major` or `critical`.
    #[schema(value_type = String, example = "critical")]
    pub(in crate::rest) severity: Severity,
    /// The devices that the rule is about. Null: all devices of the tenant.
    pub(in crate::rest) devices: Option<Devices>,
    /// What raises an alarm, and what clears it.
    pub(in crate::rest) condition: Condition,
    /// The ids of the users who are told by mail.
    pub(in crate::rest) mail: Vec<Uuid>,
}

impl AlarmRule {
    pub(in crate::rest) fn new(name: String, version: u32, definition: alarm_rule::Definition) -> Self {
        let alarm_rule::Definition { title, severity, devices, condition, mail } = definition;
        let devices = Devices::shown(devices);
        Self { name, version, title, severity, devices, condition: condition.into(), mail }
    }
}

/// The devices that a rule is about, chosen in exactly one of these ways.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "Object<DevicesFields>")]
#[schema(as = AlarmRuleDevices)]
pub(in crate::rest) enum Devices {
    /// The devices with these uids, registered or not: 1 to 1000.
    #[schema(title = "RuleDevicesByUid", value_type = Vec<String>)]
    Uids(Vec<Uid>),
    /// The devices that carry all of these labels: 1 to 64.
    #[schema(title = "RuleDevicesByLabels", value_type = std::collections::BTreeMap<String, String>)]
    Labels(Labels),
}

/// The JSON form of [`Devices`]. It is read field by field, so that a refusal names the wrong field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DevicesFields {
    uids: Option<Vec<Uid>>,
    labels: Option<Labels>,
}

impl TryFrom<Object<DevicesFields>> for Devices {
    type Error = &'static str;

    fn try_from(Object(fields): Object<DevicesFields>) -> Result<Self, &'static str> {
        match (fields.uids, fields.labels) {
            (Some(uids), None) => Ok(Self::Uids(uids)),
            (None, Some(labels)) => Ok(Self::Labels(labels)),
            _ => Err("expected either uids or labels"),
        }
    }
}

impl Devices {
    fn shown(devices: alarm_rule::Devices) -> Option<Self> {
        match devices {
            alarm_rule::Devices::All => None,
            alarm_rule::Devices::Uids(uids) => Some(Self::Uids(uids)),
            alarm_rule::Devices::Labels(labels) => Some(Self::Labels(labels)),
        }
    }

    pub(in crate::rest) fn read(devices: Option<Self>) -> alarm_rule::Devices {
        match devices {
            None => alarm_rule::Devices::All,
            Some(Self::Uids(uids)) => alarm_rule::Devices::Uids(uids),
            Some(Self::Labels(labels)) => alarm_rule::Devices::Labels(labels),
        }
    }
}

/// What raises an alarm, and what clears it: one of these kinds.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", try_from = "Object<ConditionFields>")]
#[schema(as = AlarmRuleCondition)]
pub(in crate::rest) enum Condition {
    /// A metric lies beyond a value.
    #[schema(title = "Threshold")]
    Threshold {
        /// The metric's name: 1 to 128 bytes.
        #[schema(example = "temperature")]
        metric: String,
        /// On which side of the value the trouble is: `above` or `below`.
        #[schema(value_type = String, example = "above")]
        is: Side,
        /// The value beyond which the condition holds.
        #[schema(example = 80.0)]
        value: f64,
        /// The value at which a raised alarm is cleared: `value` or better. Without it: `value`.
        #[schema(example = 75.0)]
        clear_value: Option<f64>,
        /// For how many seconds the condition must hold: 0 to 604800. Without it: 0.
        #[schema(value_type = Option<u32>, maximum = 604_800, example = 60)]
        for_s: u32,
    },
    /// A metric changes by more than `by` within `within_s` seconds, up or down.
    #[schema(title = "Rate")]
    Rate {
        /// The metric's name: 1 to 128 bytes.
        #[schema(example = "temperature")]
        metric: String,
        /// The largest change that is no alarm.
        #[schema(minimum = 0, example = 5.0)]
        by: f64,
        /// Within how many seconds: 1 to 86400.
        #[schema(minimum = 1, maximum = 86_400, example = 60)]
        within_s: u32,
    },
    /// A device sends nothing.
    #[schema(title = "Silent")]
    Silent {
        /// For how many seconds: 1 to 2592000.
        #[schema(minimum = 1, maximum = 2_592_000, example = 300)]
        for_s: u32,
    },
    /// A command to a device fails or times out. The next one of the same type that succeeds clears the alarm.
    #[schema(title = "CommandFailed")]
    CommandFailed {
        /// The command types, at most 50. None, or an empty list, is every type.
        #[schema(value_type = Option<Vec<String>>)]
        cmds: Vec<CommandName>,
    },
}

/// The JSON form of [`Condition`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionFields {
    kind: Kind,
    metric: Option<String>,
    is: Option<Side>,
    value: Option<f64>,
    clear_value: Option<f64>,
    for_s: Option<u32>,
    by: Option<f64>,
    within_s: Option<u32>,
    cmds: Option<Vec<CommandName>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Threshold,
    Rate,
    Silent,
    CommandFailed,
}

impl TryFrom<Object<ConditionFields>> for Condition {
    type Error = &'static str;

    fn try_from(Object(fields): Object<ConditionFields>) -> Result<Self, &'static str> {
        let ConditionFields { kind, metric, is, value, clear_value, for_s, by, within_s, cmds } = fields;
        match (kind, metric, is, value, clear_value, for_s, by, within_s, cmds) {
            (Kind::Threshold, Some(metric), Some(is), Some(value), clear_value, for_s, None, None, None) => {
                Ok(Self::Threshold { metric, is, value, clear_value, for_s: for_s.unwrap_or(0) })
            }
            (Kind::Threshold, ..) => {
                Err("a threshold has metric, is and value, and perhaps clear_value and for_s")
            }
            (Kind::Rate, Some(metric), None, None, None, None, Some(by), Some(within_s), None) => {
                Ok(Self::Rate { metric, by, within_s })
            }
            (Kind::Rate, ..) => Err("a rate has metric, by and within_s"),
            (Kind::Silent, None, None, None, None, Some(for_s), None, None, None) => {
                Ok(Self::Silent { for_s })
            }
            (Kind::Silent, ..) => Err("a silence has for_s"),
            (Kind::CommandFailed, None, None, None, None, None, None, None, cmds) => {
                Ok(Self::CommandFailed { cmds: cmds.unwrap_or_default() })
            }
            (Kind::CommandFailed, ..) => Err("command_failed has nothing but cmds"),
        }
    }
}

impl From<alarm_rule::Condition> for Condition {
    fn from(condition: alarm_rule::Condition) -> Self {
        use alarm_rule::Condition as Domain;
        match condition {
            Domain::Threshold { metric, is, value, clear_value, for_s } => {
                Self::Threshold { metric, is, value, clear_value, for_s }
            }
            Domain::Rate { metric, by, within_s } => Self::Rate { metric, by, within_s },
            Domain::Silent { for_s } => Self::Silent { for_s },
            Domain::CommandFailed { cmds } => Self::CommandFailed { cmds },
        }
    }
}

impl From<Condition> for alarm_rule::Condition {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Threshold { metric, is, value, clear_value, for_s } => {
                Self::Threshold { metric, is, value, clear_value, for_s }
            }
            Condition::Rate { metric, by, within_s } => Self::Rate { metric, by, within_s },
            Condition::Silent { for_s } => Self::Silent { for_s },
            Condition::CommandFailed { cmds } => Self::CommandFailed { cmds },
        }
    }
}
