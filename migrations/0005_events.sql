-- Both lanes in one shape: what auditors and `GET /events` read.
CREATE VIEW events AS
SELECT log_id, position, aggregate_type, aggregate_id, sequence, event_type, event_version,
       payload, metadata, occurred_at, recorded_at, NULL::text AS msg_id
FROM control_events
UNION ALL
SELECT log_id, position, 'Telemetry', aggregate_id, position, 'TelemetryRecorded', '1.0',
       payload, json_build_object('flags', flags), occurred_at, recorded_at, msg_id
FROM telemetry_events;

GRANT SELECT ON events TO fleetlog_service;
