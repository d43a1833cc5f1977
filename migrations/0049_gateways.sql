-- The devices that a credential speaks for besides its own, which is a gateway then: {"devices": [...]} or {"prefix": "..."}.
-- NULL: none.
ALTER TABLE device_credentials ADD COLUMN behind json;
GRANT SELECT (behind) ON device_credentials TO fleetlog_requests;
