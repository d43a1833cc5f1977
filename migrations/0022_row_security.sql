-- The second wall between tenants. The first is the condition on the tenant in every query; this one holds where that
-- was forgotten.
--
-- What a caller asks for runs as `fleetlog_requests`, which owns nothing and sees the rows of one tenant only: the one
-- that its connection was given to, in the setting `fleetlog.tenant`. Without it, no row at all. Ingest, projections,
-- the dispatcher, and what must happen before the tenant is known, such as a login, run as `fleetlog_service`.
DO $$
BEGIN
    CREATE ROLE fleetlog_requests NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'fleetlog_requests', 'MEMBER') THEN
        EXECUTE format('GRANT fleetlog_requests TO %I', current_user);
    END IF;
EXCEPTION WHEN unique_violation THEN
    NULL;
END
$$;

CREATE FUNCTION current_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN current_setting('fleetlog.tenant', true);

-- The logs of the current tenant. An array, so that a statement works it out once and not for each row.
CREATE FUNCTION current_logs() RETURNS int[] LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ARRAY(SELECT log_id FROM logs WHERE tenant = current_setting('fleetlog.tenant', true));

-- Opens a table to the service, and of it the rows that `visible` says to requests. A later migration that makes a
-- table with rows of tenants calls this for it, or requests see nothing of it: they have no rights to it either.
CREATE FUNCTION secure_rows(secured regclass, visible text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', secured);
    EXECUTE format('CREATE POLICY everything ON %s TO fleetlog_service USING (true) WITH CHECK (true)', secured);
    EXECUTE format('CREATE POLICY own_tenant ON %s TO fleetlog_requests USING (%s) WITH CHECK (%2$s)', secured, visible);
END
$$;
REVOKE ALL ON FUNCTION secure_rows FROM PUBLIC;

SELECT secure_rows(secured, 'tenant = (SELECT current_tenant())')
FROM unnest(ARRAY['tenants', 'logs', 'devices_v1', 'commands_v1', 'command_batches_v1', 'command_types_v1', 'users'])
    AS secured;
-- IS TRUE, so that this stays a filter: as a condition of an index scan, = ANY would cost it its order, and the newest
-- 100 readings of a device would be all of its readings, sorted.
SELECT secure_rows(secured, '(log_id = ANY ((SELECT current_logs())::int[])) IS TRUE')
FROM unnest(ARRAY['control_events', 'telemetry_events', 'telemetry_duplicates', 'telemetry_series_v1',
    'telemetry_windows_v1', 'projection_checkpoints', 'parked_streams']) AS secured;
-- What names no tenant is the business of those who run the platform.
SELECT secure_rows('quarantine',
    'tenant = (SELECT current_tenant()) OR (tenant IS NULL AND (SELECT current_tenant()) = ''t0'')');

-- A view shows what its reader may see, not what its owner may.
ALTER VIEW events SET (security_invoker = true);
ALTER VIEW devices SET (security_invoker = true);
ALTER VIEW telemetry_windows SET (security_invoker = true);
ALTER VIEW commands SET (security_invoker = true);
ALTER VIEW command_batches SET (security_invoker = true);
ALTER VIEW command_types SET (security_invoker = true);

GRANT USAGE ON SCHEMA public TO fleetlog_requests;
GRANT SELECT ON tenants, logs, control_events, telemetry_events, events, telemetry_duplicates, quarantine,
    projections, projection_checkpoints, parked_streams, devices_v1, devices, telemetry_series_v1,
    telemetry_windows_v1, telemetry_windows, commands_v1, commands, command_batches_v1, command_batches,
    command_types_v1, command_types TO fleetlog_requests;
GRANT SELECT (user_id, tenant, email, role, created_at) ON users TO fleetlog_requests;
-- An append takes its position from the log's row.
GRANT INSERT ON control_events TO fleetlog_requests;
GRANT UPDATE (head) ON logs TO fleetlog_requests;
