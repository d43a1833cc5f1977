//! The queries over `commands`, for REST, GraphQL and the dispatcher.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command::Status;
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_event_log::database::parsed;
use fleetlog_event_log::{LogId, Position, TenantLog};
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{FromRow, PgPool, QueryBuilder, Row};
use uuid::Uuid;

use super::{Command, Model};
use crate::paging::{self, BadCursor, Page};
use crate::read_model::ReadModel;

/// Which commands to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only commands for this device.
    pub device_uid: Option<String>,
    /// Only commands in this state.
    pub status: Option<Status>,
    /// Only commands that this principal requested.
    pub requested_by: Option<String>,
    /// Only commands of this type.
    pub cmd: Option<String>,
    /// Only commands with this correlation id.
    pub correlation_id: Option<String>,
    /// Only commands of this batch.
    pub batch_id: Option<Uuid>,
    /// Only commands that were requested at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only commands that were requested before this time.
    pub to: Option<DateTime<Utc>>,
    /// Only commands that were requested at this position of the control log or before. `None`: up to now.
    pub until: Option<Position>,
    /// Only commands after this one in the list.
    pub after: Option<Cursor>,
    /// The most commands to return.
    pub limit: usize,
}

/// The place of a command in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor(Position);

impl Cursor {
    /// The place of a command.
    #[must_use]
    pub fn of(command: &Command) -> Self {
        Self(command.position)
    }

    /// The place of the command or batch that was requested at a position.
    pub(super) fn at(position: Position) -> Self {
        Self(position)
    }

    pub(super) fn position(self) -> Position {
        self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&paging::encode(&("position", self.0)))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        match paging::decode(text)? {
            (kind, position) if kind == "position" && position > 0 => Ok(Self(position)),
            (String { .. }, _) => Err(BadCursor::Malformed),
        }
    }
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] fleetlog_event_log::Error),
    /// The log holds an event that no command can have.
    #[error("read a command's events: {0}")]
    Corrupt(String),
}

impl Error {
    /// What failed, in words that anybody may read.
    #[must_use]
    pub fn outline(&self) -> String {
        match self {
            Self::Database(error) => error.outline(),
            Self::Corrupt(_) => "an event of a command cannot be decoded".into(),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// A tenant's commands, newest first.
pub async fn list(log: &TenantLog, query: &Query) -> Result<Page<Command>, Error> {
    if !can_match(query) {
        return Ok(Page::cut(vec![], query.limit));
    }
    let mut sql = QueryBuilder::new(SELECT);
    push_filter(&mut sql, log.tenant(), query);
    if let Some(after) = query.after {
        sql.push(" AND position < ").push_bind(after.0);
    }
    sql.push(" ORDER BY position DESC LIMIT ").push_bind(query.limit.saturating_add(1) as i64);
    Ok(log.fetch_page(sql.build(), query.limit).await?)
}

/// How many commands match the query, on all pages together.
pub async fn count(log: &TenantLog, query: &Query) -> Result<i64, Error> {
    if !can_match(query) {
        return Ok(0);
    }
    let mut sql = QueryBuilder::new("SELECT count(*) FROM commands");
    push_filter(&mut sql, log.tenant(), query);
    Ok(sql.build_query_scalar().fetch_one(&mut *log.connection().await?).await?)
}

/// The commands of some of a tenant's devices, newest first, at most `limit` of each device, device by device.
pub async fn of_devices(
    log: &TenantLog,
    device_uids: &[Uid],
    after: Option<Cursor>,
    limit: usize,
) -> Result<Vec<Command>, Error> {
    let sql = format!(
        "SELECT command.* FROM unnest($2::text[]) WITH ORDINALITY AS device (uid, ordinal)
         CROSS JOIN LATERAL (
             {SELECT} WHERE tenant = $1 AND device_uid = device.uid AND position < $3
             ORDER BY position DESC LIMIT $4) AS command
         ORDER BY device.ordinal, command.position DESC"
    );
    let device_uids: Vec<&str> = device_uids.iter().map(Uid::as_str).collect();
    let statement = sqlx::query(&sql).bind(log.tenant().as_str()).bind(device_uids);
    let statement = statement.bind(after.map_or(Position::MAX, Cursor::position)).bind(limit as i64);
    let rows = log.fetch(statement).await?;
    Ok(rows.iter().map(Command::from_row).collect::<Result<_, sqlx::Error>>()?)
}

/// The commands that exist among those with these ids.
pub async fn get(log: &TenantLog, cmd_ids: &[Uuid]) -> Result<Vec<Command>, Error> {
    let mut sql = QueryBuilder::new(SELECT);
    sql.push(" WHERE tenant = ").push_bind(log.tenant().as_str());
    sql.push(" AND cmd_id = ANY(").push_bind(cmd_ids).push(")");
    let rows = log.fetch(sql.build()).await?;
    Ok(rows.iter().map(Command::from_row).collect::<Result<_, sqlx::Error>>()?)
}

/// The commands that had not ended when the read model was at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The read model's position in the control log.
    pub position: Position,
    /// The ids of the commands, in the order in which they were requested.
    pub commands: Vec<Uuid>,
}

/// A tenant's commands that have not ended, as of one moment.
pub async fn open(pool: &PgPool, tenant: &Tenant, log_id: LogId) -> Result<Open, Error> {
    // One statement is one snapshot.
    let row = sqlx::query(
        "SELECT coalesce((SELECT position FROM projection_checkpoints JOIN projections USING (projection, version)
                          WHERE projection = $1 AND live AND log_id = $2), 0) AS position,
                ARRAY(SELECT cmd_id FROM commands
                      WHERE tenant = $3 AND status IN ('requested', 'sent') ORDER BY position) AS commands",
    )
    .bind(Model::NAME)
    .bind(log_id)
    .bind(tenant.as_str())
    .fetch_one(pool)
    .await?;
    Ok(Open { position: row.try_get("position")?, commands: row.try_get("commands")? })
}

