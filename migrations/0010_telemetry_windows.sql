-- The read model `telemetry_windows`: each metric of each device by the minute, hour and day of UTC.
--
-- Every key begins with log_id, so that both tables can be distributed by it with the events they come from.

-- A name for each metric of each device, so that a window need not repeat it.
CREATE TABLE telemetry_series_v1 (
    log_id int NOT NULL,
    series_id bigint GENERATED ALWAYS AS IDENTITY,
    aggregate_id text NOT NULL,
    metric text NOT NULL,
    CONSTRAINT telemetry_series_v1_key PRIMARY KEY (log_id, series_id),
    CONSTRAINT telemetry_series_v1_name UNIQUE (log_id, aggregate_id, metric)
);

CREATE TABLE telemetry_windows_v1 (
    log_id int NOT NULL,
    series_id bigint NOT NULL,
    -- The window's length in seconds.
    step int NOT NULL CONSTRAINT telemetry_windows_v1_step CHECK (step IN (60, 3600, 86400)),
    start timestamptz NOT NULL,
    count bigint NOT NULL,
    sum double precision NOT NULL,
    min double precision NOT NULL,
    max double precision NOT NULL,
    -- The earliest and the latest by the device's clock; at one moment, the lowest and the highest position.
    first double precision NOT NULL,
    first_at timestamptz NOT NULL,
    last double precision NOT NULL,
    last_at timestamptz NOT NULL,
    CONSTRAINT telemetry_windows_v1_key PRIMARY KEY (log_id, series_id, step, start)
-- The newest windows are rewritten page by page: room for that keeps the updates off the index.
) WITH (fillfactor = 70);

CREATE VIEW telemetry_windows AS
SELECT log_id, series_id, aggregate_id, metric, step, start, count, sum, min, max, first, first_at, last, last_at
FROM telemetry_series_v1 JOIN telemetry_windows_v1 USING (log_id, series_id);

GRANT SELECT, INSERT ON telemetry_series_v1 TO fleetlog_service;
GRANT SELECT, INSERT, UPDATE ON telemetry_windows_v1 TO fleetlog_service;
GRANT SELECT ON telemetry_windows TO fleetlog_service;
