//! How windows are stored: ten neighbours of a series, a run, share a row, and each column of the row is an array.
//!
//! A day by the minute is then 144 rows and not 1,440, and ten windows share the overhead of a row.
//!
//! The newest run of each series and step is open: the windows of longer steps do not include it yet. Hours are
//! written when ten minutes are over, and days when ten hours are. Queries add the open runs.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use fleetlog_event_log::{LogId, Position, Result};
use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::STEPS;
use super::fold::Window;
use super::open::OpenRuns;
use super::series::Stored;

/// How many windows a run has room for. With twenty, every batch would write twice as much of the open run.
const LENGTH: i32 = 10;
/// The most windows in one statement, which bounds its memory, here and in the database.
const AT_ONCE: usize = 10_000;

/// The start of the window of a step that holds a time, both in seconds of the Unix epoch.
pub(super) fn floor(moment: i64, step: i32) -> i64 {
    moment.div_euclid(step.into()) * i64::from(step)
}

/// The start of the run that holds a time, both in seconds of the Unix epoch.
pub(super) fn run(moment: i64, step: i32) -> i64 {
    floor(moment, step * LENGTH)
}

/// Adds a window to the last of `gained`, if that is the window of the longer step that holds it, or else to a new
/// one.
pub(super) fn gain(gained: &mut Vec<Window>, window: &Window, step: i32) {
    let wider = Window { start: floor(window.start, step), ..*window };
    match gained.last_mut() {
        Some(last) if (last.series, last.start) == (wider.series, wider.start) => last.add(&wider),
        _ => gained.push(wider),
    }
}

/// Sorts windows in the order of the table's key, where neighbours share a page, and joins the parts of a window. Of
/// two parts of a window, the one earlier in the log comes first.
pub(super) fn together(mut windows: Vec<Window>, series: &[Stored]) -> Vec<Window> {
    windows.sort_by_key(|window| (series[window.series as usize].id, window.start));
    windows.dedup_by(|later, kept| {
        let same = (later.series, later.start) == (kept.series, kept.start);
        if same {
            kept.add(later);
        }
        same
    });
    windows
}

/// The start of each series' latest window of a step, with these windows included.
pub(super) fn latest(series: &[Stored], nth: usize, windows: &[Window]) -> Vec<Option<i64>> {
    let mut latest: Vec<_> = series.iter().map(|stored| stored.latest[nth]).collect();
    for window in windows {
        let latest = &mut latest[window.series as usize];
        *latest = Some(window.start).max(*latest);
    }
    latest
}

/// The windows of a row, by time.
pub(super) fn windows(row: &PgRow, series: u32) -> sqlx::Result<Vec<Window>> {
    let times = |column| row.try_get::<Vec<DateTime<Utc>>, _>(column);
    let numbers = |column| row.try_get::<Vec<f64>, _>(column);
    let (starts, counts) = (times("starts")?, row.try_get::<Vec<i64>, _>("counts")?);
    let (sums, mins, maxs) = (numbers("sums")?, numbers("mins")?, numbers("maxs")?);
    let (firsts, first_ats) = (numbers("firsts")?, times("first_ats")?);
    let (lasts, last_ats) = (numbers("lasts")?, times("last_ats")?);
    // A row from before the column has none.
    let positions: Option<Vec<Option<Position>>> = row.try_get("positions")?;
    let window = |nth: usize| Window {
        series,
        start: starts[nth].timestamp(),
        count: counts[nth],
        sum: sums[nth],
        min: mins[nth],
        max: maxs[nth],
        first: firsts[nth],
        first_at: first_ats[nth],
        last: lasts[nth],
        last_at: last_ats[nth],
        position: positions.as_ref().and_then(|positions| *positions.get(nth)?),
    };
    Ok((0..starts.len()).map(window).collect())
}

/// The SQL statements for one version of the tables.
pub(super) struct Statements {
    read: String,
    insert: String,
    upsert: String,
}

impl Statements {
    pub(super) fn new(version: i32) -> Self {
        let insert = format!(
            "INSERT INTO telemetry_windows_v{version}
                 (log_id, step, series_id, run, starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats,
                  positions)
             SELECT $1, $2, series_id, run,
                    ($7::timestamptz[])[begins:ends], ($8::bigint[])[begins:ends], ($9::float8[])[begins:ends],
                    ($10::float8[])[begins:ends], ($11::float8[])[begins:ends], ($12::float8[])[begins:ends],
                    ($13::timestamptz[])[begins:ends], ($14::float8[])[begins:ends], ($15::timestamptz[])[begins:ends],
                    ($16::bigint[])[begins:ends]
             FROM unnest($3::bigint[], $4::timestamptz[], $5::int[], $6::int[]) AS page (series_id, run, begins, ends)"
        );
        Self {
            read: format!(
                "SELECT wanted.series, stored.*
                 FROM unnest($3::int[], $4::bigint[], $5::timestamptz[]) AS wanted (series, series_id, run)
                 CROSS JOIN LATERAL (
                     SELECT starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions
                     FROM telemetry_windows_v{version} AS stored
                     WHERE stored.log_id = $1 AND stored.step = $2
                       AND stored.series_id = wanted.series_id AND stored.run = wanted.run
                     -- Which keeps it a look for each, and no join, whatever the planner believes of the table.
                     LIMIT 1
                 ) AS stored"
            ),
            upsert: format!(
                "{insert}
                 ON CONFLICT (log_id, series_id, step, run) DO UPDATE SET
                     starts = excluded.starts, counts = excluded.counts, sums = excluded.sums,
                     mins = excluded.mins, maxs = excluded.maxs, firsts = excluded.firsts,
                     first_ats = excluded.first_ats, lasts = excluded.lasts, last_ats = excluded.last_ats,
                     positions = excluded.positions"
            ),
            insert,
        }
    }
}

