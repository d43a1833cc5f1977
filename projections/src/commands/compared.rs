//! What two versions of `commands` are compared by, and the same rows computed from the log in one statement each.

use crate::read_model::Rows;

pub(super) fn rows() -> Vec<Rows> {
    vec![
        Rows {
            name: "commands",
            key: &["tenant", "cmd_id"],
            values: &[
                "position",
                "device_uid",
                "cmd",
                "params",
                "requested_by",
                "requested_at",
                "timeout_s",
                "max_attempts",
                "expires_at",
                "batch_id",
                "correlation_id",
                "status",
                "attempts",
                "sent_at",
                "deadline",
                "ended_at",
                "result",
                "error",
                "cancelled_by",
                "cancel_reason",
                "late_ack",
                "late_ack_at",
                "last_position",
            ],
            sums: &[],
            positions: &["last_position"],
            stored: |version| {
                format!(
                    "SELECT tenant, cmd_id, position, device_uid, cmd, params::text AS params, requested_by, requested_at,
                            timeout_s, max_attempts, expires_at, batch_id, correlation_id, status, attempts, sent_at,
                            deadline, ended_at, result::text AS result, error::text AS error, cancelled_by,
                            cancel_reason, late_ack::text AS late_ack, late_ack_at, last_position
                     FROM commands_v{version} WHERE range_of(cmd_id::text, $2) = $1"
                )
            },
            from_log: Some(commands),
        },
        Rows {
            name: "command_batches",
            key: &["tenant", "batch_id"],
            values: &[
                "position",
                "selector",
                "cmd",
                "params",
                "requested_by",
                "requested_at",
                "expires_at",
                "rate_per_s",
                "abort_after_failures",
                "devices",
                "status",
                "ended_at",
                "cancelled_by",
                "cancel_reason",
                "last_position",
            ],
            sums: &[],
            positions: &["last_position"],
            stored: |version| {
                format!(
                    "SELECT tenant, batch_id, position, selector::text AS selector, cmd, params::text AS params,
                            requested_by, requested_at, expires_at, rate_per_s, abort_after_failures, devices, status,
                            ended_at, cancelled_by, cancel_reason, last_position
                     FROM command_batches_v{version} WHERE range_of(batch_id::text, $2) = $1"
                )
            },
            from_log: Some(batches),
        },
        Rows {
            name: "command_types",
            key: &["tenant", "name"],
            values: &["description", "params", "max_attempts", "defined_at", "removed_at", "last_position"],
            sums: &[],
            positions: &["last_position"],
            stored: |version| {
                format!(
                    "SELECT tenant, name, description, params::text AS params, max_attempts, defined_at, removed_at,
                            last_position
                     FROM command_types_v{version} WHERE range_of(name, $2) = $1"
                )
            },
            from_log: Some(types),
        },
    ]
}

/// The events of one aggregate type up to the version's checkpoints, without those of parked streams.
fn events(version: i32, aggregate_type: &str) -> String {
    format!(
        "WITH events AS MATERIALIZED (
             SELECT split_part(aggregate_id, '/', 1) AS tenant,
                    substr(aggregate_id, strpos(aggregate_id, '/') + 1) AS id,
                    event.position, occurred_at AS at, event_type, payload -> event_type AS said, metadata
             FROM control_events AS event JOIN projection_checkpoints AS checkpoint USING (log_id)
             WHERE checkpoint.projection = 'commands' AND checkpoint.version = {version}
               AND event.position <= checkpoint.position AND aggregate_type = '{aggregate_type}'
               AND range_of(substr(aggregate_id, strpos(aggregate_id, '/') + 1), $2) = $1
               AND NOT EXISTS (
                   SELECT FROM parked_streams AS parked
                   WHERE parked.projection = 'commands' AND parked.version = {version}
                     AND parked.log_id = event.log_id AND parked.aggregate_type = event.aggregate_type
                     AND parked.aggregate_id = event.aggregate_id AND parked.position <= event.position)
         )"
    )
}

/// The last value of an expression over a stream's events of some types.
fn last(value: &str, types: &str) -> String {
    format!("(array_agg({value} ORDER BY position DESC) FILTER (WHERE event_type IN ({types})))[1]")
}

const STATUS: &str = "CASE event_type WHEN 'CommandRequested' THEN 'requested' WHEN 'CommandSent' THEN 'sent'
    WHEN 'CommandAcknowledged' THEN 'acked' WHEN 'CommandFailed' THEN 'failed'
    WHEN 'CommandTimedOut' THEN 'timed_out' ELSE 'cancelled' END";
const ENDS: &str = "'CommandAcknowledged', 'CommandFailed', 'CommandTimedOut', 'CommandCancelled'";

