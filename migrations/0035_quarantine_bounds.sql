-- Quarantine has bounds: long payloads are cut, each tenant has so much room, and old messages are removed.
ALTER TABLE quarantine
    -- How long the whole payload was, and its SHA-256, where only its beginning is kept. NULL: it is kept whole.
    ADD bytes bigint,
    ADD sha256 bytea,
    ADD quarantined_at timestamptz NOT NULL DEFAULT now();

-- What each tenant has in quarantine, so that nobody counts it for every message.
CREATE TABLE quarantine_totals (
    -- Empty for messages of no tenant.
    tenant text NOT NULL,
    messages bigint NOT NULL,
    bytes bigint NOT NULL,
    -- How many messages were acknowledged and not kept, because there was no room left.
    dropped bigint NOT NULL DEFAULT 0,
    CONSTRAINT quarantine_totals_key PRIMARY KEY (tenant)
);
INSERT INTO quarantine_totals (tenant, messages, bytes)
SELECT coalesce(tenant, ''), count(*), sum(octet_length(payload)) FROM quarantine GROUP BY 1;

GRANT DELETE ON quarantine TO fleetlog_service;
GRANT SELECT, INSERT, UPDATE ON quarantine_totals TO fleetlog_service;
