-- Refused logins to accounts that do not exist, counted until they are put on the record together.
CREATE TABLE refused_logins (
    minute timestamptz NOT NULL,
    -- What the address comes to: one of so few that each minute has few rows, whoever guesses.
    slot smallint NOT NULL,
    times bigint NOT NULL,
    CONSTRAINT refused_logins_key PRIMARY KEY (minute, slot)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON refused_logins TO fleetlog_service;

-- What is over is found by its end, and deleted.
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE INDEX mail_tokens_by_end ON mail_tokens (expires_at);