const SELECT: &str = "
    SELECT cmd_id, device_uid, cmd, params::text AS params, status, requested_by, requested_at, timeout_s, max_attempts,
           expires_at, attempts, sent_at, deadline, ended_at, result::text AS result, error::text AS error,
           cancelled_by, cancel_reason, late_ack::text AS late_ack, late_ack_at, correlation_id, batch_id, position,
           last_position
    FROM commands";

/// Whether the query can match anything: Postgres takes no text with U+0000, and no searched field holds it.
pub(super) fn can_match(query: &Query) -> bool {
    let texts = [&query.device_uid, &query.requested_by, &query.cmd, &query.correlation_id];
    !texts.into_iter().flatten().any(|text| text.contains('\0'))
}

pub(super) fn push_filter<'q>(sql: &mut QueryBuilder<'q, Postgres>, tenant: &'q Tenant, query: &'q Query) {
    sql.push(" WHERE tenant = ").push_bind(tenant.as_str());
    let texts = [
        (" AND device_uid = ", &query.device_uid),
        (" AND requested_by = ", &query.requested_by),
        (" AND cmd = ", &query.cmd),
        (" AND correlation_id = ", &query.correlation_id),
    ];
    for (condition, text) in texts {
        if let Some(text) = text {
            sql.push(condition).push_bind(text);
        }
    }
    if let Some(status) = query.status {
        sql.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(batch_id) = query.batch_id {
        sql.push(" AND batch_id = ").push_bind(batch_id);
    }
    if let Some(from) = query.from {
        sql.push(" AND requested_at >= ").push_bind(from);
    }
    if let Some(to) = query.to {
        sql.push(" AND requested_at < ").push_bind(to);
    }
    if let Some(until) = query.until {
        sql.push(" AND position <= ").push_bind(until);
    }
}

impl FromRow<'_, PgRow> for Command {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            cmd_id: row.try_get("cmd_id")?,
            device_uid: parsed(row, "device_uid")?,
            cmd: row.try_get("cmd")?,
            params: row.try_get("params")?,
            status: parsed(row, "status")?,
            requested_by: row.try_get("requested_by")?,
            requested_at: row.try_get("requested_at")?,
            timeout_s: row.try_get("timeout_s")?,
            max_attempts: row.try_get("max_attempts")?,
            expires_at: row.try_get("expires_at")?,
            attempts: row.try_get("attempts")?,
            sent_at: row.try_get("sent_at")?,
            deadline: row.try_get("deadline")?,
            ended_at: row.try_get("ended_at")?,
            result: row.try_get("result")?,
            error: row.try_get("error")?,
            cancelled_by: row.try_get("cancelled_by")?,
            cancel_reason: row.try_get("cancel_reason")?,
            late_ack: row.try_get("late_ack")?,
            late_ack_at: row.try_get("late_ack_at")?,
            correlation_id: row.try_get("correlation_id")?,
            batch_id: row.try_get("batch_id")?,
            position: row.try_get("position")?,
            last_position: row.try_get("last_position")?,
        })
    }
}
