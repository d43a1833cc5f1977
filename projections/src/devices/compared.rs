//! What two versions of `devices` are compared by, and the same rows computed from the log in one statement.

use crate::read_model::Rows;

pub(super) fn rows() -> Vec<Rows> {
    vec![Rows {
        name: "devices",
        key: &["tenant", "uid"],
        values: &[
            "name",
            "labels",
            "registered_at",
            "registered_via",
            "decommissioned_at",
            "telemetry_log_id",
            "messages",
            "last_seen_at",
            "last_reading_at",
            "last_reading_position",
            "last_reading",
            "control_position",
            "telemetry_position",
            "online_within_s",
            "offline_position",
            "offline_at",
        ],
        sums: &[],
        positions: &["control_position", "telemetry_position"],
        stored,
        from_log: Some(from_log),
    }]
}

fn stored(version: i32) -> String {
    format!(
        "SELECT tenant, uid, name, labels, registered_at, registered_via, decommissioned_at, telemetry_log_id,
                messages, last_seen_at, last_reading_at, last_reading_position, last_reading::text AS last_reading,
                control_position, telemetry_position, online_within_s, offline_position, offline_at
         FROM devices_v{version} WHERE range_of(uid, $2) = $1"
    )
}

/// A registration begins a device anew; each later change counts until the next one of the same field.
fn from_log(version: i32) -> String {
    format!(
        "WITH checkpoints AS (
             SELECT log_id, position FROM projection_checkpoints WHERE projection = 'devices' AND version = {version}
         ), parked AS (
             SELECT log_id, aggregate_type, aggregate_id, position FROM parked_streams
             WHERE projection = 'devices' AND version = {version}
         ), changes AS MATERIALIZED (
             SELECT aggregate_id, event.position, occurred_at, event_type, payload::jsonb -> event_type AS said,
                    coalesce(max(event.position) FILTER (WHERE event_type = 'DeviceRegistered')
                        OVER (PARTITION BY aggregate_id), 0) AS began
             FROM control_events AS event JOIN checkpoints USING (log_id)
             WHERE event.position <= checkpoints.position AND aggregate_type = 'Device'
               AND event_type IN ('DeviceRegistered', 'DeviceUpdated', 'DeviceDecommissioned')
               AND range_of(substr(aggregate_id, strpos(aggregate_id, '/') + 1), $2) = $1
               AND NOT EXISTS (SELECT FROM parked WHERE parked.log_id = event.log_id
                                 AND parked.aggregate_type = 'Device' AND parked.aggregate_id = event.aggregate_id
                                 AND parked.position <= event.position)
         ), lives AS (
             SELECT aggregate_id COLLATE \"C\" AS aggregate_id,
                    (array_agg(said ->> 'name' ORDER BY position DESC)
                        FILTER (WHERE said ->> 'name' IS NOT NULL AND position >= began))[1] AS name,
                    (array_agg(CASE WHEN said -> 'labels' IS NOT NULL THEN said -> 'labels' ELSE '{{}}' END
                               ORDER BY position DESC)
                        FILTER (WHERE position >= began
                                  AND (event_type = 'DeviceRegistered' OR jsonb_typeof(said -> 'labels') = 'object')))[1]
                        AS labels,
                    (array_agg(coalesce((said ->> 'online_within_s')::int, 0) ORDER BY position DESC)
                        FILTER (WHERE said ? 'online_within_s' AND position >= began))[1] AS online_within_s,
                    max(occurred_at) FILTER (WHERE position = began) AS registered_at,
                    max(said ->> 'via') FILTER (WHERE position = began) AS registered_via,
                    (array_agg(occurred_at ORDER BY position DESC)
                        FILTER (WHERE event_type = 'DeviceDecommissioned' AND position >= began))[1] AS decommissioned_at,
                    max(position) AS control_position
             FROM changes GROUP BY 1
         ), answers AS (
             SELECT (split_part(aggregate_id, '/', 1) || '/' || substr(metadata ->> 'actor', 8)) COLLATE \"C\" AS aggregate_id,
                    max(recorded_at) AS answered_at
             FROM control_events AS event JOIN checkpoints USING (log_id)
             WHERE event.position <= checkpoints.position AND aggregate_type = 'Command'
               AND event_type IN ('CommandAcknowledged', 'CommandFailed', 'LateAckRecorded')
               AND metadata ->> 'actor' LIKE 'device:%' AND range_of(substr(metadata ->> 'actor', 8), $2) = $1
               AND NOT EXISTS (SELECT FROM parked WHERE parked.log_id = event.log_id
                                 AND parked.aggregate_type = 'Command' AND parked.aggregate_id = event.aggregate_id
                                 AND parked.position <= event.position)
             GROUP BY 1
         ), readings AS (
             SELECT log_id, aggregate_id, count(*) AS messages,
                    max(recorded_at) FILTER (WHERE flags & 128 = 0) AS last_seen_at,
                    max(event.position) AS telemetry_position,
                    max(event.position) FILTER (WHERE flags & 128 <> 0) AS offline_position,
                    max(recorded_at) FILTER (WHERE flags & 128 <> 0) AS offline_at,
                    max(ARRAY[(extract(epoch FROM occurred_at) * 1000000)::bigint, event.position])
                        FILTER (WHERE flags & 192 = 0) AS last
             FROM telemetry_events AS event JOIN checkpoints USING (log_id)
             WHERE event.position <= checkpoints.position
               AND range_of(substr(aggregate_id, strpos(aggregate_id, '/') + 1), $2) = $1
               AND NOT EXISTS (SELECT FROM parked WHERE parked.log_id = event.log_id
                                 AND parked.aggregate_type = 'Telemetry' AND parked.aggregate_id = event.aggregate_id
                                 AND parked.position <= event.position)
             GROUP BY 1, 2
         )
         SELECT split_part(known.aggregate_id, '/', 1) AS tenant,
                substr(known.aggregate_id, strpos(known.aggregate_id, '/') + 1) AS uid,
                name, labels, registered_at, registered_via, decommissioned_at, known.log_id AS telemetry_log_id,
                coalesce(messages, 0) AS messages, greatest(last_seen_at, answered_at) AS last_seen_at, reading.occurred_at AS last_reading_at,
                last[2] AS last_reading_position, reading.payload::text AS last_reading, control_position,
                telemetry_position, online_within_s, offline_position, offline_at
         FROM (SELECT * FROM lives FULL JOIN answers USING (aggregate_id) FULL JOIN readings USING (aggregate_id))
              AS known
         LEFT JOIN telemetry_events AS reading ON reading.log_id = known.log_id AND reading.position = last[2]"
    )
}
