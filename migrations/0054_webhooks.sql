-- Webhooks: where a tenant's events are sent, which of them, and how far that has come.
CREATE TABLE webhooks (
    webhook_id uuid NOT NULL,
    tenant text NOT NULL CONSTRAINT webhooks_tenant REFERENCES tenants,
    url text NOT NULL CONSTRAINT webhooks_url CHECK (octet_length(url) BETWEEN 8 AND 2000),
    description text CONSTRAINT webhooks_description CHECK (length(description) BETWEEN 1 AND 500),
    -- Which events: the parameters of a stream.
    follow jsonb NOT NULL,
    max_batch int NOT NULL CONSTRAINT webhooks_max_batch CHECK (max_batch BETWEEN 1 AND 1000),
    state text NOT NULL DEFAULT 'active'
        CONSTRAINT webhooks_state CHECK (state IN ('active', 'paused', 'suspended')),
    -- Why it is suspended.
    reason text CONSTRAINT webhooks_reason CHECK ((reason IS NOT NULL) = (state = 'suspended')),
    -- What requests are signed with, and what they were signed with before; sealed, if the operator has a secret.
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_until timestamptz,
    -- Rises with each change, so that whoever sends to the webhook begins anew.
    version bigint NOT NULL DEFAULT 1,
    -- Rises with each change that cuts the events into other batches: a batch of another revision is another message.
    revision int NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT webhooks_key PRIMARY KEY (webhook_id),
    CONSTRAINT webhooks_previous CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
CREATE INDEX webhooks_of_tenant ON webhooks (tenant, webhook_id);

SELECT secure_rows('webhooks', 'tenant = (SELECT current_tenant())');
GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks TO fleetlog_service;
GRANT SELECT (webhook_id, tenant, url, description, follow, max_batch, state, reason, previous_until, version, revision,
              created_at, created_by, updated_at), INSERT, UPDATE, DELETE ON webhooks TO fleetlog_requests;

-- How far a webhook has come in each log that it follows: everything up to there was taken, or is not for it.
CREATE TABLE webhook_places (
    webhook_id uuid NOT NULL CONSTRAINT webhook_places_webhook REFERENCES webhooks ON DELETE CASCADE,
    tenant text NOT NULL,
    log_id int NOT NULL,
    position bigint NOT NULL CONSTRAINT webhook_places_position CHECK (position >= 0),
    -- How often the next batch was refused, since when, and when it is sent again.
    failures int NOT NULL DEFAULT 0,
    failing_since timestamptz,
    next_attempt_at timestamptz,
    CONSTRAINT webhook_places_key PRIMARY KEY (webhook_id, log_id),
    CONSTRAINT webhook_places_failing CHECK ((failures > 0) = (failing_since IS NOT NULL))
);

SELECT secure_rows('webhook_places', 'tenant = (SELECT current_tenant())');
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_places TO fleetlog_service, fleetlog_requests;
