-- The projections: which there are, how far each has got in each log, and what it could not fold.
CREATE TABLE projections (
    projection text NOT NULL,
    version int NOT NULL,
    -- Whether this is the version that the views show.
    live boolean NOT NULL,
    -- The lanes of the logs that it reads.
    lanes text[] NOT NULL,
    state text NOT NULL CONSTRAINT projections_state CHECK (state IN ('following', 'degraded', 'failed')),
    error text,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT projections_key PRIMARY KEY (projection, version)
);
CREATE UNIQUE INDEX projections_live ON projections (projection) WHERE live;

-- The last position that was applied. It moves in the transaction that applies, or not at all.
CREATE TABLE projection_checkpoints (
    projection text NOT NULL,
    version int NOT NULL,
    log_id int NOT NULL CONSTRAINT projection_checkpoints_log REFERENCES logs,
    position bigint NOT NULL CONSTRAINT projection_checkpoints_position CHECK (position >= 0),
    CONSTRAINT projection_checkpoints_key PRIMARY KEY (projection, version, log_id)
-- Every page rewrites one row: room on its page keeps those updates off the index.
) WITH (fillfactor = 10);

-- Streams that a projection leaves aside, from the event at `position` on, because it could not fold that one.
CREATE TABLE parked_streams (
    projection text NOT NULL,
    version int NOT NULL,
    log_id int NOT NULL CONSTRAINT parked_streams_log REFERENCES logs,
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    position bigint NOT NULL,
    error text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT parked_streams_key PRIMARY KEY (projection, version, log_id, aggregate_type, aggregate_id)
);

-- The advisory lock that the one runner of a projection holds. Whoever wants to know whether it runs looks for it in
-- pg_locks: that cannot be stale.
CREATE FUNCTION projection_lock(projection text, version int) RETURNS bigint LANGUAGE sql IMMUTABLE
    RETURN hashtextextended('fleetlog projection ' || projection || ' v' || version, 0);

GRANT SELECT, INSERT, UPDATE ON projections, projection_checkpoints TO fleetlog_service;
GRANT SELECT, INSERT ON parked_streams TO fleetlog_service;