/// The rows of one step of a log, and the series as they were before this write.
pub(super) struct Table<'s> {
    pub(super) statements: &'s Statements,
    pub(super) log_id: LogId,
    /// The index of the step in `STEPS`.
    pub(super) nth: usize,
    pub(super) series: &'s [Stored],
    /// The latest window of each series, with those that are to be added included.
    pub(super) latest: &'s [Option<i64>],
}

impl Table<'_> {
    /// Adds windows, sorted by series and start, to those that are stored. Returns what the windows of the next step
    /// gain: the runs that are no longer open once these windows are added, and windows that come late to runs that
    /// were not open.
    pub(super) async fn add(
        &self,
        connection: &mut PgConnection,
        remembered: &mut OpenRuns,
        windows: &[Window],
    ) -> Result<Vec<Window>> {
        let mut closing: Vec<_> = (0..self.series.len() as u32).map(|series| self.closing(series)).collect();
        let mut gained = Vec::new();
        let mut rest = windows;
        while !rest.is_empty() {
            let (some, others) = rest.split_at(self.whole_runs(rest));
            rest = others;
            // The closing run of a series goes with the first of its windows.
            let closing = some.chunk_by(|a, b| a.series == b.series).filter_map(|windows| {
                let series = windows[0].series;
                Some((series, closing[series as usize].take()?))
            });
            let closed = self.add_some(connection, remembered, some, &closing.collect()).await?;
            let Some(&longer) = STEPS.get(self.nth + 1) else { continue };
            let behind_it =
                some.iter().filter(|window| Some(self.run(window)) < self.open_now(window.series));
            for window in closed.iter().chain(behind_it) {
                gain(&mut gained, window, longer);
            }
        }
        Ok(gained)
    }

    /// How many of the first windows are written at once: at most `AT_ONCE`, and then to the end of the last run.
    fn whole_runs(&self, windows: &[Window]) -> usize {
        let end = windows.len().min(AT_ONCE);
        let goes_on =
            windows[end..].iter().take_while(|window| self.place(window) == self.place(&windows[end - 1]));
        end + goes_on.count()
    }

    /// Adds whole runs, and returns the stored windows of the runs in `closing`. A run after all runs of its series
    /// is inserted, which takes two thirds of the time of the other way: in a rebuild most runs are. Any other run is
    /// read, and written together with the new windows.
    async fn add_some(
        &self,
        connection: &mut PgConnection,
        remembered: &mut OpenRuns,
        windows: &[Window],
        closing: &HashSet<(u32, i64)>,
    ) -> Result<Vec<Window>> {
        let (new, late): (Vec<Window>, Vec<Window>) =
            windows.iter().partition(|window| Some(self.run(window)) > self.open(window.series));
        let touched: HashSet<_> = late.iter().map(|window| self.place(window)).collect();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for &(series, run) in touched.union(closing) {
            match remembered.get(self.id(series), self.nth, run) {
                Some(windows) => known.extend(windows.iter().map(|window| Window { series, ..*window })),
                None => unknown.push((series, run)),
            }
        }
        known.extend(self.read(connection, &unknown).await?);
        let closed = known.iter().filter(|window| closing.contains(&self.place(window))).copied().collect();
        let known = known.into_iter().filter(|window| touched.contains(&self.place(window)));
        let known = together(known.chain(late).collect(), self.series);
        self.write(connection, &self.statements.insert, &new).await?;
        self.write(connection, &self.statements.upsert, &known).await?;
        for row in self.rows(&known).chain(self.rows(&new)) {
            let (series, run) = self.place(&row[0]);
            if Some(run) == self.open_now(series) {
                remembered.keep(self.id(series), self.nth, run, row);
            }
        }
        Ok(closed)
    }

    /// Reads the windows of some runs, each given by its series and start.
    async fn read(&self, connection: &mut PgConnection, runs: &[(u32, i64)]) -> Result<Vec<Window>> {
        let mut found = Vec::new();
        if runs.is_empty() {
            return Ok(found);
        }
        let mut rows = sqlx::query(&self.statements.read)
            .bind(self.log_id)
            .bind(STEPS[self.nth])
            .bind(column(runs, |&(series, _)| series as i32))
            .bind(column(runs, |&(series, _)| self.id(series)))
            .bind(column(runs, |&(_, run)| moment(run)))
            .fetch(connection);
        while let Some(row) = rows.try_next().await? {
            let series: i32 = row.try_get("series")?;
            found.extend(windows(&row, series as u32)?);
        }
        Ok(found)
    }

    async fn write(&self, connection: &mut PgConnection, statement: &str, windows: &[Window]) -> Result<()> {
        let rows: Vec<_> = self.rows(windows).collect();
        if rows.is_empty() {
            return Ok(());
        }
        // The index of the last window of each row, counted from 1.
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.len() as i32;
            Some(*end)
        });
        let ends: Vec<i32> = ends.collect();
        sqlx::query(statement)
            .bind(self.log_id)
            .bind(STEPS[self.nth])
            .bind(column(&rows, |row| self.id(row[0].series)))
            .bind(column(&rows, |row| moment(self.run(&row[0]))))
            .bind(rows.iter().zip(&ends).map(|(row, end)| end - row.len() as i32 + 1).collect::<Vec<_>>())
            .bind(&ends)
            .bind(column(windows, |window| moment(window.start)))
            .bind(column(windows, |window| window.count))
            .bind(column(windows, |window| window.sum))
            .bind(column(windows, |window| window.min))
            .bind(column(windows, |window| window.max))
            .bind(column(windows, |window| window.first))
            .bind(column(windows, |window| window.first_at))
            .bind(column(windows, |window| window.last))
            .bind(column(windows, |window| window.last_at))
            .bind(column(windows, |window| window.position))
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Splits windows into rows.
    fn rows<'w>(&self, windows: &'w [Window]) -> impl Iterator<Item = &'w [Window]> {
        windows.chunk_by(|a, b| self.place(a) == self.place(b))
    }

    /// The row of a window: its series, and the start of its run.
    fn place(&self, window: &Window) -> (u32, i64) {
        (window.series, self.run(window))
    }

    fn run(&self, window: &Window) -> i64 {
        run(window.start, STEPS[self.nth])
    }

    fn run_of(&self, latest: Option<i64>) -> Option<i64> {
        latest.map(|start| run(start, STEPS[self.nth]))
    }

    /// The run of a series that is no longer open once everything is added.
    fn closing(&self, series: u32) -> Option<i64> {
        self.open(series).filter(|&open| Some(open) < self.open_now(series))
    }

    /// The newest run of a series once everything is added.
    fn open_now(&self, series: u32) -> Option<i64> {
        self.run_of(self.latest[series as usize])
    }

    /// The newest run of a series before anything is added.
    fn open(&self, series: u32) -> Option<i64> {
        self.run_of(self.series[series as usize].latest[self.nth])
    }

    fn id(&self, series: u32) -> i64 {
        self.series[series as usize].id
    }
}

fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// The time that lies this many seconds after the Unix epoch.
pub(super) fn moment(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_secs(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::given::{given, reading};
    use crate::telemetry_windows::Model;

    #[test]
    fn hours_and_days_follow_from_minutes() {
        let (fold, _) = given::<Model>([
            reading("dev-01", "10:59:00", r#"{"t":1}"#),
            reading("dev-01", "10:00:00", r#"{"t":2}"#),
            reading("dev-01", "11:00:00", r#"{"t":4}"#),
        ]);
        let series = [Stored { id: 1, latest: [None; 3] }];
        let widen = |windows: Vec<Window>, step| {
            let mut gained = Vec::new();
            for window in together(windows, &series) {
                gain(&mut gained, &window, step);
            }
            gained
        };
        let hours = widen(fold.windows, 3_600);
        let shown = |windows: &[Window]| {
            let one = |w: &Window| (w.start % 86_400, w.count, w.sum, w.first, w.last, w.position);
            windows.iter().map(one).collect::<Vec<_>>()
        };
        let expected = [(36_000, 2, 3.0, 2.0, 1.0, Some(2)), (39_600, 1, 4.0, 4.0, 4.0, Some(3))];
        assert_eq!(shown(&hours), expected);
        let unknown: Vec<_> = hours.iter().map(|hour| Window { position: None, ..*hour }).collect();
        assert_eq!(shown(&widen(hours.clone(), 86_400)), [(0, 3, 7.0, 2.0, 4.0, Some(3))]);
        assert_eq!(shown(&widen(vec![hours[0], unknown[1]], 86_400))[0].5, None);
        assert_eq!(shown(&widen(vec![unknown[0], hours[1]], 86_400))[0].5, None);
    }

    #[test]
    fn ten_minutes_make_a_run_before_the_epoch_too() {
        for (moment, start) in [(0, 0), (599, 0), (600, 600), (-1, -600), (-600, -600), (-601, -1_200)] {
            assert_eq!(run(moment, 60), start, "{moment}");
        }
    }
}
