-- The control lane: devices, commands and what users did. Small, and kept for ever.
CREATE FUNCTION events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: events are append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'events_are_append_only';
END
$$;

CREATE TABLE control_events (
    log_id int NOT NULL CONSTRAINT control_events_log REFERENCES logs,
    position bigint NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    sequence bigint NOT NULL CONSTRAINT control_events_sequence CHECK (sequence > 0),
    event_type text NOT NULL,
    event_version text NOT NULL,
    -- json, not jsonb: the stored bytes are what is hashed and proved.
    payload json NOT NULL,
    metadata json NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT control_events_position PRIMARY KEY (log_id, position),
    CONSTRAINT control_events_stream UNIQUE (aggregate_type, aggregate_id, sequence)
);

-- Gives an event the next position of its tenant's control log. The log's row stays locked until the transaction
-- ends, so this runs as late as it can: while the row itself is being inserted, the last thing before COMMIT.
CREATE FUNCTION control_events_take_position() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE logs SET head = head + 1
        WHERE tenant = split_part(NEW.aggregate_id, '/', 1) AND lane = 'control' AND shard = 0
        RETURNING log_id, head INTO NEW.log_id, NEW.position;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no tenant for %', NEW.aggregate_id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'control_events_log';
    END IF;
    -- Read after the lock is held, so that within a log the times follow the positions.
    NEW.recorded_at := clock_timestamp();
    NEW.occurred_at := LEAST(
        coalesce((NEW.metadata ->> 'occurred_at')::timestamptz, NEW.recorded_at),
        NEW.recorded_at + interval '5 minutes');
    RETURN NEW;
END
$$;
CREATE TRIGGER control_events_take_position BEFORE INSERT ON control_events
    FOR EACH ROW WHEN (NEW.position IS NULL) EXECUTE FUNCTION control_events_take_position();
CREATE TRIGGER control_events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON control_events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_append_only();

GRANT SELECT, INSERT ON control_events TO fleetlog_service;
