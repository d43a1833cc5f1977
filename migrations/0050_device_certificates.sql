-- A credential may stand for a client certificate, with which a device logs in over TLS without a password: for one certificate, by
-- the SHA-256 of its DER in hexadecimal digits, or for all that the operator's authority has signed for a subject, as RFC 4514
-- writes one. Neither is a secret. Such a credential has the hash of a secret that nobody has, because a node of the version
-- before this reads a hash of each.
ALTER TABLE device_credentials
    ADD COLUMN certificate_sha256 text
        CONSTRAINT device_credentials_certificate_sha256 CHECK (certificate_sha256 ~ '^[0-9a-f]{64}$'),
    ADD COLUMN certificate_subject text,
    ADD CONSTRAINT device_credentials_certificate CHECK (num_nonnulls(certificate_sha256, certificate_subject) <= 1);

GRANT SELECT (certificate_sha256, certificate_subject) ON device_credentials TO fleetlog_requests;
