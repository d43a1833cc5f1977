-- The read model `devices`. The control lane writes what a device is, the telemetry lane what was last heard of it;
-- either may come first, so a row may lack either half.
CREATE TABLE devices_v1 (
    tenant text NOT NULL,
    -- Ordered by bytes: the order of a list must not change with the database's locale.
    uid text COLLATE "C" NOT NULL,

    name text,
    labels jsonb,
    -- NULL while telemetry is ahead of the registration: not a device yet.
    registered_at timestamptz,
    registered_via text CONSTRAINT devices_v1_registered_via CHECK (registered_via IN ('telemetry', 'api')),
    decommissioned_at timestamptz,

    telemetry_log_id int,
    messages bigint NOT NULL DEFAULT 0,
    -- By the server's clock.
    last_seen_at timestamptz,
    -- By the device's clock.
    last_reading_at timestamptz,
    last_reading_position bigint,
    last_reading json,

    CONSTRAINT devices_v1_key PRIMARY KEY (tenant, uid)
) WITH (fillfactor = 70);

-- The orders of the list, and "heard of since".
CREATE INDEX devices_v1_last_seen ON devices_v1 (tenant, coalesce(last_seen_at, '-infinity'), uid)
    WHERE registered_at IS NOT NULL;
CREATE INDEX devices_v1_registered ON devices_v1 (tenant, registered_at, uid) WHERE registered_at IS NOT NULL;

CREATE VIEW devices AS SELECT * FROM devices_v1;

GRANT SELECT, INSERT, UPDATE ON devices_v1 TO fleetlog_service;
GRANT SELECT ON devices TO fleetlog_service;
