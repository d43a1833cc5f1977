-- What was sent to webhooks, or is being sent: a row for each batch of a log's events, written before it is sent, so that whoever
-- sends it again after a crash sends the same.
CREATE TABLE webhook_deliveries (
    -- The `webhook-id` of its requests is made of it.
    delivery_id uuid NOT NULL,
    webhook_id uuid NOT NULL CONSTRAINT webhook_deliveries_webhook REFERENCES webhooks ON DELETE CASCADE,
    tenant text NOT NULL,
    -- The order in which they began.
    number bigint GENERATED ALWAYS AS IDENTITY,
    revision int NOT NULL,
    -- The events after the first position and up to the second. A test has no events.
    log_id int,
    after_position bigint,
    last_position bigint,
    events int NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'pending'
        CONSTRAINT webhook_deliveries_status CHECK (status IN ('pending', 'delivered', 'failed', 'superseded')),
    attempts int NOT NULL DEFAULT 0,
    -- The last attempt: what was answered, or why nothing was, and how long that took.
    code int,
    error text,
    duration_ms int,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempted_at timestamptz,
    delivered_at timestamptz,
    CONSTRAINT webhook_deliveries_key PRIMARY KEY (delivery_id),
    CONSTRAINT webhook_deliveries_batch UNIQUE (webhook_id, revision, log_id, after_position),
    CONSTRAINT webhook_deliveries_range CHECK (
        num_nonnulls(log_id, after_position, last_position) = 0 OR after_position < last_position)
);
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (webhook_id, number DESC);
CREATE INDEX webhook_deliveries_old ON webhook_deliveries (created_at);

SELECT secure_rows('webhook_deliveries', 'tenant = (SELECT current_tenant())');
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_deliveries TO fleetlog_service;
GRANT SELECT, UPDATE ON webhook_deliveries TO fleetlog_requests;
