-- How often each device's messages came again. A repeat is not an event, so the log cannot tell; this is counted in
-- the transaction that recognised it.
CREATE TABLE telemetry_duplicates (
    log_id int NOT NULL,
    aggregate_id text NOT NULL,
    duplicates bigint NOT NULL,
    CONSTRAINT telemetry_duplicates_key PRIMARY KEY (log_id, aggregate_id)
);

GRANT SELECT, INSERT, UPDATE ON telemetry_duplicates TO fleetlog_service;
