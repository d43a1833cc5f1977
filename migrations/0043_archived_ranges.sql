-- Readings that were removed from the database because their tenant's retention is over, and where the copies lie.

-- The readings of one log and one week, unbroken: usually one row for each log and week. A server clock that was set back over
-- a week's end divides them.
CREATE TABLE archived_ranges (
    log_id int NOT NULL CONSTRAINT archived_ranges_log REFERENCES logs,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    -- The beginning of the week in which they were recorded.
    week timestamptz NOT NULL,
    first_recorded_at timestamptz NOT NULL,
    last_recorded_at timestamptz NOT NULL,
    -- Of the file: where it lies, its length, and the hash of its bytes. NULL: the operator keeps no copies.
    location text,
    bytes bigint,
    sha256 bytea,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Since when the readings are back in the database, and until when they stay there. NULL: they are not.
    restored_at timestamptz,
    kept_until timestamptz,
    CONSTRAINT archived_ranges_key PRIMARY KEY (log_id, first_position),
    CONSTRAINT archived_ranges_positions CHECK (first_position BETWEEN 1 AND last_position),
    CONSTRAINT archived_ranges_copy CHECK (num_nulls(location, bytes, sha256) IN (0, 3)),
    CONSTRAINT archived_ranges_restored CHECK (num_nulls(restored_at, kept_until) IN (0, 2))
);
SELECT secure_rows('archived_ranges', '(log_id = ANY ((SELECT current_logs())::int[])) IS TRUE');
GRANT SELECT ON archived_ranges TO fleetlog_service, fleetlog_requests;

-- The last position that was ever removed; readings after it are in the database. Whoever reads before it looks into
-- `archived_ranges`. Here, because every node reads these rows anyway.
ALTER TABLE logs ADD archived_until bigint NOT NULL DEFAULT 0;

-- The name of a week's partition.
CREATE FUNCTION week_partition(week timestamptz) RETURNS text LANGUAGE sql STABLE
    RETURN 'telemetry_events_' || to_char(week AT TIME ZONE 'UTC', 'IYYY"w"IW');

-- The weeks that have a partition, oldest first, up to the present one.
CREATE FUNCTION partitioned_weeks() RETURNS SETOF timestamptz LANGUAGE sql STABLE AS $$
    SELECT week FROM (
        SELECT to_date(right(relname, 7), 'IYYY"w"IW')::timestamp AT TIME ZONE 'UTC' AS week
        FROM pg_inherits JOIN pg_class ON oid = inhrelid
        WHERE inhparent = 'telemetry_events'::regclass AND relname ~ '^telemetry_events_[0-9]{4}w[0-9]{2}$'
    ) AS partitions WHERE week <= clock_timestamp() ORDER BY week
$$;

