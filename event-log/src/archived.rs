//! Readings that were removed from the database: what was removed, and where its copies lie.
//!
//! A week of readings is removed whole ([`EventLog::remove`]), once every tenant with readings in it keeps them no longer. The
//! crate `fleetlog-archive` does so, and has written the copies. Whoever reads on from a position that was removed gets the
//! events from the copies, if the process reads archives ([`EventLog::read_archives`]), or else [`Error::Archived`].

pub mod holes;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use futures::future::BoxFuture;
use sqlx::postgres::PgRow;
use sqlx::{Executor, FromRow, Row};

use crate::control::Metadata;
use crate::read::{Slice, TELEMETRY, telemetry_event};
use crate::scope::Scope;
use crate::{Error, Event, EventLog, Lane, LogId, Position, Result};

/// A copy of readings: a file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Where the file lies: a path, or a URL.
    pub location: String,
    /// The length of the file.
    pub bytes: i64,
    /// The hash of the file's bytes.
    pub sha256: Vec<u8>,
}

impl Copy {
    /// The file's name within its place, such as `log-2/2026w02-1042.parquet`: what a tenant may know of where it lies.
    #[must_use]
    pub fn file(&self) -> &str {
        let slash = self.location.rmatch_indices('/').nth(1);
        slash.map_or(&*self.location, |(at, _)| &self.location[at + 1..])
    }
}

/// Readings of one log and one week that were removed: positions without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The log.
    pub log_id: LogId,
    /// The first position.
    pub first: Position,
    /// The last position.
    pub last: Position,
    /// When the week begins in which they were recorded.
    pub week: DateTime<Utc>,
    /// When the earliest of them was recorded.
    pub first_recorded_at: DateTime<Utc>,
    /// When the latest of them was recorded.
    pub last_recorded_at: DateTime<Utc>,
    /// Between which times they occurred, by the devices' clocks. `None`: they were removed before that was noted.
    pub occurred_at: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// The copy. `None`: the operator keeps no copies.
    pub copy: Option<Copy>,
    /// The size of the checkpoint whose proof is in the copy. `None`: it has no proof, because nothing was signed.
    pub proved_size: Option<i64>,
    /// When they were removed.
    pub removed_at: DateTime<Utc>,
    /// Until when they stay in the database, if they were restored.
    pub kept_until: Option<DateTime<Utc>>,
}

impl Archived {
    /// How many readings there are.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.last - self.first + 1
    }
}

impl std::fmt::Display for Archived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { log_id, first, last, removed_at, copy, .. } = self;
        write!(
            f,
            "events {first} to {last} of log {log_id}, which were removed on {}",
            removed_at.date_naive()
        )?;
        match copy {
            None => f.write_str(" without a copy"),
            Some(Copy { location, .. }) => write!(
                f,
                "; they are in {location}, and `fleetlog archive restore --log-id {log_id} --from {first} --to {last}` brings them back"
            ),
        }
    }
}

impl FromRow<'_, PgRow> for Archived {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let location: Option<String> = row.try_get("location")?;
        let copy = match location {
            Some(location) => {
                Some(Copy { location, bytes: row.try_get("bytes")?, sha256: row.try_get("sha256")? })
            }
            None => None,
        };
        Ok(Self {
            log_id: row.try_get("log_id")?,
            first: row.try_get("first_position")?,
            last: row.try_get("last_position")?,
            week: row.try_get("week")?,
            first_recorded_at: row.try_get("first_recorded_at")?,
            last_recorded_at: row.try_get("last_recorded_at")?,
            occurred_at: Option::zip(row.try_get("first_occurred_at")?, row.try_get("last_occurred_at")?),
            copy,
            proved_size: row.try_get("proved_size")?,
            removed_at: row.try_get("removed_at")?,
            kept_until: row.try_get("kept_until")?,
        })
    }
}

/// Readings of one log that are about to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The log.
    pub log_id: LogId,
    /// The first position.
    pub first: Position,
    /// The last position. All positions between the two are in the same week.
    pub last: Position,
    /// The verified copy. `None`: no copies are kept.
    pub copy: Option<Copy>,
    /// The size of the checkpoint whose proof is in the copy, if there is one.
    pub proved_size: Option<i64>,
}

