-- Messages that were acknowledged but could not become events, whole, each with the reason.
CREATE TABLE quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY,
    -- NULL where the topic names no tenant of ours; only a platform administrator sees those.
    tenant text,
    topic text NOT NULL,
    payload bytea NOT NULL,
    -- A stable word for programs, and a sentence for people.
    reason text NOT NULL,
    detail text NOT NULL,
    received_at timestamptz NOT NULL,
    CONSTRAINT quarantine_key PRIMARY KEY (quarantine_id)
);
CREATE INDEX quarantine_by_tenant ON quarantine (tenant, quarantine_id);

GRANT SELECT, INSERT ON quarantine TO fleetlog_service;
