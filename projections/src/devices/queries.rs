//! The queries over `devices`, for REST and GraphQL.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::device::{EventType, Labels};
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_event_log::database::parsed;
use fleetlog_event_log::{LogId, TenantLog};
use sqlx::postgres::{PgRow, Postgres};
use sqlx::types::Json as SqlJson;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder, Row};

use super::online::{Rule, push_connection, push_is_online};
use super::{Device, Error, LastReading, Model, Query, SortBy, Status};
use crate::paging::{BadCursor, Page};
use crate::read_model::ReadModel;

/// A tenant's devices in the order of the query, with those online that are so by the rule.
pub async fn list(log: &TenantLog, query: &Query, online: Rule) -> Result<Page<Device>, Error> {
    if !can_match(query) {
        return Ok(Page::cut(vec![], query.limit));
    }
    let mut sql = select(online);
    push_filter(&mut sql, log.tenant(), query, online);
    let direction = if query.sort.descending { " DESC" } else { "" };
    let (key, beyond) = match query.sort.by {
        SortBy::Uid => ("device.uid", if query.sort.descending { " < " } else { " > " }),
        // A device that was never seen counts as seen before all others. The index uses this same expression.
        SortBy::LastSeenAt => (LAST_SEEN, if query.sort.descending { " < " } else { " > " }),
        SortBy::RegisteredAt => ("device.registered_at", if query.sort.descending { " < " } else { " > " }),
    };
    if let Some(after) = &query.after {
        if after.sort != query.sort {
            return Err(BadCursor::OtherSort.into());
        }
        sql.push(format_args!(" AND ({key}, device.uid){beyond}("));
        match query.sort.by {
            SortBy::Uid => sql.push_bind(after.uid.as_str()),
            _ => sql.push("coalesce(").push_bind(after.time).push("::timestamptz, '-infinity')"),
        };
        sql.push(", ").push_bind(after.uid.as_str()).push(")");
    }
    sql.push(format_args!(" ORDER BY {key}{direction}, device.uid{direction} LIMIT "));
    sql.push_bind(query.limit.saturating_add(1) as i64);
    Ok(log.fetch_page(sql.build(), query.limit).await?)
}

/// How many devices match the query, on all pages together.
pub async fn count(log: &TenantLog, query: &Query, online: Rule) -> Result<i64, Error> {
    if !can_match(query) {
        return Ok(0);
    }
    let mut sql = QueryBuilder::new("SELECT count(*) FROM devices AS device");
    if matches!(query.status, Some(Status::Online | Status::Offline)) {
        push_connection(&mut sql, online);
    }
    push_filter(&mut sql, log.tenant(), query, online);
    Ok(sql.build_query_scalar().fetch_one(&mut *log.connection().await?).await?)
}

/// The devices with these uids that are on the record, in service or not, in the order of their uids.
pub async fn get(log: &TenantLog, uids: &[Uid], online: Rule) -> Result<Vec<Device>, Error> {
    let mut sql = select(online);
    sql.push(" WHERE device.registered_at IS NOT NULL AND device.tenant = ").push_bind(log.tenant().as_str());
    sql.push(" AND device.uid = ANY(").push_bind(texts(uids)).push(") ORDER BY device.uid");
    let rows = log.fetch(sql.build()).await?;
    Ok(rows.iter().map(Device::from_row).collect::<Result<_, sqlx::Error>>()?)
}

/// How many of a tenant's devices are in service: the count of the read model, plus what the control log has had
/// since. The result is exact however far the read model is behind, and includes what the caller's own transaction
/// has done.
pub async fn in_service_now(
    connection: &mut PgConnection,
    tenant: &Tenant,
    control: LogId,
) -> Result<i64, fleetlog_event_log::Error> {
    let sql = "WITH shown AS (
             SELECT coalesce(max(position), 0) AS position
             FROM projection_checkpoints JOIN projections USING (projection, version)
             WHERE projection = $3 AND live AND log_id = $2)
         SELECT (SELECT count(*) FROM devices
                 WHERE tenant = $1 AND registered_at IS NOT NULL AND decommissioned_at IS NULL)
              + (SELECT count(*) FILTER (WHERE event_type = ANY($4))
                      - count(*) FILTER (WHERE event_type = ANY($5))
                 FROM control_events, shown
                 WHERE log_id = $2 AND control_events.position > shown.position AND aggregate_type = 'Device')";
    let count = sqlx::query_scalar(sql).bind(tenant.as_str()).bind(control).bind(Model::NAME);
    let count = count.bind(EventType::that_begin_service()).bind(EventType::that_end_service());
    Ok(count.fetch_one(connection).await?)
}

