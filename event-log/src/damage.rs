//! What a damaged page of the database's files holds cannot be read. Says which events these are, so that a reader can
//! go on behind them, and knows what it has not seen.

use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Executor, PgConnection, Postgres};
use tokio::time::timeout;

use crate::health::Part;
use crate::probes::Range;
use crate::scope::Scope;
use crate::{Error, EventLog, Lane, Log, LogId, Position, Result};

/// How many events are looked at together at first, in search of the first that cannot be read.
const STRIDE: Position = 1000;
/// How many events in a row are found to be unreadable at a time. A page holds about a hundred.
const LONGEST_RUN: Position = 1000;
/// How long the search may take. A caller waits for it, and a large log whose index is damaged takes longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many pages before the damaged one are looked at for an event of its log.
const PAGES_BEFORE: i64 = 16;

/// Events that cannot be read, because what holds them is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "read events {from} to {to} of log {log_id}: table {table} is damaged ({why}); restore the table from a backup"
)]
pub struct Damage {
    /// The log.
    pub log_id: LogId,
    /// The table or partition, or the path of its file if the table is not known.
    pub table: String,
    /// The first event that cannot be read.
    pub from: Position,
    /// The last of the events that cannot be read. The one after it can be, unless more than 1000 in a row cannot.
    pub to: Position,
    /// What Postgres says.
    pub why: String,
}

impl Damage {
    /// What cannot be read, without the names of tables and files, which callers do not see.
    #[must_use]
    pub fn outline(&self) -> String {
        let Self { log_id, from, to, .. } = self;
        format!("events {from} to {to} of log {log_id} cannot be read, because what stores them is damaged")
    }

    /// The first event that cannot be read. Whoever meets the same damage names the same range.
    pub(crate) fn range(&self) -> Range {
        Range { log_id: self.log_id, after: self.from - 1, limit: 1, bytes: usize::MAX }
    }
}

/// What Postgres says of a damaged page or index: `data_corrupted`, `index_corrupted`.
fn told(error: &Error) -> Option<String> {
    let error = error.refusal()?;
    let is_damage = error.code().is_some_and(|code| ["XX001", "XX002"].contains(&&*code));
    is_damage.then(|| error.message().to_owned())
}

/// Whether an error says that a page or an index is damaged.
pub(crate) fn is_told(error: &Error) -> bool {
    told(error).is_some()
}

impl<S: Scope> EventLog<S> {
    /// The error of a read that met damage, with the first events after a position that cannot be read. Any other error
    /// stays as it is.
    pub(crate) async fn explained(&self, log_id: LogId, after: Position, error: Error) -> Error {
        self.named(log_id, Some(after), error).await
    }

    /// The error of a read of some stream in a log, with the events that cannot be read if it met damage. They are also
    /// reported as a range that cannot be read. Any other error stays as it is.
    pub(crate) async fn explained_somewhere(&self, log_id: LogId, error: Error) -> Error {
        let error = self.named(log_id, None, error).await;
        if let Error::Damaged(damage) = &error {
            self.inner.reads.fails(damage.range(), &error);
        }
        error
    }

    /// As [`EventLog::explained_somewhere`], of a tenant's control log.
    pub(crate) async fn explained_of_control(&self, tenant: &Tenant, error: Error) -> Error {
        match self.heads().of(tenant.as_str(), Lane::Control) {
            Some(log_id) => self.explained_somewhere(log_id, error).await,
            None => error,
        }
    }

    async fn named(&self, log_id: LogId, after: Option<Position>, error: Error) -> Error {
        let (Some(why), Some(log)) = (told(&error), self.heads().log(log_id)) else { return error };
        match timeout(PATIENCE, self.damage(&log, after, why)).await {
            Ok(Ok(Some(damage))) => Error::Damaged(damage),
            Ok(Ok(None) | Err(_)) | Err(_) => error,
        }
    }

    /// A connection that reads by the index only, so that it meets no page but those of the events that it asks for.
    pub(crate) async fn careful_connection(&self) -> Result<PoolConnection<Postgres>> {
        let mut connection = self.connection().await?;
        connection
            .execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
            .await?;
        Ok(connection)
    }

    /// The first events of a log that cannot be read after a position, or else on the page that Postgres names.
    async fn damage(&self, log: &Log, after: Option<Position>, why: String) -> Result<Option<Damage>> {
        // Closed afterwards, because of its settings.
        let mut connection = self.careful_connection().await?.detach();
        let mut search = Search { connection: &mut connection, log };
        let near = match after {
            Some(after) => after,
            None => search.before_page(&why).await.unwrap_or(0),
        };
        let mut first = search.first(near).await?;
        if first.is_none() && after.is_none() && near > 0 {
            first = search.first(0).await?;
        }
        let found = match first {
            None => None,
            Some(from) => {
                let to = search.last_of_run(from).await?;
                let table = search.table(&why).await?;
                Some(Damage { log_id: log.log_id, table, from, to, why })
            }
        };
        connection.close().await?;
        Ok(found)
    }
}

/// A search for what cannot be read.
struct Search<'a> {
    connection: &'a mut PgConnection,
    log: &'a Log,
}

