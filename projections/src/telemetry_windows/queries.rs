//! The queries over `telemetry_windows`, for REST, GraphQL and streams.

use std::collections::HashMap;
use std::ops::Range;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use fleetlog_aggregates::identity::{Uid, aggregate_id};
use fleetlog_event_log::{LogId, TenantLog};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::buckets::Buckets;
use super::fill::{self, Beside, Point};
use super::points::thin_out;
use super::runs::{self, moment};
use super::sorted::{Sorted, first_second};
use super::{Cursor, Error, Fill, Invalid, MAX_WINDOWS, STEPS, Series, SeriesPage, WindowsQuery, fold};

/// About how many stored runs one statement reads, over all its series. A page of more takes several statements, so that Postgres
/// need not sort them all before the first one is seen.
const RUNS_AT_ONCE: usize = 10_000;

/// A page of each device's series, by metric: of the metrics after the cursor at most `limit`. A query for one metric has one page.
///
/// With a single device, a page also ends before it would have more than [`MAX_WINDOWS`] windows; with several, that is an error.
pub async fn windows(
    log: &TenantLog,
    log_id: LogId,
    uids: &[Uid],
    query: &WindowsQuery,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<HashMap<Uid, SeriesPage>, Error> {
    check(query)?;
    let buckets = Buckets::of(query)?;
    let devices = Devices::of(log, uids);
    let reader = Reader { log, log_id, devices: &devices, buckets: &buckets, since: query.since };
    let (wanted, mut pages) = reader.wanted(query.metric.as_deref(), after, limit).await?;
    let (mut found, mut count, mut done) = (vec![], 0, 0);
    while done < wanted.len() {
        let some = &wanted[done..][..reader.at_once(query.fill, count).min(wanted.len() - done)];
        let (series, whole) = reader.read(some, query.fill, MAX_WINDOWS - count).await?;
        count += series.iter().map(|series| series.windows.len()).sum::<usize>();
        found.extend(series);
        done += whole;
        if whole < some.len() || some.is_empty() {
            break;
        }
    }
    if done < wanted.len() {
        // The page is full.
        let [uid] = uids else { return Err(Invalid::TooManyWindows.into()) };
        let last = wanted[..done].last().map(|last| Cursor::after(&last.metric));
        pages.insert(uid.clone(), SeriesPage { series: vec![], next: last });
    }
    for mut series in found {
        if let Some(points) = query.points {
            thin_out(&mut series.windows, points);
        }
        pages.entry(series.uid.clone()).or_default().series.push(series);
    }
    Ok(pages)
}

/// The minutes of some devices' metrics, or of one metric, by device, metric and time. `within` is whole minutes; those that start
/// before `since` do not count. More than [`MAX_WINDOWS`] are an error.
pub async fn minutes(
    log: &TenantLog,
    log_id: LogId,
    uids: &[Uid],
    metric: Option<&str>,
    within: Range<DateTime<Utc>>,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<Series>, Error> {
    let query = WindowsQuery {
        metric: None,
        from: within.start,
        to: within.end,
        since,
        step: TimeDelta::minutes(1).into(),
        tz: Tz::UTC,
        points: None,
        fill: None,
    };
    let buckets = Buckets::of(&query)?;
    let devices = Devices::of(log, uids);
    let reader = Reader { log, log_id, devices: &devices, buckets: &buckets, since };
    let metrics = metric.map(|metric| vec![metric]);
    let mut sorted = Sorted::into(&buckets, since, MAX_WINDOWS);
    reader.sort(metrics.as_deref(), &mut sorted).await?;
    Ok(sorted.series(&devices))
}

fn check(query: &WindowsQuery) -> Result<(), Invalid> {
    match query.points {
        Some(..2) => Err(Invalid::Points),
        Some(_) if query.fill.is_some() => Err(Invalid::PointsAndFill),
        _ => Ok(()),
    }
}

/// Devices, and the streams in which they are on the record.
pub(super) struct Devices {
    aggregate_ids: Vec<String>,
    uids: HashMap<String, Uid>,
}

impl Devices {
    fn of(log: &TenantLog, uids: &[Uid]) -> Self {
        let aggregate_ids: Vec<String> = uids.iter().map(|uid| aggregate_id(log.tenant(), uid)).collect();
        let uids = aggregate_ids.iter().cloned().zip(uids.iter().cloned()).collect();
        Self { aggregate_ids, uids }
    }

    /// The device of a stream.
    pub(super) fn uid(&self, aggregate_id: &str) -> Option<&Uid> {
        self.uids.get(aggregate_id)
    }
}

/// A metric, and the devices on whose page it is.
struct Wanted {
    metric: String,
    of: Vec<Uid>,
}

/// Reads the windows of some devices in one range.
struct Reader<'q> {
    log: &'q TenantLog,
    log_id: LogId,
    devices: &'q Devices,
    buckets: &'q Buckets,
    since: Option<DateTime<Utc>>,
}

impl Reader<'_> {
    /// The metrics of a page, by name, and the pages of the devices that have further ones.
    async fn wanted(
        &self,
        metric: Option<&str>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<Wanted>, HashMap<Uid, SeriesPage>), Error> {
        if let Some(metric) = metric {
            // No stored name holds U+0000, and Postgres takes no text that does.
            let is_name = !metric.contains('\0');
            let of = self.devices.uids.values().cloned().collect();
            let wanted = is_name.then(|| Wanted { metric: metric.to_owned(), of });
            return Ok((wanted.into_iter().collect(), HashMap::new()));
        }
        let statement = sqlx::query(METRICS)
            .bind(self.log_id)
            .bind(&self.devices.aggregate_ids)
            .bind(after.map(Cursor::metric))
            .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let (mut wanted, mut pages) = (Vec::<Wanted>::new(), HashMap::new());
        let mut on_page: HashMap<Uid, (usize, String)> = HashMap::new();
        for row in self.log.fetch(statement).await? {
            let (aggregate_id, metric): (&str, &str) = (row.try_get("aggregate_id")?, row.try_get("metric")?);
            let Some(uid) = self.devices.uid(aggregate_id) else { continue };
            let (count, last) = on_page.entry(uid.clone()).or_default();
            if *count == limit {
                let page = SeriesPage { series: vec![], next: Some(Cursor::after(last)) };
                pages.insert(uid.clone(), page);
                continue;
            }
            (*count, *last) = (*count + 1, metric.to_owned());
            match wanted.last_mut().filter(|last| last.metric == metric) {
                Some(same) => same.of.push(uid.clone()),
                None => wanted.push(Wanted { metric: metric.to_owned(), of: vec![uid.clone()] }),
            }
        }
        Ok((wanted, pages))
    }

    /// Of how many metrics the windows are read at once, if so many have been found before. None if there is no room for more.
    fn at_once(&self, fill: Option<Fill>, found: usize) -> usize {
        let devices = self.devices.aggregate_ids.len().max(1);
        let (from, to) = self.buckets.span();
        let runs = usize::try_from((to - from) / (i64::from(self.buckets.stored_step()) * 10)).unwrap_or(0);
        let most = (RUNS_AT_ONCE / ((runs + STEPS.len()) * devices)).max(1);
        let room = (MAX_WINDOWS - found) / (self.buckets.count() * devices);
        if fill.is_some() { most.min(room) } else { most }
    }

    /// Reads the windows of some metrics, as long as they are at most `most`. Returns the series, and of how many of the metrics
    /// everything was read.
    async fn read(
        &self,
        wanted: &[Wanted],
        fill: Option<Fill>,
        most: usize,
    ) -> Result<(Vec<Series>, usize), Error> {
        let metrics: Vec<&str> = wanted.iter().map(|wanted| wanted.metric.as_str()).collect();
        let mut sorted = Sorted::into(self.buckets, self.since, most);
        let whole = match self.sort(Some(&metrics), &mut sorted).await {
            Ok(()) => metrics.len(),
            Err(Error::Invalid(Invalid::TooManyWindows)) => {
                let half_read = sorted.drop_last();
                metrics.iter().position(|metric| Some(*metric) == half_read.as_deref()).unwrap_or(0)
            }
            Err(error) => return Err(error),
        };
        let series = sorted.series(self.devices);
        let is_wanted: HashMap<&str, &Wanted> = metrics.iter().copied().zip(wanted).collect();
        let on_page = |series: &Series| {
            is_wanted.get(series.metric.as_str()).is_some_and(|wanted| wanted.of.contains(&series.uid))
        };
        let mut series: Vec<Series> = series.into_iter().filter(on_page).collect();
        if let Some(fill) = fill {
            series = self.filled(fill, &wanted[..whole], &metrics, series).await?;
        }
        Ok((series, whole))
    }

    /// Sorts the windows of some metrics, or of all, into buckets.
    async fn sort(&self, metrics: Option<&[&str]>, sorted: &mut Sorted<'_>) -> Result<(), Error> {
        let statement = sqlx::query(RUNS)
            .bind(self.log_id)
            .bind(&self.devices.aggregate_ids)
            .bind(metrics)
            .bind(sorted.step)
            .bind(moment(runs::run(sorted.from, sorted.step)))
            .bind(moment(sorted.to));
        self.log.fetch_each(statement, |row| sorted.add(&row)).await
    }

    /// The series with all their windows. One that has no value in any of them is left out.
    async fn filled(
        &self,
        fill: Fill,
        wanted: &[Wanted],
        metrics: &[&str],
        series: Vec<Series>,
    ) -> Result<Vec<Series>, Error> {
        let beside = if fill == Fill::Null { HashMap::new() } else { self.beside(metrics).await? };
        let mut known: HashMap<(Uid, String), Series> =
            series.into_iter().map(|series| ((series.uid.clone(), series.metric.clone()), series)).collect();
        let mut all = vec![];
        let keys = wanted
            .iter()
            .flat_map(|Wanted { metric, of }| of.iter().map(|uid| (uid.clone(), metric.clone())));
        for key in keys {
            let windows = known.remove(&key).map(|series| series.windows).unwrap_or_default();
            let beside = beside.get(&key).copied().unwrap_or_default();
            let windows = fill::all(fill, &self.buckets.boundaries, self.since, windows, beside);
            if windows.iter().any(|window| window.avg.is_some()) {
                all.push(Series { uid: key.0, metric: key.1, windows });
            }
        }
        Ok(all)
    }

    /// The last readings before the range, and the first ones after it, by device and metric.
    async fn beside(&self, metrics: &[&str]) -> Result<HashMap<(Uid, String), Beside>, Error> {
        let (from, to) = self.buckets.span();
        let since = self.since.map_or(i64::MIN, first_second);
        let statement = sqlx::query(BESIDE)
            .bind(self.log_id)
            .bind(&self.devices.aggregate_ids)
            .bind(metrics)
            .bind(moment(runs::run(from, STEPS[0])))
            .bind(moment(runs::run(to, STEPS[0])));
        let mut found: HashMap<(Uid, String), Beside> = HashMap::new();
        let each = |row: PgRow| {
            let (aggregate_id, metric): (&str, String) =
                (row.try_get("aggregate_id")?, row.try_get("metric")?);
            let Some(uid) = self.devices.uid(aggregate_id) else { return Ok(()) };
            let beside = found.entry((uid.clone(), metric)).or_default();
            for window in runs::windows(&row, 0)? {
                beside.see(&window, since..from, to);
            }
            Ok::<_, Error>(())
        };
        self.log.fetch_each(statement, each).await?;
        Ok(found)
    }
}

