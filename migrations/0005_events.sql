-- Both lanes in one shape: what auditors and `GET /events` read.
CREATE VIEW events AS
SELECT log_id, position, aggregate_type, aggregate_id, sequence, event_type, event_version,
       payload, metadata, occurred_at, recorded_at, NULL::text AS msg_id
FROM control_events
UNION ALL
SELECT log_id, position, 'Telemetry', aggregate_id, position, 'TelemetryRecorded', '1.0',
       payload,
       json_build_object('flags', array_remove(ARRAY[
           CASE WHEN flags & 1 <> 0 THEN 'raw' END,
           CASE WHEN flags & 2 <> 0 THEN 'late' END,
           CASE WHEN flags & 4 <> 0 THEN 'clock_ahead' END,
           CASE WHEN flags & 8 <> 0 THEN 'no_msg_id' END,
           CASE WHEN flags & 16 <> 0 THEN 'no_ts' END,
           CASE WHEN flags & 32 <> 0 THEN 'partial' END], NULL)),
       occurred_at, recorded_at, msg_id
FROM telemetry_events;

GRANT SELECT ON events TO fleetlog_service;
