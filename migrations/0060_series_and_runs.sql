-- The tables of the live version of `telemetry_windows` under names without the version, for queries that look at one series at a
-- time: which metrics a device has, and the run before or after a moment. `telemetry_window_runs` joins the two by name, so nothing
-- can be read through it in the order of an index.
DO $$
DECLARE
    version text := (
        SELECT DISTINCT substring(made.relname FROM '_v[0-9]+$')
        FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid JOIN pg_class AS made ON made.oid = refobjid
        WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
          AND ev_class = 'telemetry_window_runs'::regclass AND made.relname ~ '^telemetry_series_v[0-9]+$');
BEGIN
    EXECUTE replace('
        CREATE VIEW telemetry_series WITH (security_invoker = true) AS
        SELECT log_id, series_id, aggregate_id, metric FROM telemetry_series_vN', '_vN', version);
    -- Runs as they are stored: those of hours and days without the open runs of shorter steps.
    EXECUTE replace('
        CREATE VIEW telemetry_runs WITH (security_invoker = true) AS
        SELECT log_id, series_id, step, run,
               starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions
        FROM telemetry_windows_vN', '_vN', version);
END
$$;
GRANT SELECT ON telemetry_series, telemetry_runs TO fleetlog_service, fleetlog_requests;
