-- Version 2 of the read model `telemetry_windows`: a row holds a run of up to ten neighbouring windows of a series, so that
-- a day by the minute is 144 rows and not 1,440. Runs count from 1970-01-01.
--
-- Of each series the newest run of a step is open: windows of longer steps do not hold it yet, and gain it when the next
-- one begins. So hours are written once in ten minutes and days once in ten hours, and neither with every reading.
-- Whoever reads them adds the open runs.
ALTER TABLE telemetry_series_v1 RENAME TO telemetry_series_v2;
ALTER TABLE telemetry_series_v2 RENAME CONSTRAINT telemetry_series_v1_key TO telemetry_series_v2_key;
ALTER TABLE telemetry_series_v2 RENAME CONSTRAINT telemetry_series_v1_name TO telemetry_series_v2_name;

CREATE TABLE telemetry_windows_v2 (
    log_id int NOT NULL,
    series_id bigint NOT NULL,
    -- The windows' length in seconds.
    step int NOT NULL CONSTRAINT telemetry_windows_v2_step CHECK (step IN (60, 3600, 86400)),
    -- When the first window of the run would start.
    run timestamptz NOT NULL,
    -- The windows that have readings, by time: the same place in each column is the same window.
    starts timestamptz[] NOT NULL,
    counts bigint[] NOT NULL,
    sums double precision[] NOT NULL,
    mins double precision[] NOT NULL,
    maxs double precision[] NOT NULL,
    -- The earliest and the latest by the device's clock; at one moment, the lowest and the highest position.
    firsts double precision[] NOT NULL,
    first_ats timestamptz[] NOT NULL,
    lasts double precision[] NOT NULL,
    last_ats timestamptz[] NOT NULL,
    CONSTRAINT telemetry_windows_v2_key PRIMARY KEY (log_id, series_id, step, run)
-- The newest runs are rewritten batch by batch, all on a page at once: room for that keeps the updates off the index.
) WITH (fillfactor = 50);

-- When the window of a step begins that holds a moment. They count from 1970-01-01.
CREATE FUNCTION window_start(moment timestamptz, step int) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT
    RETURN to_timestamp(floor(extract(epoch FROM moment) / step) * step);

-- What was folded stays. Hours and days are made anew, without the open runs.
WITH minutes AS (
    SELECT log_id, series_id, step, start, count, sum, min, max, first, first_at, last, last_at,
           window_start(max(start) OVER series, 600) AS open
    FROM telemetry_windows_v1 WHERE step = 60 WINDOW series AS (PARTITION BY log_id, series_id)
), hours AS (
    SELECT log_id, series_id, 3600 AS step, window_start(start, 3600) AS start,
           sum(count)::bigint AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max,
           (array_agg(first ORDER BY start))[1] AS first, min(first_at) AS first_at,
           (array_agg(last ORDER BY start DESC))[1] AS last, max(last_at) AS last_at,
           window_start(max(max(start)) OVER (PARTITION BY log_id, series_id), 36000) AS open
    FROM minutes WHERE start < open GROUP BY log_id, series_id, 4
), days AS (
    SELECT log_id, series_id, 86400 AS step, window_start(start, 86400) AS start,
           sum(count)::bigint AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max,
           (array_agg(first ORDER BY start))[1] AS first, min(first_at) AS first_at,
           (array_agg(last ORDER BY start DESC))[1] AS last, max(last_at) AS last_at,
           NULL::timestamptz AS open
    FROM hours WHERE start < open GROUP BY log_id, series_id, 4
)
INSERT INTO telemetry_windows_v2
SELECT log_id, series_id, step, window_start(start, 10 * step),
       array_agg(start ORDER BY start), array_agg(count ORDER BY start), array_agg(sum ORDER BY start),
       array_agg(min ORDER BY start), array_agg(max ORDER BY start),
       array_agg(first ORDER BY start), array_agg(first_at ORDER BY start),
       array_agg(last ORDER BY start), array_agg(last_at ORDER BY start)
FROM (TABLE minutes UNION ALL TABLE hours UNION ALL TABLE days) AS windows
GROUP BY log_id, series_id, step, 4;

UPDATE projections SET version = 2 WHERE projection = 'telemetry_windows';
UPDATE projection_checkpoints SET version = 2 WHERE projection = 'telemetry_windows';
UPDATE parked_streams SET version = 2 WHERE projection = 'telemetry_windows';

DROP VIEW telemetry_windows;
DROP TABLE telemetry_windows_v1;

-- The rows that the windows of a step are made of: its own, and of each series the open runs of shorter steps.
CREATE VIEW telemetry_window_runs WITH (security_invoker = true) AS
SELECT log_id, aggregate_id, metric, step, run,
       starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats
FROM telemetry_series_v2 JOIN telemetry_windows_v2 USING (log_id, series_id)
UNION ALL
SELECT log_id, aggregate_id, metric, shorter.than, run,
       starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats
FROM telemetry_series_v2 AS series
CROSS JOIN (VALUES (60, 3600), (60, 86400), (3600, 86400)) AS shorter (step, than)
CROSS JOIN LATERAL (
    SELECT run, starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats
    FROM telemetry_windows_v2 AS stored
    WHERE stored.log_id = series.log_id AND stored.series_id = series.series_id AND stored.step = shorter.step
    ORDER BY run DESC LIMIT 1
) AS open;

-- A row a window, for people and their tools.
CREATE VIEW telemetry_windows WITH (security_invoker = true) AS
SELECT log_id, aggregate_id, metric, step, window_start(start, step) AS start,
       sum(count)::bigint AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max,
       (array_agg(first ORDER BY start))[1] AS first, min(first_at) AS first_at,
       (array_agg(last ORDER BY start DESC))[1] AS last, max(last_at) AS last_at
FROM telemetry_window_runs
CROSS JOIN LATERAL unnest(starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats)
    AS windows (start, count, sum, min, max, first, first_at, last, last_at)
GROUP BY log_id, aggregate_id, metric, step, 5;

SELECT secure_rows('telemetry_windows_v2', '(log_id = ANY ((SELECT current_logs())::int[])) IS TRUE');
GRANT SELECT, INSERT, UPDATE ON telemetry_windows_v2 TO fleetlog_service;
GRANT SELECT ON telemetry_windows_v2, telemetry_window_runs, telemetry_windows TO fleetlog_service, fleetlog_requests;