-- What the logs have in a week. With its owner's rights, because the service may not read a partition by itself.
CREATE FUNCTION logs_of_week(of_week timestamptz) RETURNS TABLE (log_id int, first_position bigint, last_position bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF to_regclass(week_partition(of_week)) IS NOT NULL THEN
        RETURN QUERY EXECUTE format(
            'SELECT log_id, first.position, last.position FROM logs
             CROSS JOIN LATERAL (SELECT position FROM %1$I AS reading WHERE reading.log_id = logs.log_id
                                 ORDER BY position LIMIT 1) AS first
             CROSS JOIN LATERAL (SELECT position FROM %1$I AS reading WHERE reading.log_id = logs.log_id
                                 ORDER BY position DESC LIMIT 1) AS last
             WHERE lane = ''telemetry'' ORDER BY log_id', week_partition(of_week));
    END IF;
END
$$;

-- Why a week is not removed, in words. NULL: it may be. A day after its end nothing is recorded in it any more, unless the
-- server's clock is set back by more than that. `copied`: whether there are files that a reader can go back to.
CREATE FUNCTION week_is_kept(of_week timestamptz, copied boolean) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    week_end timestamptz := of_week + interval '7 days';
    reason text;
BEGIN
    IF week_end + interval '1 day' > clock_timestamp() THEN
        RETURN 'it ended less than a day ago';
    END IF;
    SELECT INTO reason format('tenant %s keeps its readings %s', tenant,
        coalesce('for ' || retention_days || ' days', 'for ever'))
    FROM logs_of_week(of_week) JOIN logs USING (log_id) JOIN tenants USING (tenant)
    WHERE retention_days IS NULL OR week_end + make_interval(days => retention_days) > clock_timestamp()
    ORDER BY retention_days DESC NULLS FIRST, tenant LIMIT 1;
    IF FOUND THEN RETURN reason; END IF;
    SELECT INTO reason format('log %s was restored, and is kept until %s', log_id, kept_until)
    FROM archived_ranges WHERE week = of_week AND kept_until > clock_timestamp() ORDER BY kept_until DESC LIMIT 1;
    IF FOUND THEN RETURN reason; END IF;
    SELECT INTO reason format('version %s of projection %s stands at %s of log %s', version, projection, reached, log_id)
    FROM (
        SELECT version, projection, log_id, last_position, coalesce(
            (SELECT position FROM projection_checkpoints AS checkpoint
             WHERE checkpoint.projection = p.projection AND checkpoint.version = p.version
               AND checkpoint.log_id = of.log_id),
            (SELECT min(part.position) FROM projection_rebuilds AS rebuild
             JOIN projection_rebuild_parts AS part USING (rebuild_id)
             WHERE rebuild.projection = p.projection AND rebuild.version = p.version AND rebuild.ended_at IS NULL
               AND part.log_id = of.log_id),
            0) AS reached
        -- A kept version is folded on if it comes back; it reads files, if there are any.
        FROM projections AS p CROSS JOIN logs_of_week(of_week) AS of
        WHERE 'telemetry' = ANY (lanes) AND (state <> 'kept' OR NOT copied)
    ) AS readers WHERE reached < last_position LIMIT 1;
    IF FOUND THEN RETURN reason; END IF;
    -- What is removed was proved, and signed where there is a key.
    SELECT INTO reason format('the proof of log %s stands at %s', log_id, coalesce(proved, 0))
    FROM logs_of_week(of_week) AS of
    CROSS JOIN LATERAL (
        SELECT CASE WHEN EXISTS (SELECT FROM audit_keys)
            THEN (SELECT max(size) FROM audit_checkpoints AS signed WHERE signed.log_id = of.log_id AND note IS NOT NULL)
            ELSE (SELECT size FROM audit_trees AS tree WHERE tree.log_id = of.log_id)
        END AS proved
    ) AS proof
    WHERE coalesce(proved, 0) < last_position LIMIT 1;
    RETURN reason;
END
$$;

-- Removes a week: drops its partition, and notes what was in it. `ranges` are all unbroken ranges of all its logs, and in
-- their order where the copies lie. The caller has written and verified these; everything else is checked here, because the
-- service itself may drop nothing. It gives up when it waits for half a second for other statements on the readings,
-- because those that come wait behind it.
CREATE FUNCTION remove_week(removed timestamptz, log_ids int[], firsts bigint[], lasts bigint[], locations text[],
    sizes bigint[], hashes bytea[]) RETURNS void
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
        FROM unnest(log_ids, firsts, lasts, locations, sizes, hashes)
            AS of (log_id, first, last, location, bytes, sha256)
    LOOP
        INSERT INTO archived_ranges (log_id, first_position, last_position, week, first_recorded_at, last_recorded_at,
            location, bytes, sha256)
        SELECT given.log_id, given.first, given.last, removed, readings.earliest, readings.latest, given.location,
            given.bytes, given.sha256
        FROM range_of_week(name, given.log_id, given.first, given.last) AS readings
        WHERE readings.count = given.last - given.first + 1 AND coalesce(given.before < given.first, true)
        ON CONFLICT ON CONSTRAINT archived_ranges_key DO UPDATE
        SET (last_position, location, bytes, sha256, removed_at, restored_at, kept_until) =
            (excluded.last_position, excluded.location, excluded.bytes, excluded.sha256, excluded.removed_at, NULL, NULL);
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

-- How many readings of a range are in a partition, and when they were recorded.
CREATE FUNCTION range_of_week(name text, of_log int, first bigint, last bigint, OUT count bigint,
    OUT earliest timestamptz, OUT latest timestamptz)
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    EXECUTE format('SELECT count(*), min(recorded_at), max(recorded_at) FROM %I
                    WHERE log_id = $1 AND position BETWEEN $2 AND $3', name)
        INTO count, earliest, latest USING of_log, first, last;
END
$$;

-- Notes that a range is back in the database, once all of it is there.
CREATE FUNCTION note_restored(of_log int, first bigint, keep_days int) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE archived_ranges AS range
    SET restored_at = clock_timestamp(), kept_until = clock_timestamp() + make_interval(days => keep_days)
    WHERE log_id = of_log AND first_position = first AND restored_at IS NULL
      AND (SELECT (count, earliest, latest) = (last_position - first_position + 1, first_recorded_at, last_recorded_at)
           FROM range_of_week(week_partition(week), of_log, first_position, last_position));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'log % is not restored from % on', of_log, first USING ERRCODE = 'data_exception';
    END IF;
END
$$;

REVOKE ALL ON FUNCTION logs_of_week, week_is_kept, remove_week, range_of_week, note_restored FROM PUBLIC;
GRANT EXECUTE ON FUNCTION logs_of_week, week_is_kept, remove_week, note_restored TO fleetlog_service;
