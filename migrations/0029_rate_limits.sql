-- How many requests may be made: a tenant has a tier, and a tier has a limit for each path that has one of its own.
CREATE TABLE tiers (
    tier text NOT NULL CONSTRAINT tiers_name CHECK (tier ~ '^[a-z0-9_-]{1,64}$'),
    description text CONSTRAINT tiers_description CHECK (length(description) BETWEEN 1 AND 500),
    CONSTRAINT tiers_key PRIMARY KEY (tier)
);

CREATE TABLE rate_limits (
    tier text NOT NULL CONSTRAINT rate_limits_tier REFERENCES tiers ON DELETE CASCADE,
    -- `*`, or the beginning of a path as the API's document writes it, with a method before it where only that counts:
    -- `POST /devices/{uid}/commands`. The most specific one holds, alone.
    path text NOT NULL CONSTRAINT rate_limits_path CHECK (path ~ '^([A-Z]+ )?(\*|/[!-~]*)$' AND length(path) <= 200),
    requests int NOT NULL CONSTRAINT rate_limits_requests CHECK (requests BETWEEN 1 AND 1000000000),
    window_s int NOT NULL CONSTRAINT rate_limits_window CHECK (window_s BETWEEN 1 AND 86400),
    CONSTRAINT rate_limits_key PRIMARY KEY (tier, path)
);

-- Two tiers are no tenant's. `everyone` counts every request by its address before anything else is known of it, each
-- node for itself; `anonymous` counts by address, over all nodes, those of callers who turned out to be nobody.
INSERT INTO tiers (tier, description) VALUES
    ('everyone', 'Each address, before it is known who is calling; each node counts for itself.'),
    ('anonymous', 'Each address, without a login.'),
    ('free', 'For trying things out. A new tenant has it unless told otherwise.'),
    ('premium', 'For a fleet.'),
    ('enterprise', 'For a large fleet.');
INSERT INTO rate_limits (tier, path, requests, window_s) VALUES
    ('everyone', '*', 600000, 60),
    ('anonymous', '*', 3000, 60),
    ('anonymous', 'POST /auth/register', 60, 3600),
    ('free', '*', 600, 60),
    ('free', 'POST /devices/{uid}/commands', 120, 60),
    ('free', 'POST /command-batches', 10, 60),
    ('free', '/graphql', 120, 60),
    ('free', '/telemetry/{uid}/windows', 120, 60),
    ('premium', '*', 6000, 60),
    ('premium', 'POST /devices/{uid}/commands', 1200, 60),
    ('premium', 'POST /command-batches', 60, 60),
    ('premium', '/graphql', 1200, 60),
    ('premium', '/telemetry/{uid}/windows', 1200, 60),
    ('enterprise', '*', 300000, 60),
    ('enterprise', 'POST /devices/{uid}/commands', 300000, 60),
    ('enterprise', 'POST /command-batches', 600, 60),
    ('enterprise', '/graphql', 300000, 60),
    ('enterprise', '/telemetry/{uid}/windows', 300000, 60);

ALTER TABLE tenants
    ADD CONSTRAINT tenants_tier FOREIGN KEY (tier) REFERENCES tiers,
    ADD CONSTRAINT tenants_tier_is_theirs CHECK (tier NOT IN ('everyone', 'anonymous'));

GRANT SELECT, INSERT, UPDATE, DELETE ON tiers, rate_limits TO fleetlog_service;

-- What was used of a limit in a window of time, over all nodes. Not flushed: a crash of the database forgets a minute.
CREATE UNLOGGED TABLE rate_counters (
    -- Who and what, hashed.
    key bytea NOT NULL CONSTRAINT rate_counters_hash CHECK (length(key) = 16),
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    used bigint NOT NULL,
    CONSTRAINT rate_counters_key PRIMARY KEY (key, window_start)
) WITH (fillfactor = 50);
CREATE INDEX rate_counters_by_end ON rate_counters (window_end);

-- Attempts to guess a secret: when the allowance of an account or an address will be whole again (GCRA).
CREATE UNLOGGED TABLE attempts (
    -- What was tried, on whose account or from where, hashed: no e-mail address is kept beside the users.
    key bytea NOT NULL CONSTRAINT attempts_hash CHECK (length(key) = 16),
    whole_at timestamptz NOT NULL,
    CONSTRAINT attempts_key PRIMARY KEY (key)
) WITH (fillfactor = 50);
CREATE INDEX attempts_by_end ON attempts (whole_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON rate_counters, attempts TO fleetlog_service;
