-- What tells whether a device is there besides its readings: its answers to commands, what it says on its status topic, its
-- connection to the endpoint, and a threshold of its own. See docs/decisions/0029.

-- Of the record. Adds the columns to the tables of every version of `devices`, and counts the answers that were folded.
DO $$
DECLARE
    made regclass;
BEGIN
    FOR made IN
        SELECT oid FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ '^devices_v[0-9]+$'
    LOOP
        EXECUTE format(
            'ALTER TABLE %s
                 -- The threshold of the device, in seconds. 0: it had one, and has the usual one again.
                 ADD COLUMN online_within_s int,
                 -- The last message that says that the device is offline, and when it was recorded.
                 ADD COLUMN offline_position bigint,
                 ADD COLUMN offline_at timestamptz', made);
        EXECUTE format(
            'UPDATE %s AS device SET last_seen_at = greatest(last_seen_at, answered.at)
             FROM (SELECT split_part(aggregate_id, ''/'', 1) AS tenant, substr(metadata ->> ''actor'', 8) AS uid,
                          max(recorded_at) AS at
                   FROM control_events AS event JOIN projection_checkpoints AS reached USING (log_id)
                   WHERE reached.projection = ''devices'' AND reached.version = %s AND event.position <= reached.position
                     AND event_type IN (''CommandAcknowledged'', ''CommandFailed'', ''LateAckRecorded'')
                     AND metadata ->> ''actor'' LIKE ''device:%%''
                   GROUP BY 1, 2) AS answered
             WHERE device.tenant = answered.tenant AND device.uid = answered.uid',
            made, substring(made::text FROM '[0-9]+$'));
    END LOOP;
    -- The view shows them, on the table that it shows already.
    FOR made IN
        SELECT DISTINCT refobjid FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
        WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
          AND ev_class = 'devices'::regclass AND refobjid <> 'devices'::regclass
    LOOP
        EXECUTE format('CREATE OR REPLACE VIEW devices WITH (security_invoker = true) AS SELECT * FROM %s', made);
    END LOOP;
END
$$;

-- Not of the record: who was connected to the endpoint, and when. A row is written when a connection begins and when it has
-- ended, by the batch; while it stands, its node's row says so for all of them. It is kept for a week after the end.
CREATE TABLE device_connections (
    connection uuid NOT NULL CONSTRAINT device_connections_key PRIMARY KEY,
    tenant text NOT NULL,
    uid text COLLATE "C" NOT NULL,
    -- NULL: it has ended.
    node uuid,
    connected_at timestamptz NOT NULL,
    -- Whether it would have been ended if its client had been silent. If not, only `heard_at` tells.
    watched boolean NOT NULL,
    -- When the client was last heard of, as far as it was written.
    heard_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT device_connections_ended CHECK ((node IS NULL) = (ended_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX device_connections_by_device ON device_connections (tenant, uid, connected_at);
CREATE INDEX device_connections_by_node ON device_connections (node) WHERE node IS NOT NULL;
CREATE INDEX device_connections_ended ON device_connections (ended_at) WHERE ended_at IS NOT NULL;
SELECT secure_rows('device_connections', 'tenant = (SELECT current_tenant())');
GRANT SELECT, INSERT, UPDATE, DELETE ON device_connections TO fleetlog_service;
GRANT SELECT ON device_connections TO fleetlog_requests;
-- Nodes are nobody's.
ALTER POLICY own_tenant ON device_nodes USING (true) WITH CHECK (false);
GRANT SELECT ON device_nodes TO fleetlog_requests;

-- A will that waits: the session ended without a goodbye, and its client has until then to come back.
ALTER TABLE device_sessions
    ADD COLUMN will_topic text,
    ADD COLUMN will_payload bytea,
    ADD COLUMN will_id text,
    ADD COLUMN will_at timestamptz,
    -- When the client was last heard of.
    ADD COLUMN will_heard_at timestamptz,
    ADD CONSTRAINT device_sessions_will
        CHECK (num_nulls(will_topic, will_payload, will_id, will_at, will_heard_at) IN (0, 5));
CREATE INDEX device_sessions_will_at ON device_sessions (will_at) WHERE will_at IS NOT NULL;

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
           CASE WHEN flags & 256 <> 0 THEN 'will' END], NULL)),
       occurred_at, recorded_at, msg_id
FROM telemetry_events;
