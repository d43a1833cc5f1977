//! How windows are written: minutes, and the hours and days that follow from them.
//!
//! A window behind all that its series has is inserted; any other is added to what may be there. Most windows of a
//! rebuild are of the first kind, which takes two thirds of the other's time.

use chrono::DateTime;
use fleetlog_event_log::{Event, Lane, LogId, Result};
use sqlx::PgConnection;

use super::STEPS;
use super::fold::{Fold, Window};
use super::series::{AllSeries, Stored};
use crate::read_model::{Poison, ReadModel};

/// The most rows of one statement: what bounds its memory, here and in the database.
const ROWS: usize = 10_000;

/// The read model `telemetry_windows`.
pub struct Model {
    series: AllSeries,
    insert: String,
    upsert: String,
}

impl ReadModel for Model {
    const NAME: &'static str = "telemetry_windows";
    const VERSION: i32 = 1;
    const LANES: &'static [Lane] = &[Lane::Telemetry];
    type Fold = Fold;

    fn new(version: i32) -> Self {
        Self { series: AllSeries::new(version), insert: insert(version), upsert: upsert(version) }
    }

    fn fold(fold: &mut Fold, event: &Event) -> Result<(), Poison> {
        fold.add(event)
    }

    fn size(fold: &Fold) -> usize {
        fold.size()
    }

    async fn write(&mut self, connection: &mut PgConnection, log_id: LogId, mut fold: Fold) -> Result<()> {
        let mut windows = std::mem::take(&mut fold.windows);
        let names: Vec<_> = (0..fold.series.len() as u32).map(|series| fold.name(series)).collect();
        let series = self.series.resolve(connection, log_id, &names).await?;
        let latest = latest(&series, &windows);
        // In the order of the table's key: neighbours share a page of it.
        windows.sort_unstable_by_key(|window| (series[window.series as usize].id, window.start));
        for step in STEPS {
            windows = widen(windows, step);
            let table = Table { log_id, step, series: &series };
            let (new, known): (Vec<&Window>, Vec<&Window>) =
                windows.iter().partition(|window| table.is_behind(window));
            table.write(connection, &self.insert, &new).await?;
            table.write(connection, &self.upsert, &known).await?;
        }
        self.series.wrote(log_id, &names, &latest);
        Ok(())
    }
}

/// The latest minute of each series, with these windows.
fn latest(series: &[Stored], windows: &[Window]) -> Vec<i64> {
    let mut latest: Vec<i64> = series.iter().map(|stored| stored.latest).collect();
    for window in windows {
        let latest = &mut latest[window.series as usize];
        *latest = window.start.max(*latest);
    }
    latest
}

/// The windows of one step, and the series as they were before.
struct Table<'s> {
    log_id: LogId,
    step: i32,
    series: &'s [Stored],
}

impl Table<'_> {
    /// Whether a window is behind all that are stored.
    fn is_behind(&self, window: &Window) -> bool {
        window.start > floor(self.series[window.series as usize].latest, self.step)
    }

    async fn write(&self, connection: &mut PgConnection, statement: &str, windows: &[&Window]) -> Result<()> {
        for rows in windows.chunks(ROWS) {
            sqlx::query(statement)
                .bind(self.log_id)
                .bind(self.step)
                .bind(column(rows, |row| self.series[row.series as usize].id))
                .bind(column(rows, |row| DateTime::from_timestamp_secs(row.start).unwrap_or_default()))
                .bind(column(rows, |row| row.count))
                .bind(column(rows, |row| row.sum))
                .bind(column(rows, |row| row.min))
                .bind(column(rows, |row| row.max))
                .bind(column(rows, |row| row.first))
                .bind(column(rows, |row| row.first_at))
                .bind(column(rows, |row| row.last))
                .bind(column(rows, |row| row.last_at))
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

fn column<T>(rows: &[&Window], value: impl Fn(&Window) -> T) -> Vec<T> {
    rows.iter().map(|row| value(row)).collect()
}

/// The start of the window of a step that holds a moment; before all time, the same.
fn floor(moment: i64, step: i32) -> i64 {
    moment.div_euclid(step.into()).saturating_mul(step.into())
}

/// Windows of a longer step out of those of a shorter one, which are sorted by series and start.
fn widen(mut windows: Vec<Window>, step: i32) -> Vec<Window> {
    for window in &mut windows {
        window.start = floor(window.start, step);
    }
    windows.dedup_by(|later, kept| {
        let same = (later.series, later.start) == (kept.series, kept.start);
        if same {
            kept.add(later);
        }
        same
    });
    windows
}

fn insert(version: i32) -> String {
    format!(
        "INSERT INTO telemetry_windows_v{version} AS known
             (log_id, step, series_id, start, count, sum, min, max, first, first_at, last, last_at)
         SELECT $1, $2, page.*
         FROM unnest($3::bigint[], $4::timestamptz[], $5::bigint[], $6::float8[], $7::float8[], $8::float8[],
                     $9::float8[], $10::timestamptz[], $11::float8[], $12::timestamptz[]) AS page"
    )
}

fn upsert(version: i32) -> String {
    format!(
        "{}
         ON CONFLICT (log_id, series_id, step, start) DO UPDATE SET
             count = known.count + excluded.count,
             sum = known.sum + excluded.sum,
             min = least(known.min, excluded.min),
             max = greatest(known.max, excluded.max),
             first = CASE WHEN excluded.first_at < known.first_at THEN excluded.first ELSE known.first END,
             first_at = least(known.first_at, excluded.first_at),
             last = CASE WHEN excluded.last_at >= known.last_at THEN excluded.last ELSE known.last END,
             last_at = greatest(known.last_at, excluded.last_at)",
        insert(version)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::given::{given, reading};

    #[test]
    fn hours_and_days_follow_from_minutes() {
        let (fold, _) = given::<Model>([
            reading("dev-01", "10:59:00", r#"{"t":1}"#),
            reading("dev-01", "10:00:00", r#"{"t":2}"#),
            reading("dev-01", "11:00:00", r#"{"t":4}"#),
        ]);
        let mut minutes = fold.windows;
        minutes.sort_unstable_by_key(|window| (window.series, window.start));
        let hours = widen(minutes, 3_600);
        let shown = |windows: &[Window]| {
            windows.iter().map(|w| (w.start % 86_400, w.count, w.sum, w.first, w.last)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&hours), [(36_000, 2, 3.0, 2.0, 1.0), (39_600, 1, 4.0, 4.0, 4.0)]);
        assert_eq!(shown(&widen(hours, 86_400)), [(0, 3, 7.0, 2.0, 4.0)]);
    }
}
