-- The proof of the logs, as docs/PROOF.md describes it: a Merkle tree for each log, and its root signed again and again.
-- Nothing here is secret, and nothing here needs to be trusted: the key that signs lies outside the database.

-- How far each tree is.
CREATE TABLE audit_trees (
    log_id int CONSTRAINT audit_trees_log REFERENCES logs,
    size bigint NOT NULL CONSTRAINT audit_trees_size CHECK (size >= 0),
    -- When the event of the last leaf was recorded: no later event lies in an older partition.
    recorded_at timestamptz,
    CONSTRAINT audit_trees_key PRIMARY KEY (log_id)
);

-- The tiles: up to 256 hashes of 32 bytes. Hashes do not compress.
CREATE TABLE audit_tiles (
    log_id int NOT NULL,
    level smallint NOT NULL,
    index bigint NOT NULL,
    hashes bytea NOT NULL CONSTRAINT audit_tiles_hashes
        CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    CONSTRAINT audit_tiles_key PRIMARY KEY (log_id, level, index)
);
ALTER TABLE audit_tiles ALTER hashes SET STORAGE EXTERNAL;

-- The roots that were signed. A row is there before its note, so that no two notes are ever made of one size.
CREATE TABLE audit_checkpoints (
    log_id int NOT NULL,
    size bigint NOT NULL,
    root bytea NOT NULL CONSTRAINT audit_checkpoints_root CHECK (length(root) = 32),
    -- NULL until it is signed.
    note text,
    signed_at timestamptz,
    -- The lines that witnesses have added.
    cosignatures text NOT NULL DEFAULT '',
    CONSTRAINT audit_checkpoints_key PRIMARY KEY (log_id, size)
);

-- The installation's verifier keys. The newest one signs; a node with another key does not.
CREATE TABLE audit_keys (
    vkey text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT audit_keys_key PRIMARY KEY (vkey)
);

-- What was once said about a log is never said differently.
CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    grows boolean;
BEGIN
    IF TG_TABLE_NAME = 'audit_trees' THEN
        grows := NEW.size >= OLD.size;
    ELSIF TG_TABLE_NAME = 'audit_tiles' THEN
        grows := substr(NEW.hashes, 1, length(OLD.hashes)) = OLD.hashes;
    ELSE
        grows := NEW.root = OLD.root AND (OLD.note IS NULL OR NEW.note IS NOT DISTINCT FROM OLD.note);
    END IF;
    IF NOT grows THEN
        RAISE EXCEPTION 'a proof only grows' USING ERRCODE = 'restrict_violation', CONSTRAINT = 'audit_only_grows';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_only_grows BEFORE UPDATE ON audit_trees FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
CREATE TRIGGER audit_only_grows BEFORE UPDATE ON audit_tiles FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
CREATE TRIGGER audit_only_grows BEFORE UPDATE ON audit_checkpoints FOR EACH ROW EXECUTE FUNCTION audit_only_grows();

SELECT secure_rows(secured, '(log_id = ANY ((SELECT current_logs())::int[])) IS TRUE')
FROM unnest(ARRAY['audit_trees', 'audit_tiles', 'audit_checkpoints']) AS secured;
GRANT SELECT, INSERT, UPDATE ON audit_trees, audit_tiles TO fleetlog_service;
-- Old checkpoints are thinned out.
GRANT SELECT, INSERT, UPDATE, DELETE ON audit_checkpoints TO fleetlog_service;
GRANT SELECT, INSERT ON audit_keys TO fleetlog_service;
GRANT SELECT ON audit_trees, audit_tiles, audit_checkpoints, audit_keys TO fleetlog_requests;
