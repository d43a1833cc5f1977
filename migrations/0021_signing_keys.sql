-- The keys that sign access tokens, shared by all nodes. Made on the first start: there is no default.
CREATE TABLE signing_keys (
    kid uuid NOT NULL,
    -- Ed25519, PKCS #8.
    private_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- A retired key signs nothing any more; what it has signed is still good until it expires.
    retired_at timestamptz,
    CONSTRAINT signing_keys_key PRIMARY KEY (kid)
);
-- At most one key signs, so that of two first starts at once one makes it and both use it.
CREATE UNIQUE INDEX signing_keys_one_signs ON signing_keys ((true)) WHERE retired_at IS NULL;

GRANT SELECT, INSERT ON signing_keys TO fleetlog_service;