/// What one log has in a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InWeek {
    /// The log.
    pub log_id: LogId,
    /// Its first position in the week.
    pub first: Position,
    /// Its last position in the week. Positions between the two may be in a neighbouring week, after a server clock was set
    /// back over the week's end.
    pub last: Position,
}

/// Reads copies.
pub trait Archives: Send + Sync {
    /// The next events of a copy after a position, in order: at least one and at most `limit`, and no more once their
    /// payloads reach `bytes`. The error says what to do.
    fn events<'a>(
        &'a self,
        range: &'a Archived,
        after: Position,
        limit: i64,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Event>, String>>;

    /// Whether a copy is where it should be. The error says what to do. What is in it is not read.
    fn check<'a>(&'a self, range: &'a Archived) -> BoxFuture<'a, Result<(), String>>;
}

const COLUMNS: &str =
    "log_id, first_position, last_position, week, first_recorded_at, last_recorded_at, first_occurred_at,
     last_occurred_at, location, bytes, sha256, proved_size, removed_at, kept_until";

impl<S: Scope> EventLog<S> {
    /// The ranges of a log that are not in the database, of the positions after `after` up to `until`, in order.
    pub async fn archived(
        &self,
        log_id: LogId,
        after: Position,
        until: Position,
        limit: i64,
    ) -> Result<Vec<Archived>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM archived_ranges
             WHERE log_id = $1 AND last_position > $2 AND first_position <= $3 AND restored_at IS NULL
             ORDER BY first_position LIMIT $4"
        );
        let rows = self.fetch(sqlx::query(&sql).bind(log_id).bind(after).bind(until).bind(limit)).await?;
        Ok(rows.iter().map(Archived::from_row).collect::<Result<_, _>>()?)
    }

    /// The range that holds the event after `after`, if these events, which were read after it, do not begin with that one
    /// because it was removed.
    pub(crate) async fn skipped(
        &self,
        log_id: LogId,
        after: Position,
        events: &[Event],
    ) -> Result<Option<Archived>> {
        let next = after + 1;
        if events.first().is_some_and(|event| event.position == next) {
            return Ok(None);
        }
        let log = self.heads().log(log_id).ok_or(Error::NoSuchLog(log_id))?;
        if log.lane == Lane::Control || log.head < next {
            return Ok(None);
        }
        Ok(self.archived(log_id, after, next, 1).await?.into_iter().next())
    }

    /// The next events of a range that was removed, from its copy, bounded as in [`EventLog::page`].
    pub async fn read_copy(
        &self,
        range: Archived,
        after: Position,
        limit: i64,
        bytes: usize,
    ) -> Result<Vec<Event>> {
        match self.inner.archives.get() {
            Some(archives) if range.copy.is_some() => archives
                .events(&range, after, limit, bytes)
                .await
                .map_err(|why| Error::Unarchived { range: Box::new(range), why }),
            _ => Err(Error::Archived(Box::new(range))),
        }
    }

    /// The next events of a slice that lie in a range that was removed, and the position up to which that was read.
    pub(crate) async fn slice_of_copy(
        &self,
        range: Archived,
        after: Position,
        slice: Slice,
        limit: i64,
        bytes: usize,
    ) -> Result<(Vec<Event>, Position)> {
        let last = range.last.min(slice.until);
        let mut events = self.read_copy(range, after, limit, bytes).await?;
        events.retain(|event| event.position <= slice.until);
        let read = events.last().map_or(last, |event| event.position);
        if slice.of > 1 {
            let mut streams: Vec<&str> = events.iter().map(|event| event.aggregate_id.as_str()).collect();
            streams.sort_unstable();
            streams.dedup();
            let own = sqlx::query(
                "SELECT stream FROM unnest($1::text[]) AS stream WHERE range_of(stream, $3) = $2 ORDER BY stream",
            );
            let rows = self.fetch(own.bind(streams).bind(slice.nth).bind(slice.of)).await?;
            let own: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            let own: std::collections::HashSet<String> = own.into_iter().collect();
            events.retain(|event| own.contains(&event.aggregate_id));
        }
        Ok((events, read))
    }
}

impl EventLog {
    /// From now on, events that were removed are read from their copies. Only the first call counts.
    pub fn read_archives(&self, archives: Arc<dyn Archives>) {
        let _ = self.inner.archives.set(archives);
    }

