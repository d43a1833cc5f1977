//! What two versions of `telemetry_windows` are compared by: the stored windows, one by one. And the same windows
//! computed from the log in one statement.

use fleetlog_aggregates::metrics::{MAX_DEPTH, MAX_MAGNITUDE, MAX_METRIC_NAME, MAX_METRICS};
use fleetlog_aggregates::telemetry::Flags;

use super::DEVICE_METRICS;
use crate::read_model::Rows;

pub(super) fn rows() -> Vec<Rows> {
    vec![Rows {
        name: "telemetry_windows",
        key: &["log_id", "aggregate_id", "metric", "step", "start"],
        values: &["count", "sum", "min", "max", "first", "first_at", "last", "last_at", "position"],
        sums: &[("sum", "live.count * greatest(abs(live.min), abs(live.max))")],
        positions: &["position"],
        stored,
        from_log: Some(from_log),
    }]
}

/// The windows as they are stored: those of longer steps lack the open runs of shorter ones, which readers add.
fn stored(version: i32) -> String {
    format!(
        "SELECT log_id, aggregate_id, metric, step, start, count, sum, min, max, first, first_at, last, last_at, position
         FROM telemetry_series_v{version} JOIN telemetry_windows_v{version} USING (log_id, series_id)
         CROSS JOIN LATERAL unnest(starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions)
             AS windows (start, count, sum, min, max, first, first_at, last, last_at, position)
         WHERE range_of(aggregate_id, $2) = $1"
    )
}

/// Hours are made of the minutes before the newest run of ten, and days of the hours before theirs, as they are stored.
///
/// What sources have taken in, SQL cannot measure: the windows of devices with such readings are taken as they are stored. A
/// rebuild compares them.
fn from_log(version: i32) -> String {
    let (leaves, stored) = (leaves(version), stored(version));
    format!(
        "WITH {leaves}, minutes AS (
             SELECT log_id, aggregate_id, metric, window_start(occurred_at, 60) AS start, count(*) AS count,
                    sum(value) AS sum, min(value) AS min, max(value) AS max,
                    min(ARRAY[date_part('epoch', occurred_at), position, nth, value]) AS first,
                    max(ARRAY[date_part('epoch', occurred_at), position, nth, value]) AS last,
                    max(position) AS position, min(ARRAY[position, nth]) AS met
             FROM leaves GROUP BY 1, 2, 3, 4
         ), series AS (
             -- The metrics that a device had first.
             SELECT * FROM (
                 SELECT log_id, aggregate_id, metric, window_start(max(start), 600) AS open,
                        row_number() OVER (PARTITION BY log_id, aggregate_id ORDER BY min(met)) AS nth
                 FROM minutes GROUP BY 1, 2, 3
             ) AS ranked WHERE nth <= {DEVICE_METRICS}
         ), counted AS MATERIALIZED (
             SELECT minutes.*, series.open FROM minutes JOIN series USING (log_id, aggregate_id, metric)
         ), hours AS MATERIALIZED (
             SELECT log_id, aggregate_id, metric, window_start(start, 3600) AS start, sum(count)::bigint AS count,
                    sum(sum) AS sum, min(min) AS min, max(max) AS max, min(first) AS first, max(last) AS last,
                    max(position) AS position
             FROM counted WHERE start < open GROUP BY 1, 2, 3, 4
         ), open_hours AS (
             SELECT log_id, aggregate_id, metric, window_start(max(start), 36000) AS open FROM hours GROUP BY 1, 2, 3
         ), days AS (
             SELECT log_id, aggregate_id, metric, window_start(start, 86400) AS start, sum(count)::bigint AS count,
                    sum(sum) AS sum, min(min) AS min, max(max) AS max, min(first) AS first, max(last) AS last,
                    max(position) AS position
             FROM hours JOIN open_hours USING (log_id, aggregate_id, metric) WHERE start < open GROUP BY 1, 2, 3, 4
         )
         SELECT log_id, aggregate_id, metric, step, start, count, sum, min, max,
                first[4] AS first, to_timestamp(first[1]) AS first_at, last[4] AS last, to_timestamp(last[1]) AS last_at,
                position
         FROM (
             SELECT log_id, aggregate_id, metric, 60 AS step, start, count, sum, min, max, first, last, position
             FROM counted
             UNION ALL SELECT log_id, aggregate_id, metric, 3600, start, count, sum, min, max, first, last, position
             FROM hours
             UNION ALL SELECT log_id, aggregate_id, metric, 86400, start, count, sum, min, max, first, last, position
             FROM days
         ) AS windows
         UNION ALL SELECT * FROM ({stored}) AS as_stored WHERE (log_id, aggregate_id) IN (SELECT * FROM sourced)"
    )
}

