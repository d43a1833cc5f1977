-- Accounts: who may log in already, what is mailed to people, and the tokens in those mails.

-- Requests see whether somebody has a password, and never its hash.
ALTER TABLE users ADD invited boolean NOT NULL GENERATED ALWAYS AS (password_hash IS NULL) STORED;
GRANT SELECT (invited), INSERT (user_id, tenant, email, name, password_hash, role) ON users TO fleetlog_requests;

-- What a mail lets its recipient do, once. A user has one token for each purpose: a new one takes the old one's place.
CREATE TABLE mail_tokens (
    tenant text NOT NULL CONSTRAINT mail_tokens_tenant REFERENCES tenants,
    user_id uuid NOT NULL CONSTRAINT mail_tokens_user REFERENCES users,
    purpose text NOT NULL CONSTRAINT mail_tokens_purpose CHECK (purpose IN ('address', 'reset', 'invitation')),
    -- SHA-256: the token itself is in the mail only.
    token_hash bytea NOT NULL CONSTRAINT mail_tokens_hash CHECK (length(token_hash) = 32),
    -- Where it was sent: the address that its use proves.
    email text NOT NULL CONSTRAINT mail_tokens_email_length CHECK (length(email) BETWEEN 3 AND 254),
    expires_at timestamptz NOT NULL,
    CONSTRAINT mail_tokens_key PRIMARY KEY (user_id, purpose),
    CONSTRAINT mail_tokens_token UNIQUE (token_hash)
);
SELECT secure_rows('mail_tokens', 'tenant = (SELECT current_tenant())');
GRANT SELECT, INSERT, UPDATE, DELETE ON mail_tokens TO fleetlog_service;
GRANT SELECT (tenant, user_id, purpose), INSERT, UPDATE ON mail_tokens TO fleetlog_requests;

-- Mails on their way. Written by the transaction that they tell of, sent by whichever node comes first.
CREATE TABLE mail_outbox (
    mail_id uuid NOT NULL,
    tenant text NOT NULL CONSTRAINT mail_outbox_tenant REFERENCES tenants,
    recipient text NOT NULL,
    subject text NOT NULL,
    -- With the token in it; emptied once it is sent or given up.
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Sent, or given up.
    done_at timestamptz,
    CONSTRAINT mail_outbox_key PRIMARY KEY (mail_id),
    CONSTRAINT mail_outbox_keeps_no_token CHECK (done_at IS NULL OR body = '')
);
CREATE INDEX mail_outbox_due ON mail_outbox (next_attempt_at) WHERE done_at IS NULL;
CREATE INDEX mail_outbox_done ON mail_outbox (done_at) WHERE done_at IS NOT NULL;
SELECT secure_rows('mail_outbox', 'tenant = (SELECT current_tenant())');
GRANT SELECT, INSERT, UPDATE, DELETE ON mail_outbox TO fleetlog_service;
GRANT INSERT ON mail_outbox TO fleetlog_requests;
