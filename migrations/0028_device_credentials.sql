-- What devices connect with. Not events: an immutable log is no place for secrets, nor for their hashes. What is done
-- with a credential is on the record in its device's stream, in the same transaction.
CREATE TABLE device_credentials (
    credential_id uuid NOT NULL,
    tenant text NOT NULL CONSTRAINT device_credentials_tenant REFERENCES tenants,
    uid text COLLATE "C" NOT NULL,
    -- SHA-256 of 128 random bits: there is nothing to guess, so it need not be slow.
    secret_hash bytea NOT NULL CONSTRAINT device_credentials_secret_hash CHECK (length(secret_hash) = 32),
    -- Its event's place in the device's stream. A decommissioning behind it ends it.
    sequence bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    -- Good no more from then on: as it was issued, or after the overlap of a rotation.
    expires_at timestamptz,
    revoked_at timestamptz,
    -- Exact to a minute.
    last_used_at timestamptz,
    CONSTRAINT device_credentials_key PRIMARY KEY (credential_id)
) WITH (fillfactor = 80);

-- A login finds a device's credentials, a list shows them.
CREATE INDEX device_credentials_by_device ON device_credentials (tenant, uid) WHERE revoked_at IS NULL;
CREATE INDEX device_credentials_all_by_device ON device_credentials (tenant, uid, created_at);
-- Every node asks each second for what has ended lately.
CREATE INDEX device_credentials_revoked ON device_credentials (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX device_credentials_expire ON device_credentials (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX control_events_decommissioned ON control_events (recorded_at)
    WHERE event_type = 'DeviceDecommissioned';
CREATE INDEX tenants_suspended ON tenants (suspended_at) WHERE suspended_at IS NOT NULL;

SELECT secure_rows('device_credentials', 'tenant = (SELECT current_tenant())');
GRANT SELECT, UPDATE (last_used_at) ON device_credentials TO fleetlog_service;
-- A caller sees no hash, and changes nothing but the end. `fleetlog device` issues as the service.
GRANT INSERT, UPDATE (expires_at, revoked_at) ON device_credentials TO fleetlog_service, fleetlog_requests;
GRANT SELECT (credential_id, tenant, uid, sequence, created_at, created_by, expires_at, revoked_at, last_used_at)
    ON device_credentials TO fleetlog_requests;
