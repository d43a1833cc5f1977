//! The queries over `alarms`, for REST and GraphQL.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm::{Status, Why};
use fleetlog_aggregates::alarm_rule::Severity;
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_aggregates::words;
use fleetlog_event_log::database::parsed;
use fleetlog_event_log::{Position, TenantLog};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{FromRow, QueryBuilder, Row};
use uuid::Uuid;

use super::Alarm;
use crate::paging::{self, BadCursor, Page};

/// Which alarms to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only alarms of this device.
    pub device_uid: Option<String>,
    /// Only alarms of this rule.
    pub rule: Option<String>,
    /// Only alarms in this state.
    pub state: Option<State>,
    /// Only alarms of this severity.
    pub severity: Option<Severity>,
    /// Only alarms that were raised at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only alarms that were raised before this time.
    pub to: Option<DateTime<Utc>>,
    /// In which order.
    pub order: Order,
    /// Only alarms after this one in the list.
    pub after: Option<Cursor>,
    /// The most alarms to return.
    pub limit: usize,
}

/// The state of an alarm, or of any that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Raised or acknowledged.
    Open,
    /// Raised, and not acknowledged.
    Raised,
    /// Acknowledged, and not over.
    Acknowledged,
    /// Over.
    Cleared,
}

words! { State { Open = "open", Raised = "raised", Acknowledged = "acknowledged", Cleared = "cleared" } }

/// The order of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Newest first.
    #[default]
    Newest,
    /// Those that are open first; of each kind, newest first.
    OpenFirst,
}

words! { Order { Newest = "newest", OpenFirst = "open_first" } }

/// The place of an alarm in a list: whether it is among those that are over, in a list that shows those last, and when it
/// was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    order: Order,
    is_over: bool,
    position: Position,
}

impl Cursor {
    /// The place of an alarm in a list of an order.
    #[must_use]
    pub fn of(alarm: &Alarm, order: Order) -> Self {
        let is_over = order == Order::OpenFirst && !alarm.status.is_open();
        Self { order, is_over, position: alarm.position }
    }

    /// The cursor, if it is of a list of this order.
    pub fn in_order(self, order: Order) -> Result<Self, BadCursor> {
        if self.order == order { Ok(self) } else { Err(BadCursor::OtherSort) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&paging::encode(&(self.order, self.is_over, self.position)))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (order, is_over, position): (Order, bool, Position) = paging::decode(text)?;
        if position < 1 || (is_over && order == Order::Newest) {
            return Err(BadCursor::Malformed);
        }
        Ok(Self { order, is_over, position })
    }
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] fleetlog_event_log::Error),
    /// The log holds an event that no alarm can have.
    #[error("read an alarm's events: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// A tenant's alarms.
pub async fn list(log: &TenantLog, query: &Query) -> Result<Page<Alarm>, Error> {
    if query.order == Order::Newest {
        return part(log, query, None, query.after, query.limit).await;
    }
    // Two lists one after the other: each is in the order of an index.
    let (is_over, after) = query.after.map_or((false, None), |after| (after.is_over, Some(after)));
    let (open, over) = (Some("status <> 'cleared'"), Some("status = 'cleared'"));
    if is_over {
        return part(log, query, over, after, query.limit).await;
    }
    let mut page = part(log, query, open, after, query.limit).await?;
    if !page.has_more {
        let left = query.limit - page.items.len();
        let rest = part(log, query, over, None, left).await?;
        page = Page { items: page.items.into_iter().chain(rest.items).collect(), has_more: rest.has_more };
    }
    Ok(page)
}

