-- What a removed range is known by without its file: between which times its readings occurred, so that an answer names only
-- ranges that may hold what was asked for, and which checkpoint proves the file.

-- NULL: removed before this was noted.
ALTER TABLE archived_ranges ADD first_occurred_at timestamptz;
ALTER TABLE archived_ranges ADD last_occurred_at timestamptz;
-- The size of the checkpoint whose proof is in the file. NULL: the file has none, because nothing was signed.
ALTER TABLE archived_ranges ADD proved_size bigint;

-- How many readings of a range are in a partition, and when they were recorded and occurred.
CREATE FUNCTION times_of_week(name text, of_log int, first bigint, last bigint, OUT count bigint,
    OUT earliest timestamptz, OUT latest timestamptz, OUT first_occurred timestamptz, OUT last_occurred timestamptz)
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    EXECUTE format('SELECT count(*), min(recorded_at), max(recorded_at), min(occurred_at), max(occurred_at) FROM %I
                    WHERE log_id = $1 AND position BETWEEN $2 AND $3', name)
        INTO count, earliest, latest, first_occurred, last_occurred USING of_log, first, last;
END
$$;

-- As `remove_week` of 0043, with the sizes of the checkpoints that prove the files. Where a key signs, each file must have
-- its proof.
CREATE FUNCTION remove_week(removed timestamptz, log_ids int[], firsts bigint[], lasts bigint[], locations text[],
    sizes bigint[], hashes bytea[], proved bigint[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    name text := week_partition(removed);
    copied boolean := array_position(locations, NULL) IS NULL;
    reason text;
    given record;
    total bigint := 0;
    counted bigint;
BEGIN
    IF removed <> date_trunc('week', removed, 'UTC') OR to_regclass(name) IS NULL THEN
        RAISE EXCEPTION 'there is no partition of a week that begins at %', removed USING ERRCODE = 'undefined_table';
    END IF;
    -- Nothing may be added to the week, no tenant may change its retention, and no rebuild may begin meanwhile.
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', name);
    LOCK TABLE projection_rebuilds IN SHARE MODE;
    PERFORM FROM logs_of_week(removed) JOIN logs USING (log_id) JOIN tenants USING (tenant) FOR SHARE OF tenants;
    reason := week_is_kept(removed, copied);
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'the week of % is kept: %', removed, reason USING ERRCODE = 'object_in_use';
    END IF;
    FOR given IN
        SELECT *, lag(last) OVER (PARTITION BY log_id ORDER BY first) AS before
        FROM unnest(log_ids, firsts, lasts, locations, sizes, hashes, proved)
            AS of (log_id, first, last, location, bytes, sha256, proved_size)
    LOOP
        IF given.location IS NOT NULL AND coalesce(given.proved_size, 0) < given.last AND EXISTS (SELECT FROM audit_keys)
        THEN
            RAISE EXCEPTION 'the file with % to % of log % has no proof of them', given.first, given.last, given.log_id
                USING ERRCODE = 'data_exception';
        END IF;
        INSERT INTO archived_ranges (log_id, first_position, last_position, week, first_recorded_at, last_recorded_at,
            first_occurred_at, last_occurred_at, location, bytes, sha256, proved_size)
        SELECT given.log_id, given.first, given.last, removed, readings.earliest, readings.latest,
            readings.first_occurred, readings.last_occurred, given.location, given.bytes, given.sha256, given.proved_size
        FROM times_of_week(name, given.log_id, given.first, given.last) AS readings
        WHERE readings.count = given.last - given.first + 1 AND coalesce(given.before < given.first, true)
        ON CONFLICT ON CONSTRAINT archived_ranges_key DO UPDATE
        SET (last_position, location, bytes, sha256, proved_size, removed_at, first_occurred_at, last_occurred_at,
             restored_at, kept_until) =
            (excluded.last_position, excluded.location, excluded.bytes, excluded.sha256, excluded.proved_size,
             excluded.removed_at, excluded.first_occurred_at, excluded.last_occurred_at, NULL, NULL);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'log % has not exactly % to % in the week of %', given.log_id, given.first, given.last, removed
                USING ERRCODE = 'data_exception';
        END IF;
        total := total + given.last - given.first + 1;
    END LOOP;
    EXECUTE format('SELECT count(*) FROM %I', name) INTO counted;
    IF counted <> total THEN
        RAISE EXCEPTION 'the week of % has % readings, and the ranges have %', removed, counted, total
            USING ERRCODE = 'data_exception';
    END IF;
    -- In the order of appends: the log's row, then the readings.
    PERFORM FROM logs WHERE log_id = ANY (log_ids) ORDER BY log_id FOR NO KEY UPDATE;
    UPDATE logs SET archived_until = greatest(archived_until,
        (SELECT max(last) FROM unnest(log_ids, lasts) AS of (id, last) WHERE id = log_id))
    WHERE log_id = ANY (log_ids);
    EXECUTE format('ALTER TABLE telemetry_events DETACH PARTITION %I', name);
    EXECUTE format('DROP TABLE %I', name);
END
$$;

-- Nodes of the version before write files without a proof.
CREATE OR REPLACE FUNCTION remove_week(removed timestamptz, log_ids int[], firsts bigint[], lasts bigint[],
    locations text[], sizes bigint[], hashes bytea[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
    RETURN remove_week(removed, log_ids, firsts, lasts, locations, sizes, hashes, NULL::bigint[]);

REVOKE ALL ON FUNCTION times_of_week,
    remove_week(timestamptz, int[], bigint[], bigint[], text[], bigint[], bytea[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    remove_week(timestamptz, int[], bigint[], bigint[], text[], bigint[], bytea[], bigint[]) TO fleetlog_service;