/// The uids of those of these devices that are in service.
pub async fn in_service(log: &TenantLog, uids: &[Uid]) -> Result<Vec<Uid>, fleetlog_event_log::Error> {
    let sql = "SELECT uid FROM devices
         WHERE tenant = $1 AND uid = ANY($2) AND registered_at IS NOT NULL AND decommissioned_at IS NULL";
    let found = sqlx::query(sql).bind(log.tenant().as_str()).bind(texts(uids));
    named(&found.fetch_all(&mut *log.connection().await?).await?)
}

/// The labels of those of these devices that are on the record, by uid.
pub async fn labels(
    log: &TenantLog,
    uids: &[Uid],
) -> Result<HashMap<Uid, Labels>, fleetlog_event_log::Error> {
    let sql =
        "SELECT uid, labels FROM devices WHERE tenant = $1 AND uid = ANY($2) AND registered_at IS NOT NULL";
    let rows = sqlx::query(sql).bind(log.tenant().as_str()).bind(texts(uids));
    let rows = rows.fetch_all(&mut *log.connection().await?).await?;
    let labels = |row: &PgRow| Ok((parsed(row, "uid")?, row.try_get::<SqlJson<Labels>, _>("labels")?.0));
    Ok(rows.iter().map(labels).collect::<Result<_, sqlx::Error>>()?)
}

/// The uids of the devices in service that carry all of these labels, in order, at most `limit`.
pub async fn with_labels(
    log: &TenantLog,
    labels: &Labels,
    limit: usize,
) -> Result<Vec<Uid>, fleetlog_event_log::Error> {
    // No label holds U+0000, and Postgres takes no text that does.
    if holds_nul(labels) {
        return Ok(vec![]);
    }
    let sql = "SELECT uid FROM devices
         WHERE tenant = $1 AND labels @> $2 AND registered_at IS NOT NULL AND decommissioned_at IS NULL
         ORDER BY uid LIMIT $3";
    let found = sqlx::query(sql).bind(log.tenant().as_str()).bind(SqlJson(labels)).bind(limit as i64);
    named(&found.fetch_all(&mut *log.connection().await?).await?)
}

/// The uids of those of these devices that have been heard of since a time.
pub async fn heard_since(
    pool: &PgPool,
    tenant: &Tenant,
    uids: &[Uid],
    since: DateTime<Utc>,
) -> Result<Vec<Uid>, fleetlog_event_log::Error> {
    let sql = "SELECT uid FROM devices WHERE tenant = $1 AND uid = ANY($2) AND last_seen_at >= $3";
    let found = sqlx::query(sql).bind(tenant.as_str()).bind(texts(uids)).bind(since);
    named(&found.fetch_all(pool).await?)
}

fn texts(uids: &[Uid]) -> Vec<&str> {
    uids.iter().map(Uid::as_str).collect()
}

/// The uids in the column `uid`.
fn named(rows: &[PgRow]) -> Result<Vec<Uid>, fleetlog_event_log::Error> {
    Ok(rows.iter().map(|row| parsed(row, "uid")).collect::<Result<_, sqlx::Error>>()?)
}

const LAST_SEEN: &str = "coalesce(device.last_seen_at, '-infinity')";

fn select<'q>(online: Rule) -> QueryBuilder<'q, Postgres> {
    let mut sql = QueryBuilder::new(
        "SELECT device.uid, device.name, device.labels, device.registered_at, device.registered_via,
                device.decommissioned_at, device.last_seen_at, device.last_reading_at, device.last_reading_position,
                device.last_reading::text AS last_reading, device.messages,
                device.control_position, device.telemetry_position,
                nullif(device.online_within_s, 0) AS online_within_s, connection.since AS connected_at,
                coalesce(repeated.duplicates, 0) AS duplicates, ",
    );
    push_is_online(&mut sql, online);
    sql.push(
        " AS is_online
         FROM devices AS device
         LEFT JOIN telemetry_duplicates AS repeated
             ON repeated.log_id = device.telemetry_log_id
            AND repeated.aggregate_id = device.tenant || '/' || device.uid",
    );
    push_connection(&mut sql, online);
    sql
}