async fn part(
    log: &TenantLog,
    query: &Query,
    which: Option<&str>,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Alarm>, Error> {
    if !can_match(query) {
        return Ok(Page::cut(vec![], limit));
    }
    let mut sql = QueryBuilder::new(SELECT);
    push_filter(&mut sql, log.tenant(), query);
    if let Some(which) = which {
        sql.push(" AND ").push(which);
    }
    if let Some(after) = after {
        sql.push(" AND position < ").push_bind(after.position);
    }
    sql.push(" ORDER BY position DESC LIMIT ").push_bind(limit.saturating_add(1) as i64);
    Ok(log.fetch_page(sql.build(), limit).await?)
}

/// How many alarms match the query, on all pages together.
pub async fn count(log: &TenantLog, query: &Query) -> Result<i64, Error> {
    if !can_match(query) {
        return Ok(0);
    }
    let mut sql = QueryBuilder::new("SELECT count(*) FROM alarms");
    push_filter(&mut sql, log.tenant(), query);
    Ok(sql.build_query_scalar().fetch_one(&mut *log.connection().await?).await?)
}

/// The alarms of some of a tenant's devices, newest first, at most `limit` of each device, device by device.
pub async fn of_devices(
    log: &TenantLog,
    device_uids: &[Uid],
    state: Option<State>,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Vec<Alarm>, Error> {
    let statuses = state.map_or(vec!["raised", "acknowledged", "cleared"], statuses);
    let sql = format!(
        "SELECT alarm.* FROM unnest($2::text[]) WITH ORDINALITY AS device (uid, ordinal)
         CROSS JOIN LATERAL (
             {SELECT} WHERE tenant = $1 AND device_uid = device.uid AND position < $3 AND status = ANY($5)
             ORDER BY position DESC LIMIT $4) AS alarm
         ORDER BY device.ordinal, alarm.position DESC"
    );
    let device_uids: Vec<&str> = device_uids.iter().map(Uid::as_str).collect();
    let statement = sqlx::query(&sql).bind(log.tenant().as_str()).bind(device_uids);
    let statement = statement.bind(after.map_or(Position::MAX, |after| after.position)).bind(limit as i64);
    let rows = log.fetch(statement.bind(statuses)).await?;
    Ok(rows.iter().map(Alarm::from_row).collect::<Result<_, sqlx::Error>>()?)
}

/// The alarms that exist among those with these ids.
pub async fn get(log: &TenantLog, alarm_ids: &[Uuid]) -> Result<Vec<Alarm>, Error> {
    let mut sql = QueryBuilder::new(SELECT);
    sql.push(" WHERE tenant = ").push_bind(log.tenant().as_str());
    sql.push(" AND alarm_id = ANY(").push_bind(alarm_ids).push(")");
    let rows = log.fetch(sql.build()).await?;
    Ok(rows.iter().map(Alarm::from_row).collect::<Result<_, sqlx::Error>>()?)
}

const SELECT: &str = "
    SELECT alarm_id, rule, rule_version, title, severity, device_uid, condition, metric, cmd, value, since, cause,
           raised_at, status, acknowledged_at, acknowledged_by, acknowledge_note, cleared_at, cleared_because,
           cleared_by, clear_note, clear_value, position, last_position
    FROM alarms";

/// Whether the query can match anything: Postgres takes no text with U+0000, and no searched field holds it.
fn can_match(query: &Query) -> bool {
    ![&query.device_uid, &query.rule].into_iter().flatten().any(|text| text.contains('\0'))
}

fn statuses(state: State) -> Vec<&'static str> {
    match state {
        State::Open => vec![Status::Raised.as_str(), Status::Acknowledged.as_str()],
        State::Raised => vec![Status::Raised.as_str()],
        State::Acknowledged => vec![Status::Acknowledged.as_str()],
        State::Cleared => vec![Status::Cleared.as_str()],
    }
}

fn push_filter<'q>(sql: &mut QueryBuilder<'q, Postgres>, tenant: &'q Tenant, query: &'q Query) {
    sql.push(" WHERE tenant = ").push_bind(tenant.as_str());
    for (condition, text) in [(" AND device_uid = ", &query.device_uid), (" AND rule = ", &query.rule)] {
        if let Some(text) = text {
            sql.push(condition).push_bind(text);
        }
    }
    match query.state {
        // As the partial index says it.
        Some(State::Open) => {
            sql.push(" AND status <> 'cleared'");
        }
        Some(state) => {
            sql.push(" AND status = ANY(").push_bind(statuses(state)).push(")");
        }
        None => {}
    }
    if let Some(severity) = query.severity {
        sql.push(" AND severity = ").push_bind(severity.as_str());
    }
    if let Some(from) = query.from {
        sql.push(" AND raised_at >= ").push_bind(from);
    }
    if let Some(to) = query.to {
        sql.push(" AND raised_at < ").push_bind(to);
    }
}

impl FromRow<'_, PgRow> for Alarm {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let because: Option<String> = row.try_get("cleared_because")?;
        let because = because.map(|because| because.parse::<Why>());
        Ok(Self {
            alarm_id: row.try_get("alarm_id")?,
            rule: parsed(row, "rule")?,
            rule_version: row.try_get("rule_version")?,
            title: row.try_get("title")?,
            severity: parsed(row, "severity")?,
            device_uid: parsed(row, "device_uid")?,
            condition: row.try_get("condition")?,
            metric: row.try_get("metric")?,
            cmd: row.try_get("cmd")?,
            value: row.try_get("value")?,
            since: row.try_get("since")?,
            cause: row.try_get("cause")?,
            raised_at: row.try_get("raised_at")?,
            status: parsed(row, "status")?,
            acknowledged_at: row.try_get("acknowledged_at")?,
            acknowledged_by: row.try_get("acknowledged_by")?,
            acknowledge_note: row.try_get("acknowledge_note")?,
            cleared_at: row.try_get("cleared_at")?,
            cleared_because: because.transpose().map_err(|error| sqlx::Error::Decode(error.into()))?,
            cleared_by: row.try_get("cleared_by")?,
            clear_note: row.try_get("clear_note")?,
            clear_value: row.try_get("clear_value")?,
            position: row.try_get("position")?,
            last_position: row.try_get("last_position")?,
        })
    }
}
