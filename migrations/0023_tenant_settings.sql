-- What a tenant may decide for itself, and what is decided for it.
ALTER TABLE tenants
    ADD suspended_at timestamptz,
    -- Whether people may make themselves an account: nobody, who was invited, or everyone.
    ADD registration text NOT NULL DEFAULT 'off'
        CONSTRAINT tenants_registration CHECK (registration IN ('off', 'invite', 'open')),
    -- Readings older than this are not shown any more. NULL: all are.
    ADD retention_days int CONSTRAINT tenants_retention CHECK (retention_days BETWEEN 1 AND 36500),
    -- NULL: no limit.
    ADD max_devices int CONSTRAINT tenants_max_devices CHECK (max_devices >= 0),
    ADD max_users int CONSTRAINT tenants_max_users CHECK (max_users >= 1),
    -- Which rate limits apply.
    ADD tier text NOT NULL DEFAULT 'free',
    -- Counts the changes of its policies, so that whoever keeps them knows when they are out of date.
    ADD policy_version bigint NOT NULL DEFAULT 0;
UPDATE tenants SET tier = 'enterprise' WHERE tenant = 't0';

GRANT INSERT, UPDATE ON tenants TO fleetlog_service;
GRANT UPDATE (self_registration, registration, retention_days, policy_version) ON tenants TO fleetlog_requests;

-- The logs come with the tenant, whoever adds it: the service may not insert logs by itself.
ALTER FUNCTION tenants_open_their_logs SECURITY DEFINER SET search_path = public, pg_temp;
