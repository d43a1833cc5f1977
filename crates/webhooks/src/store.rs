//! Webhooks in the database. Each change is on the record, in the same transaction.
//!
//! - `changes`: what becomes of a webhook after its creation
//! - `secrets`: other secrets, and sealed ones

mod changes;
mod secrets;

use std::collections::HashMap;

use fleetlog_aggregates::acts;
use fleetlog_event_log::control::{Committed, Metadata};
use fleetlog_event_log::{Lane, LogId, Position, TenantLog};
use fleetlog_live::Places;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use crate::error::{Error, Refused};
use crate::url;
use crate::webhook::{Filter, MAX_WEBHOOKS, Place, Webhook};

pub(crate) use changes::change;
pub use changes::{Change, ReplayFrom, remove, replay, set_active};
pub(crate) use secrets::{rotate, seal_all};

/// A webhook to be, whose URL was checked.
pub(crate) struct New {
    pub(crate) webhook_id: Uuid,
    pub(crate) url: http::Uri,
    pub(crate) description: Option<String>,
    pub(crate) follow: Filter,
    pub(crate) after: Places,
    pub(crate) max_batch: i32,
    /// The secret as it is stored.
    pub(crate) secret: Vec<u8>,
}

const SELECT: &str = "
    SELECT webhook_id, url, description, follow, max_batch, state, reason, previous_until, created_at, created_by, updated_at
    FROM webhooks WHERE tenant = $1 AND ($2::uuid IS NULL OR webhook_id = $2) ORDER BY webhook_id DESC";

/// A tenant's webhooks, the newest first.
pub async fn list(log: &TenantLog) -> Result<Vec<Webhook>, Error> {
    select(log, None).await
}

/// One of them.
pub async fn get(log: &TenantLog, webhook_id: Uuid) -> Result<Option<Webhook>, Error> {
    Ok(select(log, Some(webhook_id)).await?.pop())
}

async fn select(log: &TenantLog, webhook_id: Option<Uuid>) -> Result<Vec<Webhook>, Error> {
    let mut connection = log.connection().await?;
    let rows = sqlx::query(SELECT).bind(log.tenant().as_str()).bind(webhook_id);
    let rows = rows.fetch_all(&mut *connection).await?;
    let places = sqlx::query(
        "SELECT webhook_id, log_id, position, failures, failing_since, next_attempt_at FROM webhook_places
         WHERE tenant = $1 AND ($2::uuid IS NULL OR webhook_id = $2) ORDER BY log_id",
    );
    let places = places.bind(log.tenant().as_str()).bind(webhook_id).fetch_all(&mut *connection).await?;
    drop(connection);
    let mut of: HashMap<Uuid, Vec<Place>> = HashMap::new();
    for row in &places {
        of.entry(row.try_get("webhook_id")?).or_default().push(place(log, row)?);
    }
    let webhook = |row: &PgRow| {
        let webhook = Webhook::from_row(row)?;
        Ok(Webhook { places: of.remove(&webhook.webhook_id).unwrap_or_default(), ..webhook })
    };
    rows.iter().map(webhook).collect::<Result<_, sqlx::Error>>().map_err(Error::from)
}

impl FromRow<'_, PgRow> for Webhook {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let Json(follow) = row.try_get("follow")?;
        let state: &str = row.try_get("state")?;
        Ok(Self {
            webhook_id: row.try_get("webhook_id")?,
            url: row.try_get("url")?,
            description: row.try_get("description")?,
            follow,
            max_batch: row.try_get("max_batch")?,
            state: state.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            reason: row.try_get("reason")?,
            previous_until: row.try_get("previous_until")?,
            created_at: row.try_get("created_at")?,
            created_by: row.try_get("created_by")?,
            updated_at: row.try_get("updated_at")?,
            places: vec![],
        })
    }
}

fn place(log: &TenantLog, row: &PgRow) -> Result<Place, sqlx::Error> {
    let (log_id, position): (LogId, Position) = (row.try_get("log_id")?, row.try_get("position")?);
    let known = log.heads().log(log_id);
    Ok(Place {
        log_id,
        lane: known.as_ref().map_or(Lane::Control, |known| known.lane),
        position,
        // This process may be behind the node that sends.
        head: known.map_or(position, |known| known.head.max(position)),
        failures: row.try_get("failures")?,
        failing_since: row.try_get("failing_since")?,
        next_attempt_at: row.try_get("next_attempt_at")?,
    })
}

/// Creates a webhook.
pub(crate) async fn create(log: &TenantLog, new: New, metadata: Metadata) -> Result<Committed, Refused> {
    let tenant = log.tenant().clone();
    log.record(move |recorder| {
        Box::pin(async move {
            let connection = recorder.connection();
            sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('webhooks of ' || $1, 0))")
                .bind(tenant.as_str())
                .execute(&mut *connection)
                .await?;
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM webhooks WHERE tenant = $1")
                .bind(tenant.as_str())
                .fetch_one(&mut *connection)
                .await?;
            if count >= MAX_WEBHOOKS {
                return Err(Refused::TooMany);
            }
            sqlx::query(
                "INSERT INTO webhooks (webhook_id, tenant, url, description, follow, max_batch, secret, created_by)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(new.webhook_id)
            .bind(tenant.as_str())
            .bind(new.url.to_string())
            .bind(&new.description)
            .bind(Json(&new.follow))
            .bind(new.max_batch)
            .bind(&new.secret)
            .bind(metadata.actor.to_string())
            .execute(&mut *connection)
            .await?;
            follow(connection, tenant.as_str(), new.webhook_id, &new.after).await?;
            let created = acts::Webhook::WebhookCreated {
                origin: url::origin(&new.url),
                follow: serde_json::json!(new.follow),
                after: new.after.to_string(),
            };
            Ok(recorder.tell(&tenant, &new.webhook_id.to_string(), &created, &metadata).await?)
        })
    })
    .await
}

/// Follows these logs after these places, and no others. A log that was followed before keeps its place.
async fn follow(
    connection: &mut PgConnection,
    tenant: &str,
    webhook_id: Uuid,
    after: &Places,
) -> sqlx::Result<()> {
    let logs: Vec<LogId> = after.logs().collect();
    let positions: Vec<Position> = after.logs().filter_map(|log_id| after.of(log_id)).collect();
    sqlx::query("DELETE FROM webhook_places WHERE webhook_id = $1 AND log_id <> ALL ($2)")
        .bind(webhook_id)
        .bind(&logs)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO webhook_places (webhook_id, tenant, log_id, position)
         SELECT $1, $2, * FROM unnest($3::int[], $4::bigint[])
         ON CONFLICT ON CONSTRAINT webhook_places_key DO NOTHING",
    )
    .bind(webhook_id)
    .bind(tenant)
    .bind(&logs)
    .bind(&positions)
    .execute(connection)
    .await?;
    Ok(())
}