impl Beside {
    /// Takes note of a window that lies before the range or after it.
    fn see(&mut self, window: &fold::Window, before: Range<i64>, after: i64) {
        let (first, last) = (
            Point { at: window.first_at, value: window.first },
            Point { at: window.last_at, value: window.last },
        );
        if before.contains(&window.start) && self.before.is_none_or(|known| known.at < last.at) {
            self.before = Some(last);
        }
        if window.start >= after && self.after.is_none_or(|known| first.at < known.at) {
            self.after = Some(first);
        }
    }
}

/// The metrics of each device, by name.
const METRICS: &str = "
    SELECT device.aggregate_id, series.metric
    FROM unnest($2::text[]) AS device (aggregate_id)
    CROSS JOIN LATERAL (
        SELECT metric FROM telemetry_series
        WHERE log_id = $1 AND aggregate_id = device.aggregate_id AND ($3::text IS NULL OR metric > $3)
        ORDER BY metric LIMIT $4
    ) AS series
    ORDER BY series.metric, device.aggregate_id";

/// Also returns the open runs, which hours and days do not include yet; `ORDER BY run` puts them last in their
/// series.
const RUNS: &str = "
    SELECT aggregate_id, metric, starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions
    FROM telemetry_window_runs
    WHERE log_id = $1 AND aggregate_id = ANY($2) AND ($3::text[] IS NULL OR metric = ANY($3)) AND step = $4
      AND run >= $5 AND run < $6
    ORDER BY aggregate_id, metric, run";

/// The runs of minutes around the two ends of a range: the one that holds the end, and one more.
const BESIDE: &str = "
    SELECT series.aggregate_id, series.metric, beside.*
    FROM telemetry_series AS series
    CROSS JOIN LATERAL (
        (SELECT starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions FROM telemetry_runs
         WHERE log_id = $1 AND series_id = series.series_id AND step = 60 AND run <= $4 ORDER BY run DESC LIMIT 2)
        UNION ALL
        (SELECT starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions FROM telemetry_runs
         WHERE log_id = $1 AND series_id = series.series_id AND step = 60 AND run >= $5 ORDER BY run LIMIT 2)
    ) AS beside
    WHERE series.log_id = $1 AND series.aggregate_id = ANY($2) AND series.metric = ANY($3)";