/// A payload's leaves are its numbers and booleans, in the order of the text. Most payloads are flat; of the others the
/// nested objects and arrays are opened one by one. A name with U+0000, which no text of Postgres can hold, is given
/// another character, by which it is left out. Of leaves with one name the last one counts.
///
/// The value of a leaf is `{value}`: a boolean is 1 or 0, and a number too small for a double is 0.
fn leaves(version: i32) -> String {
    let value = "CASE json_typeof(value)
                     WHEN 'boolean' THEN (value::text = 'true')::int
                     WHEN 'number' THEN CASE
                         WHEN value::text ~* 'e-[0-9]{3}' AND abs(value::text::numeric) < 2.5e-324 THEN 0
                         WHEN value::text ~* 'e[+]?[0-9]{3}|[0-9]{150}' AND abs(value::text::numeric) > 1e281 THEN NULL
                         ELSE value::text::float8 END
                 END::float8";
    let metric =
        "CASE WHEN octet_length(metric) = length(metric) THEN metric ELSE normalize(metric, NFC) END";
    let good = format!(
        "value IS NOT NULL AND abs(value) <= {MAX_MAGNITUDE:e} AND octet_length(metric) BETWEEN 1 AND {MAX_METRIC_NAME}
         AND strpos(metric, U&'\\E000') = 0 AND NOT (metric IN ('msg_id', 'ts') AND cardinality(path) = 1)"
    );
    // Of all leaves, each name once; what is in no array goes before what is, where there are too many.
    let counted = |leaves: &str| {
        format!(
            "SELECT metric, value, row_number() OVER (ORDER BY path) AS nth FROM (
                 SELECT *, row_number() OVER (ORDER BY in_array, path) AS rank FROM (
                     SELECT metric, (array_agg(value ORDER BY path DESC))[1] AS value, min(path) AS path,
                            (array_agg(in_array ORDER BY path))[1] AS in_array
                     FROM ({leaves}) AS named WHERE {good} GROUP BY metric
                 ) AS once
             ) AS ranked WHERE rank <= {MAX_METRICS}"
        )
    };
    let flat = counted(&format!(
        "SELECT {metric} AS metric, {value} AS value, ARRAY[nth] AS path, false AS in_array
         FROM json_each(payload) WITH ORDINALITY AS member (metric, value, nth)"
    ));
    let nested = counted(&format!(
        "SELECT {metric} AS metric, {value} AS value, path, in_array FROM (
             SELECT *, max(cardinality(path) + (json_typeof(value) IN ('object', 'array'))::int) OVER () AS depth
             FROM node
         ) AS measured WHERE depth <= {MAX_DEPTH}"
    ));
    format!(
        "stored AS MATERIALIZED (
             SELECT event.log_id, event.aggregate_id, event.position, occurred_at, event.flags & {raw} <> 0 AS raw,
                    event.flags & {sourced} <> 0 AS sourced,
                    CASE WHEN strpos(payload::text, '\\u0000') = 0 THEN payload
                         ELSE replace(payload::text, '\\u0000', '\\ue000')::json END AS payload
             FROM telemetry_events AS event JOIN projection_checkpoints AS checkpoint USING (log_id)
             LEFT JOIN parked_streams AS parked
                 ON parked.projection = 'telemetry_windows' AND parked.version = {version}
                AND parked.log_id = event.log_id AND parked.aggregate_type = 'Telemetry'
                AND parked.aggregate_id = event.aggregate_id AND parked.position <= event.position
             WHERE checkpoint.projection = 'telemetry_windows' AND checkpoint.version = {version}
               AND event.position <= checkpoint.position AND parked.log_id IS NULL
               AND range_of(event.aggregate_id, $2) = $1
         ), sourced AS MATERIALIZED (
             SELECT DISTINCT log_id, aggregate_id FROM stored WHERE sourced
         ), events AS MATERIALIZED (
             SELECT *, strpos(substr(payload::text, 2), '{{') + strpos(payload::text, '[') = 0 AS flat FROM (
                 SELECT log_id, aggregate_id, position, occurred_at,
                        CASE WHEN raw THEN ({MEANT}) ELSE payload END AS payload
                 FROM stored WHERE (log_id, aggregate_id) NOT IN (SELECT * FROM sourced)
             ) AS meant
         ), leaves AS (
             SELECT log_id, aggregate_id, position, occurred_at, leaf.*
             FROM events CROSS JOIN LATERAL ({flat}) AS leaf WHERE flat
             UNION ALL
             SELECT log_id, aggregate_id, position, occurred_at, leaf.* FROM events CROSS JOIN LATERAL (
                 WITH RECURSIVE node (metric, value, path, in_array) AS (
                     SELECT key, value, ARRAY[nth], false
                     FROM json_each(payload) WITH ORDINALITY AS member (key, value, nth)
                     UNION ALL
                     SELECT metric || '.' || key, inner_value, path || nth, in_array OR is_element
                     FROM node CROSS JOIN LATERAL (
                         SELECT key, member AS inner_value, nth, false AS is_element
                         FROM json_each(CASE WHEN json_typeof(node.value) = 'object' THEN node.value END)
                             WITH ORDINALITY AS member (key, member, nth)
                         UNION ALL
                         SELECT (nth - 1)::text, element, nth, true
                         FROM json_array_elements(CASE WHEN json_typeof(node.value) = 'array' THEN node.value END)
                             WITH ORDINALITY AS element (element, nth)
                     ) AS inner_node
                 )
                 {nested}
             ) AS leaf WHERE NOT flat
         )",
        raw = Flags::RAW.bits(),
        sourced = Flags::SOURCED.bits(),
    )
}