/// Whether the query can match anything: Postgres takes no text with U+0000, and no device's names or labels hold it.
pub(super) fn can_match(query: &Query) -> bool {
    !query.q.as_ref().is_some_and(|q| q.contains('\0')) && !query.labels.as_ref().is_some_and(holds_nul)
}

fn holds_nul(labels: &Labels) -> bool {
    labels.iter().any(|(key, value)| key.contains('\0') || value.contains('\0'))
}

fn push_filter<'q>(sql: &mut QueryBuilder<'q, Postgres>, tenant: &'q Tenant, query: &'q Query, online: Rule) {
    // A device whose telemetry is ahead of its registration does not exist yet.
    sql.push(" WHERE device.registered_at IS NOT NULL AND device.tenant = ").push_bind(tenant.as_str());
    match query.status {
        Some(Status::Decommissioned) => sql.push(" AND device.decommissioned_at IS NOT NULL"),
        _ => sql.push(" AND device.decommissioned_at IS NULL"),
    };
    match query.status {
        Some(Status::Online) => {
            sql.push(" AND ");
            push_is_online(sql, online);
        }
        Some(Status::Offline) => {
            sql.push(" AND NOT ");
            push_is_online(sql, online);
        }
        Some(Status::Decommissioned) | None => {}
    }
    if let Some(labels) = &query.labels {
        sql.push(" AND device.labels @> ").push_bind(SqlJson(labels));
    }
    if let Some(q) = &query.q {
        sql.push(" AND (");
        push_search(sql, "device.uid", q);
        sql.push(")");
    }
}

/// The condition that a device's uid or its `name` holds the text, in any case.
pub(super) fn push_search<'q>(sql: &mut QueryBuilder<'q, Postgres>, uid: &str, q: &'q str) {
    // `strpos` and not `LIKE`: `%` and `_` in the search text stand for themselves.
    sql.push(format_args!("strpos(lower({uid}), lower(")).push_bind(q);
    sql.push(")) > 0 OR strpos(lower(device.name), lower(").push_bind(q).push(")) > 0");
}

/// The status of a device that is online, or is not.
pub(super) fn status(decommissioned_at: Option<DateTime<Utc>>, is_online: bool) -> Status {
    match (decommissioned_at, is_online) {
        (Some(_), _) => Status::Decommissioned,
        (None, true) => Status::Online,
        (None, false) => Status::Offline,
    }
}

impl FromRow<'_, PgRow> for Device {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let decommissioned_at = row.try_get("decommissioned_at")?;
        Ok(Self {
            uid: parsed(row, "uid")?,
            name: row.try_get("name")?,
            labels: row
                .try_get::<Option<SqlJson<_>>, _>("labels")?
                .map(|SqlJson(labels)| labels)
                .unwrap_or_default(),
            status: status(decommissioned_at, row.try_get("is_online")?),
            registered_at: row.try_get("registered_at")?,
            registered_via: parsed(row, "registered_via")?,
            decommissioned_at,
            last_seen_at: row.try_get("last_seen_at")?,
            connected_at: row.try_get("connected_at")?,
            online_within_s: row
                .try_get::<Option<i32>, _>("online_within_s")?
                .and_then(|seconds| u32::try_from(seconds).ok()),
            last_reading: last_reading(row)?,
            messages: row.try_get("messages")?,
            duplicates: Some(row.try_get("duplicates")?),
            control_position: row.try_get("control_position")?,
            telemetry_position: row.try_get("telemetry_position")?,
        })
    }
}

impl Device {
    /// Drops the last reading, if it is older than what may be shown.
    #[must_use]
    pub fn shown_since(mut self, since: Option<DateTime<Utc>>) -> Self {
        self.last_reading =
            self.last_reading.filter(|last| since.is_none_or(|since| last.occurred_at >= since));
        self
    }
}

fn last_reading(row: &PgRow) -> Result<Option<LastReading>, sqlx::Error> {
    let occurred_at: Option<DateTime<Utc>> = row.try_get("last_reading_at")?;
    let Some(occurred_at) = occurred_at else { return Ok(None) };
    Ok(Some(LastReading {
        occurred_at,
        position: row.try_get("last_reading_position")?,
        payload: row.try_get("last_reading")?,
    }))
}
