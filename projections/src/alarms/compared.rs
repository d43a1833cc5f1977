//! What two versions of `alarms` are compared by, and the same rows computed from the log in one statement each.

use crate::read_model::Rows;

pub(super) fn rows() -> Vec<Rows> {
    vec![
        Rows {
            name: "alarms",
            key: &["tenant", "alarm_id"],
            values: &[
                "position",
                "rule",
                "rule_version",
                "title",
                "severity",
                "device_uid",
                "condition",
                "metric",
                "cmd",
                "value",
                "since",
                "cause",
                "raised_at",
                "status",
                "acknowledged_at",
                "acknowledged_by",
                "acknowledge_note",
                "cleared_at",
                "cleared_because",
                "cleared_by",
                "clear_note",
                "clear_value",
                "last_position",
            ],
            sums: &[],
            positions: &[],
            stored: |version| {
                format!("SELECT * FROM alarms_v{version} WHERE range_of(alarm_id::text, $2) = $1")
            },
            from_log: Some(alarms),
        },
        Rows {
            name: "alarm_rules",
            key: &["tenant", "name"],
            values: &[
                "version",
                "title",
                "severity",
                "devices",
                "condition",
                "mail",
                "defined_at",
                "removed_at",
                "last_position",
            ],
            sums: &[],
            positions: &[],
            stored: |version| {
                format!(
                    "SELECT tenant, name, version, title, severity, devices::text AS devices,
                            condition::text AS condition, mail, defined_at, removed_at, last_position
                     FROM alarm_rules_v{version} WHERE range_of(name, $2) = $1"
                )
            },
            from_log: Some(rules),
        },
    ]
}

/// The events of one aggregate type up to the version's checkpoints, without those of parked streams.
fn events(version: i32, aggregate_type: &str) -> String {
    format!(
        "WITH events AS MATERIALIZED (
             SELECT split_part(aggregate_id, '/', 1) AS tenant,
                    substr(aggregate_id, strpos(aggregate_id, '/') + 1) AS id,
                    event.position, occurred_at AS at, event_type, payload -> event_type AS said
             FROM control_events AS event JOIN projection_checkpoints AS checkpoint USING (log_id)
             WHERE checkpoint.projection = 'alarms' AND checkpoint.version = {version}
               AND event.position <= checkpoint.position AND aggregate_type = '{aggregate_type}'
               AND range_of(substr(aggregate_id, strpos(aggregate_id, '/') + 1), $2) = $1
               AND NOT EXISTS (
                   SELECT FROM parked_streams AS parked
                   WHERE parked.projection = 'alarms' AND parked.version = {version}
                     AND parked.log_id = event.log_id AND parked.aggregate_type = event.aggregate_type
                     AND parked.aggregate_id = event.aggregate_id AND parked.position <= event.position)
         )"
    )
}

/// An expression over a stream's only event of a type.
fn of(value: &str, event_type: &str) -> String {
    format!("(array_agg({value}) FILTER (WHERE event_type = '{event_type}'))[1]")
}

fn alarms(version: i32) -> String {
    let (acknowledged, cleared) =
        (|value: &str| of(value, "AlarmAcknowledged"), |value: &str| of(value, "AlarmCleared"));
    format!(
        "{} , states AS (
             SELECT tenant, id,
                    CASE WHEN count(*) FILTER (WHERE event_type = 'AlarmCleared') > 0 THEN 'cleared'
                         WHEN count(*) FILTER (WHERE event_type = 'AlarmAcknowledged') > 0 THEN 'acknowledged'
                         ELSE 'raised' END AS status,
                    {} AS acknowledged_at, {} AS acknowledged_by, {} AS acknowledge_note,
                    {} AS cleared_at, {} AS cleared_because, {} AS cleared_by, {} AS clear_note, {} AS clear_value,
                    max(position) AS last_position
             FROM events GROUP BY tenant, id
         )
         SELECT tenant, id::uuid AS alarm_id, position, said ->> 'rule' AS rule,
                (said ->> 'rule_version')::int AS rule_version, said ->> 'title' AS title,
                said ->> 'severity' AS severity, said ->> 'device_uid' AS device_uid,
                said ->> 'condition' AS condition, said ->> 'metric' AS metric, said ->> 'cmd' AS cmd,
                (said ->> 'value')::float8 AS value, (said ->> 'since')::timestamptz AS since,
                said ->> 'cause' AS cause, at AS raised_at, status, acknowledged_at, acknowledged_by,
                acknowledge_note, cleared_at, cleared_because, cleared_by, clear_note, clear_value, last_position
         FROM events JOIN states USING (tenant, id) WHERE event_type = 'AlarmRaised'",
        events(version, "Alarm"),
        acknowledged("at"),
        acknowledged("said ->> 'by'"),
        acknowledged("said ->> 'note'"),
        cleared("at"),
        cleared("said ->> 'why'"),
        cleared("said ->> 'by'"),
        cleared("said ->> 'note'"),
        cleared("(said ->> 'value')::float8"),
    )
}

fn rules(version: i32) -> String {
    let defined = "'AlarmRuleDefined'";
    format!(
        "{} , last AS (
             SELECT DISTINCT ON (tenant, id) tenant, id, position AS defined_position, at AS defined_at, said
             FROM events WHERE event_type = {defined} ORDER BY tenant, id, position DESC
         ), states AS (
             SELECT tenant, id, max(position) AS last_position,
                    max(position) FILTER (WHERE event_type = 'AlarmRuleRemoved') AS removed_position,
                    (array_agg(at ORDER BY position DESC) FILTER (WHERE event_type = 'AlarmRuleRemoved'))[1] AS removed
             FROM events GROUP BY tenant, id
         )
         SELECT tenant, id AS name, (said ->> 'version')::int AS version, said ->> 'title' AS title,
                said ->> 'severity' AS severity, (said -> 'devices')::text AS devices,
                (said -> 'condition')::text AS condition,
                coalesce((SELECT array_agg(mailed::uuid ORDER BY ordinal)
                          FROM json_array_elements_text(said -> 'mail') WITH ORDINALITY AS m (mailed, ordinal)),
                         '{{}}') AS mail,
                defined_at, CASE WHEN removed_position > defined_position THEN removed END AS removed_at,
                last_position
         FROM last JOIN states USING (tenant, id)",
        events(version, "AlarmRule"),
    )
}
