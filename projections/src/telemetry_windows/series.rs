//! The ids of series: found, or given out when a metric is first met.

use std::collections::HashMap;

use fleetlog_event_log::{LogId, Result};
use sqlx::{PgConnection, Row};

/// How many ids are remembered, at about a hundred bytes each. Beyond that it starts over.
const REMEMBERED: usize = 200_000;

/// A log's devices, and the id of each of their metrics.
type Devices = HashMap<Box<str>, HashMap<Box<str>, i64>>;

/// The series ids that have been met, by log, device and metric.
pub(super) struct SeriesIds {
    known: HashMap<LogId, Devices>,
    count: usize,
    select: String,
    insert: String,
}

impl SeriesIds {
    pub(super) fn new(version: i32) -> Self {
        let names = "unnest($2::text[], $3::text[]) AS wanted (aggregate_id, metric)";
        Self {
            known: HashMap::new(),
            count: 0,
            select: format!(
                "SELECT series.series_id, series.aggregate_id, series.metric FROM {names}
                 JOIN telemetry_series_v{version} AS series
                     ON series.log_id = $1 AND series.aggregate_id = wanted.aggregate_id
                    AND series.metric = wanted.metric"
            ),
            insert: format!(
                "INSERT INTO telemetry_series_v{version} (log_id, aggregate_id, metric)
                 SELECT $1, aggregate_id, metric FROM {names}
                 RETURNING series_id, aggregate_id, metric"
            ),
        }
    }

    /// The ids of these metrics of these devices, in their order. Names must not repeat.
    pub(super) async fn resolve(
        &mut self,
        connection: &mut PgConnection,
        log_id: LogId,
        names: &[(&str, &str)],
    ) -> Result<Vec<i64>> {
        if self.count > REMEMBERED {
            self.known.clear();
            self.count = 0;
        }
        // Most are remembered, then most are in the table. Nobody else gives ids out: whoever holds the checkpoint
        // holds the series too.
        for statement in [self.select.clone(), self.insert.clone()] {
            let missing = self.missing(log_id, names);
            if missing.is_empty() {
                break;
            }
            self.learn(connection, &statement, log_id, missing).await?;
        }
        Ok(names.iter().filter_map(|name| self.id(log_id, name)).collect())
    }

    fn id(&self, log_id: LogId, &(aggregate_id, metric): &(&str, &str)) -> Option<i64> {
        self.known.get(&log_id)?.get(aggregate_id)?.get(metric).copied()
    }

    fn missing<'n>(&self, log_id: LogId, names: &[(&'n str, &'n str)]) -> Vec<(&'n str, &'n str)> {
        names.iter().filter(|name| self.id(log_id, name).is_none()).copied().collect()
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
            known.entry(aggregate_id.into()).or_default().insert(metric.into(), row.try_get("series_id")?);
            self.count += 1;
        }
        Ok(())
    }
}
