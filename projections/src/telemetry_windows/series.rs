//! The series: finds each, or makes it when its metric is first met, and knows how far each has windows.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fleetlog_event_log::{LogId, Result};
use sqlx::{PgConnection, Row};

use super::{DEVICE_METRICS, STEPS};

/// How many series are remembered, at about a hundred bytes each. Beyond that, all are forgotten.
const REMEMBERED: usize = 200_000;

/// A metric of a device, as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) id: i64,
    /// The start of the latest stored window of each step, in seconds of the Unix epoch.
    pub(super) latest: [Option<i64>; STEPS.len()],
}

/// A log's devices, and the metrics of each.
type Devices = HashMap<Box<str>, HashMap<Box<str>, Stored>>;

/// The series that have been met, by log, device and metric.
pub(super) struct AllSeries {
    known: HashMap<LogId, Devices>,
    count: usize,
    select: String,
    insert: String,
}

impl AllSeries {
    pub(super) fn new(version: i32) -> Self {
        let names = "unnest($2::text[], $3::text[]) AS wanted (aggregate_id, metric)";
        Self {
            known: HashMap::new(),
            count: 0,
            select: format!(
                "SELECT series.series_id, series.aggregate_id, series.metric, ARRAY(
                     SELECT (
                         SELECT starts[cardinality(starts)] FROM telemetry_windows_v{version} AS stored
                         WHERE stored.log_id = $1 AND stored.series_id = series.series_id AND stored.step = steps.step
                         ORDER BY run DESC LIMIT 1
                     )
                     FROM unnest(ARRAY{STEPS:?}) WITH ORDINALITY AS steps (step, nth) ORDER BY nth
                 ) AS latest
                 FROM {names}
                 JOIN telemetry_series_v{version} AS series
                     ON series.log_id = $1 AND series.aggregate_id = wanted.aggregate_id
                    AND series.metric = wanted.metric"
            ),
            insert: format!(
                "WITH wanted AS (
                     SELECT aggregate_id, metric, ordinal,
                            row_number() OVER (PARTITION BY aggregate_id ORDER BY ordinal) AS nth
                     FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS wanted (aggregate_id, metric, ordinal)
                 ), known AS MATERIALIZED (
                     SELECT aggregate_id, (
                         SELECT count(*) FROM telemetry_series_v{version} AS series
                         WHERE series.log_id = $1 AND series.aggregate_id = device.aggregate_id
                     ) AS metrics
                     FROM (SELECT DISTINCT aggregate_id FROM wanted) AS device
                 )
                 INSERT INTO telemetry_series_v{version} (log_id, aggregate_id, metric)
                 SELECT $1, aggregate_id, metric FROM wanted JOIN known USING (aggregate_id)
                 WHERE metrics + nth <= {DEVICE_METRICS} ORDER BY ordinal
                 RETURNING series_id, aggregate_id, metric, NULL::timestamptz[] AS latest"
            ),
        }
    }

    /// The series of these metrics, in the order of `names`, which must not repeat. `None` for the metrics that a device
    /// has beyond [`DEVICE_METRICS`]: the first ones in the log keep their series.
    pub(super) async fn resolve(
        &mut self,
        connection: &mut PgConnection,
        log_id: LogId,
        names: &[(&str, &str)],
    ) -> Result<Vec<Option<Stored>>> {
        if self.count > REMEMBERED {
            self.known.clear();
            self.count = 0;
        }
        // Most series are remembered, and most of the others are in the table. No other process gives out ids
        // meanwhile: the runner that holds the checkpoint holds the series too.
        for statement in [self.select.clone(), self.insert.clone()] {
            let missing = self.missing(log_id, names);
            if missing.is_empty() {
                break;
            }
            self.learn(connection, &statement, log_id, missing).await?;
        }
        Ok(names.iter().map(|name| self.stored(log_id, name)).collect())
    }

    /// Notes that these series now have windows of the `nth` step up to `latest`.
    pub(super) fn wrote(
        &mut self,
        log_id: LogId,
        names: &[(&str, &str)],
        nth: usize,
        latest: &[Option<i64>],
    ) {
        let Some(devices) = self.known.get_mut(&log_id) else { return };
        for (&(aggregate_id, metric), &latest) in names.iter().zip(latest) {
            let series = devices.get_mut(aggregate_id).and_then(|metrics| metrics.get_mut(metric));
            if let Some(stored) = series {
                stored.latest[nth] = latest;
            }
        }
    }

    fn stored(&self, log_id: LogId, &(aggregate_id, metric): &(&str, &str)) -> Option<Stored> {
        self.known.get(&log_id)?.get(aggregate_id)?.get(metric).copied()
    }

    fn missing<'n>(&self, log_id: LogId, names: &[(&'n str, &'n str)]) -> Vec<(&'n str, &'n str)> {
        names.iter().filter(|name| self.stored(log_id, name).is_none()).copied().collect()
    }

    async fn learn(
        &mut self,
        connection: &mut PgConnection,
        statement: &str,
        log_id: LogId,
        names: Vec<(&str, &str)>,
    ) -> Result<()> {
        let (aggregate_ids, metrics): (Vec<_>, Vec<_>) = names.into_iter().unzip();
        let query = sqlx::query(statement).bind(log_id).bind(aggregate_ids).bind(metrics);
        let known = self.known.entry(log_id).or_default();
        for row in query.fetch_all(connection).await? {
            let (aggregate_id, metric): (String, String) =
                (row.try_get("aggregate_id")?, row.try_get("metric")?);
            let latest: Option<[Option<DateTime<Utc>>; STEPS.len()]> = row.try_get("latest")?;
            let latest = latest.unwrap_or_default().map(|start| start.map(|start| start.timestamp()));
            let stored = Stored { id: row.try_get("series_id")?, latest };
            known.entry(aggregate_id.into()).or_default().insert(metric.into(), stored);
            self.count += 1;
        }
        Ok(())
    }
}
