-- Rebuilds of read models. A rebuild makes a further version of a projection: tables of its own, filled from position 1
-- beside the live ones. When it is complete, the views are pointed at them.

-- What the tables of a version look like. A program reads and writes one format. NULL: the same number as the version.
ALTER TABLE projections ADD format int;
ALTER TABLE projections DROP CONSTRAINT projections_state;
ALTER TABLE projections ADD CONSTRAINT projections_state
    CHECK (state IN ('following', 'degraded', 'failed', 'building', 'kept'));
-- No runner moves the checkpoint of a version that was taken out of service. On the checkpoint's own row, because a runner
-- that waits for that row's lock then sees it.
ALTER TABLE projection_checkpoints ADD sealed boolean NOT NULL DEFAULT false;

CREATE TABLE projection_rebuilds (
    rebuild_id uuid CONSTRAINT projection_rebuilds_key PRIMARY KEY,
    projection text NOT NULL,
    -- A rollback brings a kept version back: it need not be built, only brought up to date.
    kind text NOT NULL CONSTRAINT projection_rebuilds_kind CHECK (kind IN ('rebuild', 'rollback')),
    -- The version that is to go live.
    version int NOT NULL,
    -- The version that it is compared with, and that its tables are made like.
    from_version int NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    step text NOT NULL CONSTRAINT projection_rebuilds_step
        CHECK (step IN ('building', 'catching_up', 'comparing', 'waiting', 'swapping', 'swapped', 'cancelled')),
    step_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused boolean NOT NULL DEFAULT false,
    -- Whether the version may go live although it differs.
    accepted boolean NOT NULL,
    -- How many seconds the version that was live before is kept.
    keep_s int NOT NULL CONSTRAINT projection_rebuilds_keep CHECK (keep_s >= 0),
    -- Events a second, lately.
    rate double precision,
    -- Why the last try failed; the rebuild goes on by itself.
    error text,
    -- How many rows differ. NULL: not compared.
    differences bigint,
    ended_at timestamptz,
    -- Until when the version that was live before can be brought back.
    kept_until timestamptz,
    kept_version int
);
-- One at a time.
CREATE UNIQUE INDEX projection_rebuilds_one ON projection_rebuilds (projection) WHERE ended_at IS NULL;
CREATE INDEX projection_rebuilds_last ON projection_rebuilds (projection, requested_at);

-- How far each part of a log is built. A part holds the events of some aggregates.
CREATE TABLE projection_rebuild_parts (
    rebuild_id uuid NOT NULL REFERENCES projection_rebuilds ON DELETE CASCADE,
    log_id int NOT NULL CONSTRAINT projection_rebuild_parts_log REFERENCES logs,
    part int NOT NULL,
    parts int NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    -- The head of the log when the building began. What comes after it is caught up in the usual way.
    target bigint NOT NULL,
    CONSTRAINT projection_rebuild_parts_key PRIMARY KEY (rebuild_id, log_id, part)
) WITH (fillfactor = 10);

-- What the comparison of each range of keys found.
CREATE TABLE projection_rebuild_ranges (
    rebuild_id uuid NOT NULL REFERENCES projection_rebuilds ON DELETE CASCADE,
    rows_of text NOT NULL,
    range int NOT NULL,
    ranges int NOT NULL,
    live_rows bigint NOT NULL,
    rebuilt_rows bigint NOT NULL,
    live_checksum numeric NOT NULL,
    rebuilt_checksum numeric NOT NULL,
    differences bigint NOT NULL,
    CONSTRAINT projection_rebuild_ranges_key PRIMARY KEY (rebuild_id, rows_of, range)
);

-- The first rows that differ.
CREATE TABLE projection_rebuild_differences (
    rebuild_id uuid NOT NULL REFERENCES projection_rebuilds ON DELETE CASCADE,
    nth bigint GENERATED ALWAYS AS IDENTITY,
    rows_of text NOT NULL,
    key json NOT NULL,
    -- NULL: the version has no such row.
    live json,
    rebuilt json,
    CONSTRAINT projection_rebuild_differences_key PRIMARY KEY (rebuild_id, nth)
);

GRANT SELECT, INSERT, UPDATE ON projection_rebuilds, projection_rebuild_parts TO fleetlog_service;
GRANT DELETE ON projection_rebuild_parts TO fleetlog_service;
GRANT SELECT, INSERT, DELETE ON projection_rebuild_ranges, projection_rebuild_differences TO fleetlog_service;

-- Makes the tables of a further version like those of another: columns, defaults, constraints, indexes, storage, row
-- security and grants. Returns the number of the new version. These functions run with their owner's rights, because
-- the service itself may create and drop nothing.
CREATE FUNCTION add_projection_version(of text, from_version int, tables text[]) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    added int := (SELECT max(version) + 1 FROM projections WHERE projection = of);
    original regclass;
    made text;
    name text;
    found record;
