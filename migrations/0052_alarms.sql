-- The read model `alarms`: each alarm as its events left it, and the rules that raise them.
CREATE TABLE alarms_v1 (
    tenant text NOT NULL,
    alarm_id uuid NOT NULL,
    -- Of the event that raised it: the order of the list.
    position bigint NOT NULL,
    rule text COLLATE "C" NOT NULL,
    rule_version int NOT NULL,
    title text NOT NULL,
    severity text NOT NULL CONSTRAINT alarms_v1_severity
        CHECK (severity IN ('warning', 'minor', 'major', 'critical')),
    device_uid text COLLATE "C" NOT NULL,
    condition text NOT NULL,
    metric text,
    cmd text,
    value double precision,
    since timestamptz NOT NULL,
    cause text NOT NULL,
    raised_at timestamptz NOT NULL,

    status text NOT NULL CONSTRAINT alarms_v1_status CHECK (status IN ('raised', 'acknowledged', 'cleared')),
    acknowledged_at timestamptz,
    acknowledged_by text,
    acknowledge_note text,
    cleared_at timestamptz,
    cleared_because text,
    cleared_by text,
    clear_note text,
    clear_value double precision,
    last_position bigint NOT NULL,
    CONSTRAINT alarms_v1_key PRIMARY KEY (tenant, alarm_id)
) WITH (fillfactor = 70);

-- The list, newest first, by what it is searched by.
CREATE INDEX alarms_v1_position ON alarms_v1 (tenant, position);
CREATE INDEX alarms_v1_device ON alarms_v1 (tenant, device_uid, position);
CREATE INDEX alarms_v1_rule ON alarms_v1 (tenant, rule, position);
CREATE INDEX alarms_v1_open ON alarms_v1 (tenant, position) WHERE status <> 'cleared';

CREATE TABLE alarm_rules_v1 (
    tenant text NOT NULL,
    name text COLLATE "C" NOT NULL,
    version int NOT NULL,
    title text NOT NULL,
    severity text NOT NULL,
    devices json NOT NULL,
    condition json NOT NULL,
    mail uuid[] NOT NULL,
    defined_at timestamptz NOT NULL,
    -- Off the list; what it said is kept for those who look at old alarms.
    removed_at timestamptz,
    last_position bigint NOT NULL,
    CONSTRAINT alarm_rules_v1_key PRIMARY KEY (tenant, name)
);

SELECT open_read_model('alarms_v1', 'alarms');
SELECT open_read_model('alarm_rules_v1', 'alarm_rules');
