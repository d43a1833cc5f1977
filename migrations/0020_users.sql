-- Who may log in. Not events: an immutable log is no place for passwords, nor for what a person may ask to be erased.
-- What users do is on the record by user_id.
CREATE TABLE users (
    user_id uuid NOT NULL,
    tenant text NOT NULL CONSTRAINT users_tenant REFERENCES tenants,
    email text NOT NULL CONSTRAINT users_email_length CHECK (length(email) BETWEEN 3 AND 254),
    -- A PHC string: algorithm, parameters and salt are part of it.
    password_hash text NOT NULL,
    role text NOT NULL CONSTRAINT users_role CHECK (role IN ('admin', 'operator', 'analyst', 'auditor', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT users_key PRIMARY KEY (user_id)
);
CREATE UNIQUE INDEX users_email ON users (lower(email));
CREATE INDEX users_by_tenant ON users (tenant, user_id);

GRANT SELECT, INSERT ON users TO fleetlog_service;