    /// Whether a range that was removed can be read from its copy, as far as that can be told at once. The error says what to
    /// do.
    pub async fn check_copy(&self, range: &Archived) -> Result<(), String> {
        match self.inner.archives.get() {
            Some(archives) if range.copy.is_some() => archives.check(range).await,
            _ => Err(range.to_string()),
        }
    }

    /// Everything that was ever removed, with what was restored, log by log.
    pub async fn all_archived(&self) -> Result<Vec<Archived>> {
        let sql = format!("SELECT {COLUMNS} FROM archived_ranges ORDER BY log_id, first_position");
        Ok(sqlx::query_as(&sql).fetch_all(self.pool()).await?)
    }

    /// The weeks that may be removed, oldest first. `copied`: whether copies are kept.
    pub async fn removable_weeks(&self, copied: bool) -> Result<Vec<DateTime<Utc>>> {
        let weeks = sqlx::query_scalar(
            "SELECT week FROM partitioned_weeks() AS week WHERE week_is_kept(week, $1) IS NULL ORDER BY week",
        );
        Ok(weeks.bind(copied).fetch_all(self.pool()).await?)
    }

    /// The oldest week that is over and stays, and why, in words. `copied`: whether copies are kept.
    pub async fn kept_week(&self, copied: bool) -> Result<Option<(DateTime<Utc>, String)>> {
        let kept = sqlx::query_as(
            "SELECT week, reason FROM partitioned_weeks() AS week, week_is_kept(week, $1) AS reason
             WHERE reason IS NOT NULL AND week + interval '8 days' < clock_timestamp()
               AND EXISTS (SELECT FROM logs_of_week(week))
             ORDER BY week LIMIT 1",
        );
        Ok(kept.bind(copied).fetch_optional(self.pool()).await?)
    }

    /// What each log has in a week.
    pub async fn in_week(&self, week: DateTime<Utc>) -> Result<Vec<InWeek>> {
        let rows: Vec<(LogId, Position, Position)> =
            sqlx::query_as("SELECT * FROM logs_of_week($1)").bind(week).fetch_all(self.pool()).await?;
        Ok(rows.into_iter().map(|(log_id, first, last)| InWeek { log_id, first, last }).collect())
    }

    /// The next readings of a log in a week after a position, in order, bounded as in [`EventLog::page`].
    pub async fn week_page(
        &self,
        week: DateTime<Utc>,
        log_id: LogId,
        after: Position,
        limit: i64,
        bytes: usize,
    ) -> Result<Vec<Event>> {
        let sql = format!(
            "{TELEMETRY} WHERE log_id = $1 AND position > $2 AND recorded_at >= $4 AND recorded_at < $5
             ORDER BY position LIMIT $3"
        );
        let query = sqlx::query(&sql).bind(log_id).bind(after).bind(limit).bind(week);
        // Planned for its values, which leave one partition.
        let query = query.bind(week + chrono::TimeDelta::weeks(1)).persistent(false);
        self.up_to(bytes, query, telemetry_event).await
    }

    /// Removes a week, and puts that on the record of each tenant: both or neither. `removals` are all unbroken ranges of
    /// all logs in the week. The database checks that they are, that the week is over, and that nobody keeps it.
    pub async fn remove(
        &self,
        week: DateTime<Utc>,
        removals: Vec<Removal>,
        metadata: Metadata,
    ) -> Result<()> {
        let log = self.clone();
        self.record(move |recorder| {
            Box::pin(async move {
                // Counting a large week takes longer than what a request may.
                recorder.connection().execute("SET LOCAL statement_timeout = 0").await?;
                let copy = |removal: &Removal| removal.copy.clone();
                sqlx::query("SELECT remove_week($1, $2, $3, $4, $5, $6, $7, $8)")
                    .bind(week)
                    .bind(column(&removals, |removal| removal.log_id))
                    .bind(column(&removals, |removal| removal.first))
                    .bind(column(&removals, |removal| removal.last))
                    .bind(column(&removals, |removal| copy(removal).map(|copy| copy.location)))
                    .bind(column(&removals, |removal| copy(removal).map(|copy| copy.bytes)))
                    .bind(column(&removals, |removal| copy(removal).map(|copy| copy.sha256)))
                    .bind(column(&removals, |removal| removal.proved_size))
                    .execute(recorder.connection())
                    .await?;
                for removal in &removals {
                    let tenant = log.tenant_of(removal.log_id)?;
                    let act = acts::Tenant::ReadingsRemoved {
                        log_id: removal.log_id.0,
                        first: removal.first,
                        last: removal.last,
                        week,
                        sha256: removal.copy.as_ref().map(|copy| hex(&copy.sha256)),
                    };
                    recorder.tell(&tenant, tenant.as_str(), &act, &metadata).await?;
                }
                Ok::<_, Error>(())
            })
        })
        .await?;
        self.heads().refresh(self.pool()).await
    }

