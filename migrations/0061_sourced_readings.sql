-- The name of the flag of readings that a source has taken in.
CREATE OR REPLACE VIEW events WITH (security_invoker = true) AS
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
           CASE WHEN flags & 32 <> 0 THEN 'partial' END,
           CASE WHEN flags & 64 <> 0 THEN 'online' END,
           CASE WHEN flags & 128 <> 0 THEN 'offline' END,
           CASE WHEN flags & 256 <> 0 THEN 'will' END,
           CASE WHEN flags & 512 <> 0 THEN 'bad_ts' END,
           CASE WHEN flags & 1024 <> 0 THEN 'bad_msg_id' END,
           CASE WHEN flags & 2048 <> 0 THEN 'id_reused' END,
           CASE WHEN flags & 4096 <> 0 THEN 'repeated_key' END,
           CASE WHEN flags & 8192 <> 0 THEN 'no_metrics' END,
           CASE WHEN flags & 16384 <> 0 THEN 'sourced' END], NULL)),
       occurred_at, recorded_at, msg_id
FROM telemetry_events;