impl Search<'_> {
    /// The first event after a position that cannot be read.
    async fn first(&mut self, after: Position) -> Result<Option<Position>> {
        let (mut good, mut stride) = (after, STRIDE);
        while good < self.log.head {
            let end = (good + stride).min(self.log.head);
            if !self.can_read(good + 1, end).await? {
                // Between the two, halved until they meet.
                let mut bad = end;
                while good + 1 < bad {
                    let middle = good + (bad - good) / 2;
                    if self.can_read(good + 1, middle).await? { good = middle } else { bad = middle }
                }
                return Ok(Some(bad));
            }
            (good, stride) = (end, stride * 2);
        }
        Ok(None)
    }

    /// The last of the events in a row that cannot be read, each of which was tried.
    async fn last_of_run(&mut self, from: Position) -> Result<Position> {
        let mut last = from;
        while last < self.log.head.min(from + LONGEST_RUN - 1) && !self.can_read(last + 1, last + 1).await? {
            last += 1;
        }
        Ok(last)
    }

    async fn can_read(&mut self, from: Position, to: Position) -> Result<bool> {
        let sql = match self.log.lane {
            Lane::Control => READ_CONTROL,
            Lane::Telemetry => READ_TELEMETRY,
        };
        let read = sqlx::query(sql).bind(self.log.log_id).bind(from).bind(to);
        match read.execute(&mut *self.connection).await.map_err(Error::from) {
            Ok(_) => Ok(true),
            Err(error) if told(&error).is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The greatest position on the pages before the damaged one: events lie in a table about in the order of their
    /// positions. `None` if Postgres names no page, or no event of the log lies there.
    async fn before_page(&mut self, why: &str) -> Option<Position> {
        let (_, after) = why.split_once("block ")?;
        let block: i64 = after.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()?;
        let sql = match self.log.lane {
            Lane::Control => LAST_BEFORE_CONTROL,
            Lane::Telemetry => LAST_BEFORE_TELEMETRY,
        };
        let page = |block: i64| format!("({},0)", block.max(0));
        let last = sqlx::query_scalar(sql)
            .bind(self.log.log_id)
            .bind(page(block - PAGES_BEFORE))
            .bind(page(block))
            .bind(node(file(why)?))
            .fetch_one(&mut *self.connection)
            .await;
        last.ok().flatten()
    }

    /// The table of the file that Postgres names.
    async fn table(&mut self, why: &str) -> Result<String> {
        let lane = match self.log.lane {
            Lane::Control => "control_events",
            Lane::Telemetry => "telemetry_events",
        };
        let Some(path) = file(why) else { return Ok(lane.into()) };
        let known = sqlx::query_scalar("SELECT pg_filenode_relation(0, $1::bigint::oid)::regclass::text")
            .bind(node(path))
            .fetch_one(&mut *self.connection)
            .await;
        Ok(known.ok().flatten().unwrap_or_else(|| path.to_owned()))
    }
}

/// The file that Postgres names, as `base/16384/16999`.
fn file(why: &str) -> Option<&str> {
    let path = why.split(|char: char| !(char.is_ascii_alphanumeric() || char == '/' || char == '_'));
    path.into_iter().find(|word| word.starts_with("base/"))
}

/// The number of a table's file.
fn node(file: &str) -> Option<i64> {
    file.rsplit('/').next().and_then(|name| name.split('_').next()?.parse().ok())
}

/// Reads events whole, and returns one row.
const READ_CONTROL: &str = "SELECT sum(length(payload::text) + length(metadata::text)) FROM control_events
     WHERE log_id = $1 AND position BETWEEN $2 AND $3";
const READ_TELEMETRY: &str = "SELECT sum(length(payload::text)) FROM telemetry_events
     WHERE log_id = $1 AND position BETWEEN $2 AND $3";
/// By the places of rows, which only Postgres's own order of pages gives.
const LAST_BEFORE_CONTROL: &str = "SELECT max(position) FROM control_events
     WHERE log_id = $1 AND ctid >= $2::text::tid AND ctid < $3::text::tid
       AND tableoid = pg_filenode_relation(0, $4::bigint::oid)";
const LAST_BEFORE_TELEMETRY: &str = "SELECT max(position) FROM telemetry_events
     WHERE log_id = $1 AND ctid >= $2::text::tid AND ctid < $3::text::tid
       AND tableoid = pg_filenode_relation(0, $4::bigint::oid)";
const LAST_CONTROL: &str = "SELECT max(position) FROM control_events WHERE log_id = $1";
const LAST_TELEMETRY: &str = "SELECT max(position) FROM telemetry_events WHERE log_id = $1";

impl EventLog {
    /// Compares the last event of each log with its head, once, and reports what is missing: a lost or cut file would
    /// go unseen, because new events get positions behind it.
    pub(crate) async fn check_ends(&self, part: &Part) {
        for log in self.heads().logs() {
            let missing = match self.last(&log).await {
                // A telemetry log may have no event left: weeks are retired.
                Ok(None) if log.lane == Lane::Telemetry => continue,
                Ok(last) if last.unwrap_or(0).max(log.archived_until) >= log.head => continue,
                Ok(last) => format!("its last event is {}", last.unwrap_or(0)),
                Err(error) if told(&error).is_some() => {
                    tracing::error!(log = log.log_id.0, %error, "the end of a log is damaged");
                    error.outline()
                }
                Err(error) => {
                    tracing::warn!(log = log.log_id.0, %error, "failed to look for missing events");
                    continue;
                }
            };
            let (log_id, head) = (log.log_id, log.head);
            let reason = format!(
                "events are missing at the end of log {log_id}: its head is {head}, and {missing}; restore a backup"
            );
            tracing::error!(reason, "the log is not whole");
            part.down(reason);
        }
    }

    async fn last(&self, log: &Log) -> Result<Option<Position>> {
        let sql = match log.lane {
            Lane::Control => LAST_CONTROL,
            Lane::Telemetry => LAST_TELEMETRY,
        };
        let mut connection = self.careful_connection().await?.detach();
        let last = sqlx::query_scalar(sql).bind(log.log_id).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(last)
    }
}