/// The JSON object that the text of a payload flagged `raw` is meant to be, as `metrics::of_text` reads it: a number or a word
/// is the metric `value`, and numbers that JSON does not have are null.
const MEANT: &str = r#"
    SELECT CASE
        WHEN strpos(text, U&'\E000') > 0 THEN NULL
        WHEN lower(text COLLATE "C") IN ('true', 'on', 'open', 'online') THEN '{"value":true}'
        WHEN lower(text COLLATE "C") IN ('false', 'off', 'closed', 'offline') THEN '{"value":false}'
        WHEN text ~ '^-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?$' THEN json_or_null('{"value":' || text || '}')
        WHEN starts_with(text, '{') THEN json_or_null((
            SELECT string_agg(
                CASE WHEN starts_with(piece[1], '"') THEN piece[1]
                     ELSE regexp_replace(piece[1], '(?<![A-Za-z0-9+._-])([+-]?(nan|inf|infinity)|-?[0-9]+([.][0-9]+)?e[+]?0*[1-9][0-9]{3,})(?![A-Za-z0-9+._-])', 'null', 'gi')
                END, '' ORDER BY nth)
            FROM regexp_matches(text, '"(?:[^"\\]|\\.)*"|[^"]+|"', 'g') WITH ORDINALITY AS pieces (piece, nth)))
        END::json
    FROM (
        SELECT btrim(regexp_replace(regexp_replace(payload ->> 'raw', U&'^\FEFF', ''), U&'\E000$', ''), E' \t\r\n') AS text
    ) AS bare"#;
