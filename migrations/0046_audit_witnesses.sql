-- What other parties were given of the logs' checkpoints, and took. They are the service's own witnesses (`--witness`): it
-- sends to them. Nothing here is believed by anybody; it says from where to go on, and what an operator should look at.
CREATE TABLE audit_witnesses (
    -- The witness, by its URL without a password.
    witness text NOT NULL CONSTRAINT audit_witnesses_name CHECK (length(witness) BETWEEN 1 AND 500),
    log_id int NOT NULL CONSTRAINT audit_witnesses_log REFERENCES logs,
    -- The checkpoint that it took last: its log's name, its size and its root. A log's name changes with the key.
    origin text,
    size bigint NOT NULL DEFAULT 0 CONSTRAINT audit_witnesses_size CHECK (size >= 0),
    root bytea CONSTRAINT audit_witnesses_root CHECK (length(root) = 32),
    taken_at timestamptz,
    -- The line with which it signed, if it signs.
    cosignature text,
    -- Why it has not taken the newest one. NULL: it has, or has not been asked yet.
    problem text,
    problem_since timestamptz,
    -- When a node was last told to send to it. Rows of witnesses that no node sends to any more are removed after 90 days.
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT audit_witnesses_key PRIMARY KEY (witness, log_id),
    CONSTRAINT audit_witnesses_whole CHECK ((size = 0) = (origin IS NULL) AND (size = 0) = (root IS NULL)
        AND (size = 0) = (taken_at IS NULL) AND (problem IS NULL) = (problem_since IS NULL))
);
SELECT secure_rows('audit_witnesses', '(log_id = ANY ((SELECT current_logs())::int[])) IS TRUE');
GRANT SELECT, INSERT, UPDATE, DELETE ON audit_witnesses TO fleetlog_service;

-- A mail without a tenant is the installation's own. No tenant's requests see it.
ALTER TABLE mail_outbox ALTER tenant DROP NOT NULL;
