-- Keys of programs: good for some actions, shown once, kept as a digest.
CREATE TABLE api_keys (
    key_id uuid NOT NULL,
    tenant text NOT NULL CONSTRAINT api_keys_tenant REFERENCES tenants,
    name text NOT NULL CONSTRAINT api_keys_name CHECK (length(name) BETWEEN 1 AND 200),
    -- The secret is random: nobody guesses it, and a fast digest does.
    secret_hash bytea NOT NULL CONSTRAINT api_keys_secret_hash CHECK (length(secret_hash) = 32),
    actions text[] NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    -- To the minute.
    last_used_at timestamptz,
    CONSTRAINT api_keys_key PRIMARY KEY (key_id)
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, key_id);
SELECT secure_rows('api_keys', 'tenant = (SELECT current_tenant())');
GRANT SELECT, UPDATE (last_used_at) ON api_keys TO fleetlog_service;
GRANT SELECT (key_id, tenant, name, actions, created_by, created_at, expires_at, revoked_at, last_used_at), INSERT,
    UPDATE (revoked_at) ON api_keys TO fleetlog_requests;
