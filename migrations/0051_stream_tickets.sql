-- Tickets that open a stream, each once, within half a minute. A ticket says whose it is, so only the service reads them.
CREATE TABLE stream_tickets (
    -- SHA-256 of the ticket.
    digest bytea NOT NULL CONSTRAINT stream_tickets_key PRIMARY KEY
        CONSTRAINT stream_tickets_digest CHECK (length(digest) = 32),
    tenant text NOT NULL,
    -- What it stands for: a session, or an API key.
    session_id uuid,
    key_id uuid,
    expires_at timestamptz NOT NULL,
    CONSTRAINT stream_tickets_of_one CHECK (num_nonnulls(session_id, key_id) = 1)
);

SELECT secure_rows('stream_tickets', 'false');
GRANT SELECT, INSERT, DELETE ON stream_tickets TO fleetlog_service;
