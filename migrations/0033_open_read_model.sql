-- What a new read model's table needs before anybody may read it, in one call: row-level security, the view without the
-- version in its name, and the grants.
--
-- Whose a row is follows from its column `tenant`, or else from `log_id`. A table with neither is refused: no rule could
-- keep its rows apart.
CREATE FUNCTION open_read_model(opened regclass, shown_as text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    visible text := CASE
        WHEN has_column(opened, 'tenant') THEN 'tenant = (SELECT current_tenant())'
        -- IS TRUE, so that this stays a filter: see 0022.
        WHEN has_column(opened, 'log_id') THEN '(log_id = ANY ((SELECT current_logs())::int[])) IS TRUE'
    END;
BEGIN
    IF visible IS NULL THEN
        RAISE EXCEPTION '% has neither tenant nor log_id: nothing says whose a row is', opened
            USING ERRCODE = 'undefined_column';
    END IF;
    PERFORM secure_rows(opened, visible);
    -- The view shows what its reader may see, not what its owner may.
    EXECUTE format('CREATE VIEW %I WITH (security_invoker = true) AS SELECT * FROM %s', shown_as, opened);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %s TO fleetlog_service', opened);
    EXECUTE format('GRANT SELECT ON %s TO fleetlog_requests', opened);
    EXECUTE format('GRANT SELECT ON %I TO fleetlog_service, fleetlog_requests', shown_as);
END
$$;

CREATE FUNCTION has_column(relation regclass, wanted text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = relation AND attname = wanted AND attnum > 0 AND NOT attisdropped)
$$;

-- Migrations call them, as the owner.
REVOKE ALL ON FUNCTION open_read_model, has_column FROM PUBLIC;
