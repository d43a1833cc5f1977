-- A second, independent fold of the telemetry log into windows, and its difference from the first: windows that are missing,
-- windows that are too many, and windows that name another position.
WITH RECURSIVE leaf AS (
    SELECT log_id, position, aggregate_id, occurred_at, key AS metric, value
    FROM telemetry_events CROSS JOIN json_each(payload)
    WHERE key NOT IN ('msg_id', 'ts')
    UNION ALL
    SELECT log_id, position, aggregate_id, occurred_at, metric || '.' || key, nested.value
    FROM leaf CROSS JOIN json_each(leaf.value) AS nested
    WHERE json_typeof(leaf.value) = 'object'
), reading AS (
    SELECT log_id, position, aggregate_id, occurred_at, metric,
           CASE value::text WHEN 'true' THEN 1 WHEN 'false' THEN 0 ELSE value::text::float8 END AS value
    FROM leaf WHERE json_typeof(value) IN ('number', 'boolean')
), expected AS (
    SELECT log_id, aggregate_id, metric, step, date_trunc(word, occurred_at, 'UTC') AS start,
           count(*) AS count, sum(value) AS sum, min(value) AS min, max(value) AS max,
           (array_agg(value ORDER BY occurred_at, position))[1] AS first, min(occurred_at) AS first_at,
           (array_agg(value ORDER BY occurred_at DESC, position DESC))[1] AS last, max(occurred_at) AS last_at
    FROM reading CROSS JOIN (VALUES (60, 'minute'), (3600, 'hour'), (86400, 'day')) AS steps (step, word)
    GROUP BY log_id, aggregate_id, metric, step, date_trunc(word, occurred_at, 'UTC')
), found AS (
    SELECT log_id, aggregate_id, metric, step, start, count, sum, min, max, first, first_at, last, last_at
    FROM telemetry_windows
), positions AS (
    SELECT log_id, aggregate_id, metric, step, date_trunc(word, occurred_at, 'UTC') AS start, max(position) AS position
    FROM reading CROSS JOIN (VALUES (60, 'minute'), (3600, 'hour'), (86400, 'day')) AS steps (step, word)
    GROUP BY log_id, aggregate_id, metric, step, date_trunc(word, occurred_at, 'UTC')
)
SELECT (SELECT count(*) FROM (SELECT * FROM expected EXCEPT SELECT * FROM found) AS missing),
       (SELECT count(*) FROM (SELECT * FROM found EXCEPT SELECT * FROM expected) AS too_many),
       (SELECT count(*) FROM positions FULL JOIN telemetry_windows AS found USING (log_id, aggregate_id, metric, step, start)
        WHERE positions.position IS DISTINCT FROM found.position)
