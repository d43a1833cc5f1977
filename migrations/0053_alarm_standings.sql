-- What the evaluator of alarms remembers. One transaction writes all that follows from a page of events: these rows, the
-- alarms' events, and the mails.

-- How far a tenant's logs are evaluated. `turn` counts the transactions: whoever finds another one than it left has been
-- replaced by another node, and writes nothing.
CREATE TABLE alarm_progress (
    tenant text NOT NULL CONSTRAINT alarm_progress_tenant REFERENCES tenants,
    turn bigint NOT NULL DEFAULT 0,
    control_position bigint NOT NULL,
    telemetry_position bigint NOT NULL,
    CONSTRAINT alarm_progress_key PRIMARY KEY (tenant)
-- Every page rewrites one row: room on its page keeps those updates off the index.
) WITH (fillfactor = 10);

-- How a rule's condition stands for a device, and for a metric or command type of it.
CREATE TABLE alarm_standings (
    tenant text NOT NULL,
    device_uid text COLLATE "C" NOT NULL,
    rule text COLLATE "C" NOT NULL,
    -- The version with which the rule began to look at its devices for its condition.
    epoch int NOT NULL,
    -- The metric or the command type; empty for a silence.
    subject text COLLATE "C" NOT NULL,
    -- Of the last reading that counted: its time by the device's clock, and the metric's value.
    seen_at timestamptz,
    value double precision,
    -- The event with which the condition began to hold; of a silence, the last message.
    since_at timestamptz,
    since_recorded_at timestamptz,
    since_position bigint,
    raised boolean NOT NULL,
    -- The alarm that is open; NULL if a person has cleared it.
    alarm_id uuid,
    -- When the clock is asked again, at the latest. It is moved when that time has come, and not with each message.
    due_at timestamptz,
    -- The lowest and the highest values of the last seconds, and their times in microseconds, for a rate.
    low_ats bigint[],
    lows double precision[],
    high_ats bigint[],
    highs double precision[],
    CONSTRAINT alarm_standings_key PRIMARY KEY (tenant, device_uid, rule, epoch, subject)
-- Most pages rewrite a row of each device: room on its page keeps those updates off the indexes.
) WITH (fillfactor = 70);
CREATE INDEX alarm_standings_due ON alarm_standings (tenant, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX alarm_standings_rule ON alarm_standings (tenant, rule, epoch);
CREATE INDEX alarm_standings_alarm ON alarm_standings (tenant, alarm_id) WHERE alarm_id IS NOT NULL;

-- How many mails of a rule went out since `began_at`, and how many changes were held back since.
CREATE TABLE alarm_mails (
    tenant text NOT NULL CONSTRAINT alarm_mails_tenant REFERENCES tenants,
    rule text COLLATE "C" NOT NULL,
    began_at timestamptz NOT NULL,
    sent int NOT NULL,
    held_back int NOT NULL,
    CONSTRAINT alarm_mails_key PRIMARY KEY (tenant, rule)
);

SELECT secure_rows('alarm_progress', 'tenant = (SELECT current_tenant())');
SELECT secure_rows('alarm_standings', 'tenant = (SELECT current_tenant())');
SELECT secure_rows('alarm_mails', 'tenant = (SELECT current_tenant())');
GRANT SELECT, INSERT, UPDATE, DELETE ON alarm_progress, alarm_standings, alarm_mails TO fleetlog_service;
