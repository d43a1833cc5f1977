-- Rules that a tenant adds to what its users' roles and its programs' keys allow.
CREATE TABLE policies (
    tenant text NOT NULL CONSTRAINT policies_tenant REFERENCES tenants,
    name text NOT NULL,
    -- One policy in Cedar, which was checked before it came here.
    source text NOT NULL CONSTRAINT policies_source CHECK (octet_length(source) BETWEEN 1 AND 16384),
    description text CONSTRAINT policies_description CHECK (length(description) BETWEEN 1 AND 500),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Who decided so: a user's id, or `key:` and a key's.
    updated_by text NOT NULL,
    CONSTRAINT policies_key PRIMARY KEY (tenant, name)
);
SELECT secure_rows('policies', 'tenant = (SELECT current_tenant())');
GRANT SELECT, INSERT, UPDATE, DELETE ON policies TO fleetlog_service, fleetlog_requests;
