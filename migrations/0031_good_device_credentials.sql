-- Devices' credentials that let a device in at this moment: not revoked, not expired, the tenant not suspended, and the
-- device not taken out of service since. `ended_by` names the events that do that: which ones is the `Device` aggregate's
-- to say.
--
-- It shows what its caller may see. It is one SELECT, so that Postgres plans it as a part of the caller's statement.
CREATE FUNCTION good_device_credentials(ended_by text[])
RETURNS TABLE (credential_id uuid, tenant text, uid text, expires_at timestamptz) LANGUAGE sql STABLE AS $$
    SELECT credential.credential_id, credential.tenant, credential.uid, credential.expires_at
    FROM device_credentials AS credential JOIN tenants ON tenants.tenant = credential.tenant
    WHERE credential.revoked_at IS NULL AND tenants.suspended_at IS NULL
      AND (credential.expires_at IS NULL OR credential.expires_at > clock_timestamp())
      AND NOT EXISTS (
          SELECT FROM control_events AS event
          WHERE event.aggregate_type = 'Device'
            -- The collation of the index on streams; that of `uid` is another.
            AND event.aggregate_id = (credential.tenant || '/' || credential.uid) COLLATE "default"
            AND event.sequence > credential.sequence AND event.event_type = ANY(ended_by))
$$;
