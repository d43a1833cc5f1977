-- The logs: one row is one gapless sequence of events. An append takes its positions from this row and holds the
-- row's lock until it commits, which is what makes positions gapless and visible in their own order.
CREATE TABLE logs (
    log_id int GENERATED ALWAYS AS IDENTITY,
    tenant text NOT NULL CONSTRAINT logs_tenant REFERENCES tenants,
    lane text NOT NULL CONSTRAINT logs_lane CHECK (lane IN ('control', 'telemetry')),
    shard int NOT NULL DEFAULT 0,
    head bigint NOT NULL DEFAULT 0 CONSTRAINT logs_head CHECK (head >= 0),
    CONSTRAINT logs_key PRIMARY KEY (log_id),
    CONSTRAINT logs_place UNIQUE (tenant, lane, shard)
-- Every append rewrites one row: room on its page keeps those updates off the index (heap-only tuples).
) WITH (fillfactor = 10);

CREATE FUNCTION logs_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION 'a log is never removed' USING ERRCODE = 'restrict_violation', CONSTRAINT = 'logs_only_grow';
    END IF;
    IF NEW.head < OLD.head OR (NEW.log_id, NEW.tenant, NEW.lane, NEW.shard) IS DISTINCT FROM (OLD.log_id, OLD.tenant, OLD.lane, OLD.shard) THEN
        RAISE EXCEPTION 'a log only grows' USING ERRCODE = 'restrict_violation', CONSTRAINT = 'logs_only_grow';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER logs_only_grow BEFORE UPDATE OR DELETE ON logs FOR EACH ROW EXECUTE FUNCTION logs_only_grow();
CREATE TRIGGER logs_are_kept BEFORE TRUNCATE ON logs FOR EACH STATEMENT EXECUTE FUNCTION logs_only_grow();

-- A tenant's logs come with the tenant.
CREATE FUNCTION tenants_open_their_logs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO logs (tenant, lane) VALUES (NEW.tenant, 'control'), (NEW.tenant, 'telemetry');
    RETURN NULL;
END
$$;
CREATE TRIGGER tenants_open_their_logs AFTER INSERT ON tenants
    FOR EACH ROW EXECUTE FUNCTION tenants_open_their_logs();

INSERT INTO tenants (tenant) VALUES ('t0');

GRANT SELECT, UPDATE (head) ON logs TO fleetlog_service;
