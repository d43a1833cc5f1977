-- The telemetry lane: one row a message, in partitions by the week in which it was recorded.
--
-- By `recorded_at`, not `occurred_at`: a closed partition then never changes, holds one unbroken range of each log's
-- positions, and can be archived and dropped by age without touching another. Late readings lie where they arrived.
--
-- Constants (aggregate and event type, version) are not stored; a telemetry event's sequence is its position.
CREATE TABLE telemetry_events (
    log_id int NOT NULL,
    position bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- What ingest noticed, as bits; named in `fleetlog_aggregates::telemetry::Flags`.
    flags smallint NOT NULL,
    -- Compared by their bytes, whatever the database's own collation: that is quicker, and they are names, not words.
    aggregate_id text COLLATE "C" NOT NULL,
    msg_id text COLLATE "C" NOT NULL,
    payload json NOT NULL
) PARTITION BY RANGE (recorded_at);

CREATE TRIGGER telemetry_events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON telemetry_events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_append_only();

-- Makes the weekly partitions from `first` to `last` that are not there yet, and returns the end of the last one.
-- It runs with its owner's rights, because the service itself may create nothing.
--
-- Statement triggers and unique keys without the partition key are not inherited, so each partition gets its own:
-- its position, its de-duplication key, and the order in which one device's readings are read.
CREATE FUNCTION telemetry_events_make_partitions(first timestamptz, last timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    week timestamptz := date_trunc('week', first, 'UTC');
    name text;
BEGIN
    -- Two nodes that start together must not both create one. Held until the end of the transaction.
    PERFORM pg_advisory_xact_lock(hashtext('telemetry_events_make_partitions'));
    WHILE week <= last LOOP
        name := 'telemetry_events_' || to_char(week AT TIME ZONE 'UTC', 'IYYY"w"IW');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF telemetry_events FOR VALUES FROM (%L) TO (%L)',
                name, week, week + interval '7 days');
            EXECUTE format('CREATE UNIQUE INDEX %I ON %I (log_id, position)', name || '_position', name);
            EXECUTE format('CREATE UNIQUE INDEX %I ON %I (log_id, aggregate_id, msg_id)', name || '_msg_id', name);
            -- In another collation, of the same order, only so that no one but who names it can use this index. While a
            -- partition has no statistics it costs the planner no more than the one above, and by it the anti-join of
            -- an append would read all of a device's readings for each message.
            EXECUTE format('CREATE INDEX %I ON %I (log_id, aggregate_id COLLATE "POSIX", occurred_at, position)',
                name || '_device', name);
            EXECUTE format('CREATE TRIGGER telemetry_events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I '
                'FOR EACH STATEMENT EXECUTE FUNCTION events_are_append_only()', name);
        END IF;
        week := week + interval '7 days';
    END LOOP;
    RETURN week;
END
$$;
REVOKE ALL ON FUNCTION telemetry_events_make_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION telemetry_events_make_partitions TO fleetlog_service;

GRANT SELECT, INSERT ON telemetry_events TO fleetlog_service;
