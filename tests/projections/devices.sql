-- A second, independent fold of the telemetry log into what was last heard of devices, and its difference.
WITH expected AS (
    SELECT split_part(aggregate_id, '/', 1) AS tenant, split_part(aggregate_id, '/', 2) AS uid, log_id,
           count(*) AS messages, max(recorded_at) FILTER (WHERE flags & 128 = 0) AS last_seen_at,
           max(occurred_at) FILTER (WHERE flags & 192 = 0) AS last_reading_at,
           (array_agg(position ORDER BY occurred_at DESC, position DESC) FILTER (WHERE flags & 192 = 0))[1]
               AS last_reading_position,
           (array_agg(payload::text ORDER BY occurred_at DESC, position DESC) FILTER (WHERE flags & 192 = 0))[1]
               AS last_reading,
           max(position) AS telemetry_position,
           max(position) FILTER (WHERE flags & 128 <> 0) AS offline_position
    FROM telemetry_events GROUP BY log_id, aggregate_id
), found AS (
    SELECT tenant, uid, telemetry_log_id, messages, last_seen_at, last_reading_at, last_reading_position,
           last_reading::text, telemetry_position, offline_position
    FROM devices WHERE messages > 0
)
SELECT (SELECT count(*) FROM (SELECT * FROM expected EXCEPT SELECT * FROM found) AS missing),
       (SELECT count(*) FROM (SELECT * FROM found EXCEPT SELECT * FROM expected) AS too_many)