fn commands(version: i32) -> String {
    let ended = last("at", ENDS);
    let status = last(STATUS, &format!("'CommandRequested', 'CommandSent', {ENDS}"));
    let (attempts, sent_at, deadline) = (
        last("(said ->> 'attempt')::int", "'CommandSent'"),
        last("at", "'CommandSent'"),
        last("(said ->> 'deadline')::timestamptz", "'CommandSent'"),
    );
    let (result, error) =
        (last("said -> 'result'", "'CommandAcknowledged'"), last("said -> 'error'", "'CommandFailed'"));
    let (by, reason) =
        (last("said ->> 'by'", "'CommandCancelled'"), last("said ->> 'reason'", "'CommandCancelled'"));
    let (late, late_at) = (last("said", "'LateAckRecorded'"), last("at", "'LateAckRecorded'"));
    format!(
        "{} , states AS (
             SELECT tenant, id, {status} AS status, coalesce({attempts}, 0) AS attempts, {sent_at} AS sent_at,
                    {deadline} AS deadline, {ended} AS ended_at, {result} AS result, {error} AS error,
                    {by} AS cancelled_by, {reason} AS cancel_reason, {late} AS late_ack, {late_at} AS late_ack_at,
                    max(position) AS last_position
             FROM events GROUP BY tenant, id
         )
         SELECT tenant, id::uuid AS cmd_id, position, said ->> 'device_uid' AS device_uid, said ->> 'cmd' AS cmd,
                (said -> 'params')::text AS params, said ->> 'requested_by' AS requested_by, at AS requested_at,
                (said ->> 'timeout_s')::int AS timeout_s, (said ->> 'max_attempts')::int AS max_attempts,
                (said ->> 'expires_at')::timestamptz AS expires_at, (said ->> 'batch_id')::uuid AS batch_id,
                metadata ->> 'correlation_id' AS correlation_id, status, attempts, sent_at, deadline, ended_at,
                result::text AS result, error::text AS error, cancelled_by, cancel_reason,
                late_ack::text AS late_ack, late_ack_at, last_position
         FROM events JOIN states USING (tenant, id) WHERE event_type = 'CommandRequested'",
        events(version, "Command")
    )
}

fn batches(version: i32) -> String {
    let ends = "'CommandBatchCompleted', 'CommandBatchAborted', 'CommandBatchCancelled'";
    let turns = format!("'CommandBatchPaused', 'CommandBatchResumed', {ends}");
    let word = "CASE event_type WHEN 'CommandBatchResumed' THEN 'running'
                ELSE lower(substr(event_type, length('CommandBatch') + 1)) END";
    let (status, ended) = (last(word, &turns), last("at", ends));
    let (by, reason) = (
        last("said ->> 'by'", "'CommandBatchCancelled'"),
        last("said ->> 'reason'", "'CommandBatchCancelled'"),
    );
    format!(
        "{} , states AS (
             SELECT tenant, id, coalesce({status}, 'running') AS status, {ended} AS ended_at, {by} AS cancelled_by,
                    {reason} AS cancel_reason, max(position) AS last_position,
                    coalesce(sum(json_array_length(said -> 'devices'))
                        FILTER (WHERE event_type = 'CommandBatchTargeted'), 0)::int AS devices
             FROM events GROUP BY tenant, id
         )
         SELECT tenant, id::uuid AS batch_id, position, (said -> 'selector')::text AS selector, said ->> 'cmd' AS cmd,
                (said -> 'params')::text AS params, said ->> 'requested_by' AS requested_by, at AS requested_at,
                (said ->> 'expires_at')::timestamptz AS expires_at, (said ->> 'rate_per_s')::int AS rate_per_s,
                (said ->> 'abort_after_failures')::int AS abort_after_failures, devices, status, ended_at,
                cancelled_by, cancel_reason, last_position
         FROM events JOIN states USING (tenant, id) WHERE event_type = 'CommandBatchRequested'",
        events(version, "CommandBatch")
    )
}

fn types(version: i32) -> String {
    let defined = "'CommandTypeDefined'";
    format!(
        "{} SELECT tenant, id AS name, {} AS description, ({})::text AS params,
                ({})::int AS max_attempts, {} AS defined_at,
                CASE WHEN max(position) FILTER (WHERE event_type = 'CommandTypeRemoved')
                          > max(position) FILTER (WHERE event_type = {defined})
                     THEN {} END AS removed_at, max(position) AS last_position
         FROM events GROUP BY tenant, id HAVING count(*) FILTER (WHERE event_type = {defined}) > 0",
        events(version, "CommandType"),
        last("said ->> 'description'", defined),
        last("said -> 'params'", defined),
        last("said ->> 'max_attempts'", defined),
        last("at", defined),
        last("at", "'CommandTypeRemoved'"),
    )
}
