-- At which nodes devices listen for commands, and the commands that one node hands to another. See docs/decisions/0036.

-- A device has listened at a node, and may do so still. A row is written when the device begins to listen there for the first time,
-- and deleted when a command finds it gone, or when the node ends.
CREATE TABLE device_listeners (
    tenant text NOT NULL,
    uid text COLLATE "C" NOT NULL,
    node uuid NOT NULL,
    CONSTRAINT device_listeners_key PRIMARY KEY (tenant, uid, node)
);
CREATE INDEX device_listeners_by_node ON device_listeners (node);

-- A command on its way from the node that dispatches to the one where its device listens. It lives for seconds, and nothing rests
-- on it: a crash of Postgres that loses it leads to another delivery.
CREATE UNLOGGED TABLE command_handovers (
    handover uuid NOT NULL CONSTRAINT command_handovers_key PRIMARY KEY,
    -- Who is to publish it, and who asks.
    node uuid NOT NULL,
    asked_by uuid NOT NULL,
    topic text NOT NULL,
    payload text NOT NULL,
    expires_in_s bigint NOT NULL,
    answer_within_s bigint NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- From then on it may have reached the device.
    taken_at timestamptz,
    delivery text CONSTRAINT command_handovers_delivery CHECK (delivery IN ('taken', 'nobody_there', 'too_large'))
);

SELECT secure_rows('device_listeners', 'false');
SELECT secure_rows('command_handovers', 'false');
GRANT SELECT, INSERT, DELETE ON device_listeners TO fleetlog_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON command_handovers TO fleetlog_service;
