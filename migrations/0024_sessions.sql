-- A session: from a login to its end. Every access token names the one it belongs to, and is worth nothing without it.
ALTER TABLE users
    ADD name text CONSTRAINT users_name CHECK (length(name) BETWEEN 1 AND 200),
    ADD verified_at timestamptz,
    ADD deactivated_at timestamptz,
    -- Invited, and has not chosen a password yet.
    ALTER password_hash DROP NOT NULL;
GRANT UPDATE ON users TO fleetlog_service;
GRANT SELECT (name, verified_at, deactivated_at), UPDATE (name, role, deactivated_at) ON users TO fleetlog_requests;

CREATE TABLE sessions (
    session_id uuid NOT NULL,
    tenant text NOT NULL CONSTRAINT sessions_tenant REFERENCES tenants,
    user_id uuid NOT NULL CONSTRAINT sessions_user REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Whatever happens in it, it does not last longer.
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    last_used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Where it was begun, for its user to recognise it.
    address text,
    user_agent text,
    CONSTRAINT sessions_key PRIMARY KEY (session_id)
);
CREATE INDEX sessions_by_user ON sessions (user_id, session_id);
SELECT secure_rows('sessions', 'tenant = (SELECT current_tenant())');
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO fleetlog_service;
GRANT SELECT, UPDATE (ended_at) ON sessions TO fleetlog_requests;

-- The refresh tokens of a session, its family: each is good once, and begets the next.
CREATE TABLE refresh_tokens (
    token_hash bytea NOT NULL CONSTRAINT refresh_tokens_hash CHECK (length(token_hash) = 32),
    session_id uuid NOT NULL CONSTRAINT refresh_tokens_session REFERENCES sessions ON DELETE CASCADE,
    issued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- With the token itself it makes the successor, so that a retry gets the same one. It tells nothing by itself.
    successor_secret bytea NOT NULL CONSTRAINT refresh_tokens_secret CHECK (length(successor_secret) = 32),
    -- From here on only the same client's retry gets the same successor, and only for a moment.
    used_at timestamptz,
    -- A digest of the client's address and of what it calls itself.
    used_by bytea,
    CONSTRAINT refresh_tokens_key PRIMARY KEY (token_hash)
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON refresh_tokens TO fleetlog_service;

-- Keys are sealed, retired, and removed once nothing that they have signed is good.
GRANT UPDATE, DELETE ON signing_keys TO fleetlog_service;