BEGIN
    WHILE EXISTS (SELECT FROM unnest(tables) AS t WHERE to_regclass(t || '_v' || added) IS NOT NULL) LOOP
        added := added + 1;
    END LOOP;
    FOREACH name IN ARRAY tables LOOP
        original := (name || '_v' || from_version)::regclass;
        made := name || '_v' || added;
        EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING ALL)', made, original);
        FOR found IN SELECT unnest(reloptions) AS option FROM pg_class WHERE oid = original LOOP
            EXECUTE format('ALTER TABLE %I SET (%s)', made, found.option);
        END LOOP;
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', made);
        FOR found IN
            SELECT polname, pg_get_expr(polqual, polrelid) AS visible, pg_get_expr(polwithcheck, polrelid) AS checked,
                   (SELECT string_agg(quote_ident(rolname), ', ') FROM pg_roles WHERE oid = ANY(polroles)) AS roles
            FROM pg_policy WHERE polrelid = original
        LOOP
            EXECUTE format('CREATE POLICY %I ON %I TO %s USING (%s) WITH CHECK (%s)',
                found.polname, made, found.roles, found.visible, found.checked);
        END LOOP;
        FOR found IN
            SELECT privilege_type, grantee::regrole AS grantee
            FROM pg_class, aclexplode(relacl) WHERE oid = original AND grantee <> relowner AND grantee <> 0
        LOOP
            EXECUTE format('GRANT %s ON %I TO %s', found.privilege_type, made, found.grantee);
        END LOOP;
    END LOOP;
    INSERT INTO projections (projection, version, format, live, lanes, state)
    SELECT projection, added, coalesce(format, version), false, lanes, 'building'
    FROM projections WHERE projection = of AND version = from_version;
    RETURN added;
END
$$;

-- Points every view at the tables of another version. The caller holds the locks on both versions' checkpoints, which
-- stand at the same positions.
CREATE FUNCTION swap_projection_version(of text, to_version int, tables text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    from_version int := (SELECT version FROM projections WHERE projection = of AND live);
    definition text;
    name text;
    shown record;
BEGIN
    FOR shown IN
        SELECT DISTINCT view.oid::regclass AS named, pg_get_viewdef(view.oid) AS definition,
               coalesce('WITH (' || array_to_string(view.reloptions, ', ') || ')', '') AS options
        FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid
        JOIN pg_class AS view ON view.oid = pg_rewrite.ev_class AND view.relkind = 'v'
        WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
          AND refobjid = ANY (SELECT (t || '_v' || from_version)::regclass FROM unnest(tables) AS t)
    LOOP
        definition := shown.definition;
        FOREACH name IN ARRAY tables LOOP
            definition := regexp_replace(definition, '\m' || name || '_v' || from_version || '\M',
                name || '_v' || to_version, 'g');
        END LOOP;
        EXECUTE format('CREATE OR REPLACE VIEW %s %s AS %s', shown.named, shown.options, definition);
    END LOOP;
    UPDATE projections SET live = false, state = 'kept', error = NULL, updated_at = clock_timestamp()
    WHERE projection = of AND version = from_version;
    UPDATE projections SET live = true, state = 'following', error = NULL, updated_at = clock_timestamp()
    WHERE projection = of AND version = to_version;
    UPDATE projection_checkpoints SET sealed = version = from_version
    WHERE projection = of AND version IN (from_version, to_version);
END
$$;

-- Removes a version that is not live.
CREATE FUNCTION drop_projection_version(of text, dropped int, tables text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
BEGIN
    IF EXISTS (SELECT FROM projections WHERE projection = of AND version = dropped AND live) THEN
        RAISE EXCEPTION 'version % of % is live', dropped, of USING ERRCODE = 'object_in_use';
    END IF;
    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', name || '_v' || dropped);
    END LOOP;
    DELETE FROM projection_checkpoints WHERE projection = of AND version = dropped;
    DELETE FROM parked_streams WHERE projection = of AND version = dropped;
    DELETE FROM projections WHERE projection = of AND version = dropped;
END
$$;

REVOKE ALL ON FUNCTION add_projection_version, swap_projection_version, drop_projection_version FROM PUBLIC;
GRANT EXECUTE ON FUNCTION add_projection_version, swap_projection_version, drop_projection_version TO fleetlog_service;

-- Whether two sums of the same values, added in another order, are equal: to one part in 10^9 of the largest of them.
CREATE FUNCTION nearly_equal(a double precision, b double precision, largest double precision) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN a IS NOT DISTINCT FROM b OR coalesce(abs(a - b) <= 1e-9 * largest, false);

-- Which of some ranges a key is in.
CREATE FUNCTION range_of(key text, ranges int) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (hashtext(key) & 2147483647) % ranges;
