-- Each row of a read model names the position of the event that made it last. NULL: not known, because a program that did
-- not know the column wrote the row. A rebuild fills it; nothing is read for it here.

-- A program that does not know these columns may still run beside one that does. It changes a row and leaves the position
-- as it is, which would then name an event that came before. So such a change clears the position. A program that knows the
-- columns says so in each transaction that writes rows: SET LOCAL fleetlog.names_positions = on.
CREATE OR REPLACE FUNCTION forget_position() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_ARGV[0]
        WHEN 'control_position' THEN NEW.control_position := NULL;
        WHEN 'telemetry_position' THEN NEW.telemetry_position := NULL;
        WHEN 'last_position' THEN NEW.last_position := NULL;
        WHEN 'positions' THEN NEW.positions := NULL;
    END CASE;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION forget_position FROM PUBLIC;

-- Adds the columns to the tables of every version: rebuilds have made further ones.
DO $$
DECLARE
    added record;
    made regclass;
BEGIN
    FOR added IN
        SELECT named, kind, read_model,
               array_to_string(changed, ', ') AS changed,
               (SELECT string_agg('OLD.' || name, ', ') FROM unnest(changed) AS name) AS before,
               (SELECT string_agg('NEW.' || name, ', ') FROM unnest(changed) AS name) AS after
        FROM (VALUES
            -- Of the control log, the last event that changed the row.
            ('control_position', 'bigint', 'devices',
             ARRAY['name', 'labels', 'registered_at', 'registered_via', 'decommissioned_at']),
            -- Of the telemetry log, the last reading that the row counts.
            ('telemetry_position', 'bigint', 'devices', ARRAY['messages']),
            ('last_position', 'bigint', 'commands', ARRAY['status', 'attempts', 'late_ack_at']),
            ('last_position', 'bigint', 'command_batches', ARRAY['status', 'devices']),
            ('last_position', 'bigint', 'command_types', ARRAY['defined_at', 'removed_at']),
            -- Of each window, the last reading that it counts. An element is NULL as long as the window counts some
            -- reading whose position is not known.
            ('positions', 'bigint[]', 'telemetry_windows', ARRAY['counts'])
        ) AS columns (named, kind, read_model, changed)
    LOOP
        FOR made IN
            SELECT oid FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ ('^' || added.read_model || '_v[0-9]+$')
        LOOP
            EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS %I %s', made, added.named, added.kind);
            EXECUTE format(
                'CREATE OR REPLACE TRIGGER %I BEFORE UPDATE OF %s ON %s FOR EACH ROW
                 WHEN (current_setting(''fleetlog.names_positions'', true) IS DISTINCT FROM ''on''
                       AND ROW(%s) IS DISTINCT FROM ROW(%s))
                 EXECUTE FUNCTION forget_position(%L)',
                'forget_' || added.named, added.changed, made, added.before, added.after, added.named);
        END LOOP;
    END LOOP;
END
$$;

-- The views show them, each on the tables that it shows already.
DO $$
DECLARE
    view record;
BEGIN
    FOR view IN
        SELECT DISTINCT ev_class::regclass AS name, made.oid::regclass AS made,
               substring(made.relname FROM '_v[0-9]+$') AS version
        FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid JOIN pg_class AS made ON made.oid = refobjid
        WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass AND made.relkind = 'r'
          AND ev_class IN ('devices'::regclass, 'commands'::regclass, 'command_batches'::regclass,
                           'command_types'::regclass, 'telemetry_window_runs'::regclass)
          AND made.relname !~ '^telemetry_series'
    LOOP
        IF view.name <> 'telemetry_window_runs'::regclass THEN
            EXECUTE format('CREATE OR REPLACE VIEW %s WITH (security_invoker = true) AS SELECT * FROM %s', view.name, view.made);
            CONTINUE;
        END IF;
        EXECUTE replace('
            CREATE OR REPLACE VIEW telemetry_window_runs WITH (security_invoker = true) AS
            SELECT log_id, aggregate_id, metric, step, run,
                   starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions
            FROM telemetry_series_vN JOIN telemetry_windows_vN USING (log_id, series_id)
            UNION ALL
            SELECT log_id, aggregate_id, metric, shorter.than, run,
                   starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions
            FROM telemetry_series_vN AS series
            CROSS JOIN (VALUES (60, 3600), (60, 86400), (3600, 86400)) AS shorter (step, than)
            CROSS JOIN LATERAL (
                SELECT run, starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions
                FROM telemetry_windows_vN AS stored
                WHERE stored.log_id = series.log_id AND stored.series_id = series.series_id
                  AND stored.step = shorter.step
                ORDER BY run DESC LIMIT 1
            ) AS open', '_vN', view.version);
    END LOOP;
END
$$;

CREATE OR REPLACE VIEW telemetry_windows WITH (security_invoker = true) AS
SELECT log_id, aggregate_id, metric, step, window_start(start, step) AS start,
       sum(count)::bigint AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max,
       (array_agg(first ORDER BY start))[1] AS first, min(first_at) AS first_at,
       (array_agg(last ORDER BY start DESC))[1] AS last, max(last_at) AS last_at,
       -- Not known as long as that of one part is not.
       CASE WHEN count(*) = count(position) THEN max(position) END AS position
FROM telemetry_window_runs
CROSS JOIN LATERAL unnest(starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions)
    AS windows (start, count, sum, min, max, first, first_at, last, last_at, position)
GROUP BY log_id, aggregate_id, metric, step, 5;

-- Further versions of a read model get the triggers, too. The rest is as in 0038.
CREATE OR REPLACE FUNCTION add_projection_version(of text, from_version int, tables text[]) RETURNS int
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
        FOR found IN
            SELECT pg_get_triggerdef(oid) AS definition FROM pg_trigger WHERE tgrelid = original AND NOT tgisinternal
        LOOP
            EXECUTE regexp_replace(found.definition, '\m' || name || '_v' || from_version || '\M', made);
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
