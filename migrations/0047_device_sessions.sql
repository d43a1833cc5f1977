-- What clients of the built-in endpoint have asked to be kept while they are away. A row is written when a session begins, when
-- its subscriptions change and when its client leaves; no message writes here but those of the highest quality of service.
CREATE TABLE device_sessions (
    -- SHA-256 of the user's name, a zero byte and the client id, which may have 65,535 bytes.
    client bytea NOT NULL CONSTRAINT device_sessions_key PRIMARY KEY
        CONSTRAINT device_sessions_client CHECK (length(client) = 32),
    -- The name that the client logged in with: tenant/uid. Empty without a login.
    username text NOT NULL,
    session_id uuid NOT NULL CONSTRAINT device_sessions_id UNIQUE,
    -- The connection that the session goes on with, and the node that has it. A client that comes back over another one takes
    -- it over. NULL: the client is away.
    connection uuid NOT NULL,
    node uuid,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    left_at timestamptz,
    -- How long it is kept while the client is away.
    kept_s int NOT NULL CONSTRAINT device_sessions_kept CHECK (kept_s > 0),
    -- What the client listens to: a filter, the quality of service and the client's own number of each.
    filters text[] NOT NULL DEFAULT '{}',
    qualities smallint[] NOT NULL DEFAULT '{}',
    numbers bigint[] NOT NULL DEFAULT '{}',
    CONSTRAINT device_sessions_away CHECK ((node IS NULL) = (left_at IS NOT NULL)),
    CONSTRAINT device_sessions_subscriptions
        CHECK (cardinality(filters) = cardinality(qualities) AND cardinality(filters) = cardinality(numbers))
);
CREATE INDEX device_sessions_username ON device_sessions (username);

-- Messages that a client of a session may send again under the same packet id, until it releases that id. The message id makes
-- the second one a duplicate of the first.
CREATE TABLE device_messages (
    session_id uuid NOT NULL,
    packet_id int NOT NULL CONSTRAINT device_messages_packet CHECK (packet_id BETWEEN 1 AND 65535),
    msg_id text NOT NULL,
    CONSTRAINT device_messages_key PRIMARY KEY (session_id, packet_id)
);

-- The nodes that clients with sessions are connected to. One that ended without a word is missed after a while, and its
-- clients count as away since it was last seen.
CREATE TABLE device_nodes (
    node uuid NOT NULL CONSTRAINT device_nodes_key PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

SELECT secure_rows('device_sessions', 'false');
SELECT secure_rows('device_messages', 'false');
SELECT secure_rows('device_nodes', 'false');
GRANT SELECT, INSERT, UPDATE, DELETE ON device_sessions, device_messages, device_nodes TO fleetlog_service;
