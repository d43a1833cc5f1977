-- The read model `commands`: each command, each batch of commands, and the command types, as the control lane left them.
CREATE TABLE commands_v1 (
    tenant text NOT NULL,
    cmd_id uuid NOT NULL,
    -- Of its request: the order in which commands were requested.
    position bigint NOT NULL,
    device_uid text COLLATE "C" NOT NULL,
    cmd text COLLATE "C" NOT NULL,
    params json NOT NULL,
    requested_by text COLLATE "C" NOT NULL,
    requested_at timestamptz NOT NULL,
    timeout_s int NOT NULL,
    max_attempts int NOT NULL,
    expires_at timestamptz NOT NULL,
    batch_id uuid,
    correlation_id text COLLATE "C",

    status text NOT NULL CONSTRAINT commands_v1_status
        CHECK (status IN ('requested', 'sent', 'acked', 'failed', 'timed_out', 'cancelled')),
    attempts int NOT NULL DEFAULT 0,
    sent_at timestamptz,
    deadline timestamptz,
    ended_at timestamptz,
    result json,
    error json,
    cancelled_by text,
    cancel_reason text,
    late_ack json,
    late_ack_at timestamptz,

    CONSTRAINT commands_v1_key PRIMARY KEY (tenant, cmd_id)
) WITH (fillfactor = 70);

-- The list, newest first, by what it is searched by.
CREATE INDEX commands_v1_position ON commands_v1 (tenant, position);
CREATE INDEX commands_v1_device ON commands_v1 (tenant, device_uid, position);
CREATE INDEX commands_v1_requested_by ON commands_v1 (tenant, requested_by, position);
CREATE INDEX commands_v1_correlation ON commands_v1 (tenant, correlation_id, position)
    WHERE correlation_id IS NOT NULL;
CREATE INDEX commands_v1_batch ON commands_v1 (tenant, batch_id, status) WHERE batch_id IS NOT NULL;
-- What the dispatcher begins with.
CREATE INDEX commands_v1_open ON commands_v1 (tenant, position) WHERE status IN ('requested', 'sent');

CREATE TABLE command_batches_v1 (
    tenant text NOT NULL,
    batch_id uuid NOT NULL,
    position bigint NOT NULL,
    selector json NOT NULL,
    cmd text NOT NULL,
    params json NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    rate_per_s int NOT NULL,
    abort_after_failures int,
    devices int NOT NULL,
    status text NOT NULL CONSTRAINT command_batches_v1_status
        CHECK (status IN ('running', 'completed', 'aborted', 'cancelled')),
    ended_at timestamptz,
    cancelled_by text,
    cancel_reason text,
    CONSTRAINT command_batches_v1_key PRIMARY KEY (tenant, batch_id)
);
CREATE INDEX command_batches_v1_position ON command_batches_v1 (tenant, position);
CREATE INDEX command_batches_v1_running ON command_batches_v1 (tenant, position) WHERE status = 'running';

CREATE TABLE command_types_v1 (
    tenant text NOT NULL,
    name text COLLATE "C" NOT NULL,
    description text,
    params json NOT NULL,
    defined_at timestamptz NOT NULL,
    -- Off the list; what it said is kept for those who look at old commands.
    removed_at timestamptz,
    CONSTRAINT command_types_v1_key PRIMARY KEY (tenant, name)
);

CREATE VIEW commands AS SELECT * FROM commands_v1;
CREATE VIEW command_batches AS SELECT * FROM command_batches_v1;
CREATE VIEW command_types AS SELECT * FROM command_types_v1;

GRANT SELECT, INSERT, UPDATE ON commands_v1, command_batches_v1, command_types_v1 TO fleetlog_service;
GRANT SELECT ON commands, command_batches, command_types TO fleetlog_service;
