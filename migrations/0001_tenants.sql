-- The tenants, and the roles of the database.
--
-- fleetlog migrates as the owner of these tables and serves as `fleetlog_service`, a role that owns nothing and can
-- therefore neither drop a trigger nor grant itself more than is granted here. Roles belong to the whole cluster, so
-- another database of the same cluster may have made this one already, perhaps at this very moment.
DO $$
BEGIN
    CREATE ROLE fleetlog_service NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'fleetlog_service', 'MEMBER') THEN
        EXECUTE format('GRANT fleetlog_service TO %I', current_user);
    END IF;
EXCEPTION WHEN unique_violation THEN
    NULL;
END
$$;

CREATE TABLE tenants (
    tenant text NOT NULL CONSTRAINT tenants_name CHECK (tenant ~ '^[A-Za-z0-9_.-]{1,64}$'),
    -- Whether the first telemetry of an unknown device registers it; otherwise it goes to quarantine.
    self_registration boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT tenants_key PRIMARY KEY (tenant)
);

GRANT USAGE ON SCHEMA public TO fleetlog_service;
GRANT SELECT ON tenants TO fleetlog_service;
