-- From where an account was logged in to before: guesses by strangers do not keep its owner out there.
CREATE TABLE known_origins (
    -- The account and the browser or address, hashed: no e-mail address and no address is kept here.
    key bytea NOT NULL CONSTRAINT known_origins_hash CHECK (length(key) = 16),
    -- The account, hashed: of each, the latest few are kept.
    account bytea NOT NULL CONSTRAINT known_origins_account_hash CHECK (length(account) = 16),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT known_origins_key PRIMARY KEY (key)
);
CREATE INDEX known_origins_by_account ON known_origins (account, seen_at);
CREATE INDEX known_origins_by_age ON known_origins (seen_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON known_origins TO fleetlog_service;