    /// Stores the readings of a range again, and notes that on the record: all of them or none. `next` returns the next ones
    /// in order, and none at the end. They are kept for `keep_days`.
    pub async fn restore(
        &self,
        range: Archived,
        keep_days: i32,
        mut next: impl FnMut() -> BoxFuture<'static, Result<Vec<Event>, String>> + Send + 'static,
        metadata: Metadata,
    ) -> Result<()> {
        let tenant = self.tenant_of(range.log_id)?;
        let unarchived = {
            let range = range.clone();
            move |why: String| Error::Unarchived { range: Box::new(range.clone()), why }
        };
        self.record(move |recorder| {
            Box::pin(async move {
                let connection = recorder.connection();
                connection.execute("SET LOCAL statement_timeout = 0").await?;
                sqlx::query("SELECT telemetry_events_make_partitions($1, $1)")
                    .bind(range.week)
                    .execute(&mut *connection)
                    .await?;
                let there = "SELECT position FROM telemetry_events WHERE log_id = $1 AND position BETWEEN $2 AND $3 LIMIT 1";
                let there: Option<Position> = sqlx::query_scalar(there)
                    .bind(range.log_id)
                    .bind(range.first)
                    .bind(range.last)
                    .fetch_optional(&mut *connection)
                    .await?;
                if let Some(there) = there {
                    return Err(unarchived(format!("event {there} is in the database already")));
                }
                loop {
                    let events = next().await.map_err(&unarchived)?;
                    if events.is_empty() {
                        break;
                    }
                    insert(&mut *connection, &events).await?;
                }
                sqlx::query("SELECT note_restored($1, $2, $3)")
                    .bind(range.log_id)
                    .bind(range.first)
                    .bind(keep_days)
                    .execute(&mut *connection)
                    .await?;
                let act =
                    acts::Tenant::ReadingsRestored { log_id: range.log_id.0, first: range.first, last: range.last };
                recorder.tell(&tenant, tenant.as_str(), &act, &metadata).await?;
                Ok(())
            })
        })
        .await
    }

    fn tenant_of(&self, log_id: LogId) -> Result<Tenant> {
        let log = self.heads().log(log_id).ok_or(Error::NoSuchLog(log_id))?;
        log.tenant.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)).into())
    }
}

/// Stores readings as they were.
async fn insert(connection: &mut sqlx::PgConnection, events: &[Event]) -> Result<()> {
    let flags = |event: &Event| match event.metadata {
        crate::event::StoredMetadata::Telemetry { flags } => flags.bits(),
        crate::event::StoredMetadata::Control(_) => 0,
    };
    sqlx::query(
        "INSERT INTO telemetry_events
             (log_id, position, occurred_at, recorded_at, flags, aggregate_id, msg_id, payload)
         SELECT log_id, position, occurred_at, recorded_at, flags, aggregate_id, msg_id, payload::json
         FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::smallint[], $6::text[],
                     $7::text[], $8::text[])
              AS restored (log_id, position, occurred_at, recorded_at, flags, aggregate_id, msg_id, payload)",
    )
    .bind(column(events, |event| event.log_id))
    .bind(column(events, |event| event.position))
    .bind(column(events, |event| event.occurred_at))
    .bind(column(events, |event| event.recorded_at))
    .bind(column(events, flags))
    .bind(column(events, |event| event.aggregate_id.as_str()))
    .bind(column(events, |event| event.msg_id.as_deref()))
    .bind(column(events, |event| event.payload.0.as_str()))
    .execute(connection)
    .await?;
    Ok(())
}

fn column<'r, R, T>(rows: &'r [R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
