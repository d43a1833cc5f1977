-- The names of the flags that ingest has had since version 0.1.0.
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
           CASE WHEN flags & 8192 <> 0 THEN 'no_metrics' END], NULL)),
       occurred_at, recorded_at, msg_id
FROM telemetry_events;

-- How many attempts a command of a type has by default: a column of every version of `command_types`, which may be null.
DO $$
DECLARE
    made regclass;
BEGIN
    FOR made IN
        SELECT oid FROM pg_class WHERE relkind = 'r' AND relname ~ '^command_types_v[0-9]+$'
    LOOP
        EXECUTE format('ALTER TABLE %s ADD COLUMN max_attempts int', made);
    END LOOP;
    -- The view shows it, on the table that it shows already.
    FOR made IN
        SELECT DISTINCT refobjid FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
        WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
          AND ev_class = 'command_types'::regclass AND refobjid <> 'command_types'::regclass
    LOOP
        EXECUTE format('CREATE OR REPLACE VIEW command_types WITH (security_invoker = true) AS SELECT * FROM %s', made);
    END LOOP;
END
$$;

-- A text as JSON, or null if it is none whose strings Postgres can read. For verifications of what was measured in texts.
CREATE FUNCTION json_or_null(text text) RETURNS json LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    -- jsonb reads the strings, which json does not.
    PERFORM text::jsonb;
    RETURN text::json;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
