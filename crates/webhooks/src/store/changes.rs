//! What becomes of a webhook after its creation: changes, pauses, replays, its end.

use fleetlog_aggregates::acts;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{Committed, Metadata};
use fleetlog_event_log::place::LogPosition;
use fleetlog_event_log::record::Recorder;
use fleetlog_live::Places;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::follow;
use crate::error::Refused;
use crate::url;
use crate::webhook::{Filter, State};

/// What to change of a webhook. What is `None` stays.
#[derive(Debug, Default)]
pub struct Change {
    /// Where it is.
    pub url: Option<String>,
    /// What it is for.
    pub description: Option<Option<String>>,
    /// Which events are sent, and where to begin in a log that was not followed before.
    pub follow: Option<(Filter, Places)>,
    /// How many events a request has at most.
    pub max_batch: Option<i32>,
}

/// A webhook as it was before a change, locked until the change is done.
struct Before {
    url: String,
    description: Option<String>,
    follow: Filter,
    max_batch: i32,
}

async fn lock(connection: &mut PgConnection, tenant: &str, webhook_id: Uuid) -> Result<Before, Refused> {
    let row = sqlx::query(
        "SELECT url, description, follow, max_batch FROM webhooks WHERE tenant = $1 AND webhook_id = $2 FOR UPDATE",
    );
    let row = row.bind(tenant).bind(webhook_id).fetch_optional(connection).await?;
    let row = row.ok_or(Refused::Unknown)?;
    let Json(follow) = row.try_get("follow")?;
    let (url, description) = (row.try_get("url")?, row.try_get("description")?);
    Ok(Before { url, description, follow, max_batch: row.try_get("max_batch")? })
}

/// Changes a webhook, whose new URL was checked. `None`: there was nothing to change.
pub(crate) async fn change(
    log: &TenantLog,
    webhook_id: Uuid,
    change: Change,
    metadata: Metadata,
) -> Result<Option<Committed>, Refused> {
    let tenant = log.tenant().clone();
    log.record(move |recorder| {
        Box::pin(async move {
            let before = lock(recorder.connection(), tenant.as_str(), webhook_id).await?;
            let follows = change.follow.filter(|(filter, _)| *filter != before.follow);
            let url = change.url.filter(|url| *url != before.url);
            let description = change.description.filter(|text| *text != before.description);
            let max_batch = change.max_batch.filter(|most| *most != before.max_batch);
            if follows.is_none() && url.is_none() && description.is_none() && max_batch.is_none() {
                return Ok(None);
            }
            sqlx::query(
                "UPDATE webhooks SET url = coalesce($2, url), description = CASE WHEN $3 THEN $4 ELSE description END,
                     follow = coalesce($5, follow), max_batch = coalesce($6, max_batch),
                     version = version + 1, revision = revision + $7::int, updated_at = clock_timestamp()
                 WHERE webhook_id = $1",
            )
            .bind(webhook_id)
            .bind(&url)
            .bind(description.is_some())
            .bind(description.flatten())
            .bind(follows.as_ref().map(|(filter, _)| Json(filter)))
            .bind(max_batch)
            .bind(i32::from(follows.is_some() || max_batch.is_some()))
            .execute(recorder.connection())
            .await?;
            if follows.is_some() || max_batch.is_some() {
                supersede(recorder.connection(), webhook_id).await?;
            }
            if let Some((_, after)) = &follows {
                follow(recorder.connection(), tenant.as_str(), webhook_id, after).await?;
            }
            at_once(recorder.connection(), webhook_id).await?;
            let origin = url.and_then(|url| Some(url::origin(&url.parse().ok()?)));
            let follow = follows.map(|(filter, _)| serde_json::json!(filter));
            let changed = acts::Webhook::WebhookChanged { origin, follow };
            Ok(Some(recorder.tell(&tenant, &webhook_id.to_string(), &changed, &metadata).await?))
        })
    })
    .await
}

/// Batches that were cut for what the webhook followed before are not sent any more: their events are cut anew.
async fn supersede(connection: &mut PgConnection, webhook_id: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE webhook_deliveries SET status = 'superseded' WHERE webhook_id = $1 AND status = 'pending'",
    )
    .bind(webhook_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// The next batch is sent at once, as if none had been refused.
async fn at_once(connection: &mut PgConnection, webhook_id: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE webhook_places SET failures = 0, failing_since = NULL, next_attempt_at = NULL WHERE webhook_id = $1",
    )
    .bind(webhook_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Pauses a webhook, or lets it go on from its place. `None`: it is so already.
pub async fn set_active(
    log: &TenantLog,
    webhook_id: Uuid,
    active: bool,
    metadata: Metadata,
) -> Result<Option<Committed>, Refused> {
    let (tenant, state) = (log.tenant().clone(), if active { State::Active } else { State::Paused });
    log.record(move |recorder| {
        Box::pin(async move {
            lock(recorder.connection(), tenant.as_str(), webhook_id).await?;
            let changed = sqlx::query(
                "UPDATE webhooks SET state = $2, reason = NULL, version = version + 1, updated_at = clock_timestamp()
                 WHERE webhook_id = $1 AND state <> $2",
            );
            let changed = changed.bind(webhook_id).bind(state.as_str()).execute(recorder.connection()).await?;
            if changed.rows_affected() == 0 {
                return Ok(None);
            }
            at_once(recorder.connection(), webhook_id).await?;
            let act = match state {
                State::Active => acts::Webhook::WebhookResumed {},
                State::Paused | State::Suspended => acts::Webhook::WebhookPaused {},
            };
            Ok(Some(recorder.tell(&tenant, &webhook_id.to_string(), &act, &metadata).await?))
        })
    })
    .await
}

/// Removes a webhook, with its places and deliveries.
pub async fn remove(log: &TenantLog, webhook_id: Uuid, metadata: Metadata) -> Result<Committed, Refused> {
    let tenant = log.tenant().clone();
    log.record(move |recorder| {
        Box::pin(async move {
            let removed = sqlx::query("DELETE FROM webhooks WHERE tenant = $1 AND webhook_id = $2")
                .bind(tenant.as_str())
                .bind(webhook_id)
                .execute(recorder.connection())
                .await?;
            if removed.rows_affected() == 0 {
                return Err(Refused::Unknown);
            }
            let removed = acts::Webhook::WebhookRemoved {};
            Ok(recorder.tell(&tenant, &webhook_id.to_string(), &removed, &metadata).await?)
        })
    })
    .await
}

/// From where a webhook is sent everything again.
#[derive(Debug, Clone)]
pub enum ReplayFrom {
    /// After this position of one of its logs.
    Position(LogPosition),
    /// After these positions, in each log that had come further.
    Positions(Vec<LogPosition>),
}

/// Moves a webhook's places back. What comes after them is sent again, in order, and then what is new.
pub async fn replay(
    log: &TenantLog,
    webhook_id: Uuid,
    from: ReplayFrom,
    metadata: Metadata,
) -> Result<Committed, Refused> {
    let tenant = log.tenant().clone();
    log.record(move |recorder| {
        Box::pin(async move {
            lock(recorder.connection(), tenant.as_str(), webhook_id).await?;
            let places = match &from {
                ReplayFrom::Position(place) => std::slice::from_ref(place),
                ReplayFrom::Positions(places) => places,
            };
            let mut moved = vec![];
            for place in places {
                moved.extend(move_back(recorder, webhook_id, *place).await?.then_some(*place));
            }
            let named =
                |places: &[LogPosition]| places.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            if moved.is_empty() {
                return Err(Refused::NotBehind(named(places)));
            }
            sqlx::query("UPDATE webhooks SET version = version + 1 WHERE webhook_id = $1")
                .bind(webhook_id)
                .execute(recorder.connection())
                .await?;
            let replayed = acts::Webhook::WebhookReplayed { after: named(&moved) };
            Ok(recorder.tell(&tenant, &webhook_id.to_string(), &replayed, &metadata).await?)
        })
    })
    .await
}

async fn move_back(recorder: &mut Recorder, webhook_id: Uuid, place: LogPosition) -> sqlx::Result<bool> {
    let moved = sqlx::query(
        "UPDATE webhook_places
         SET position = $3, failures = 0, failing_since = NULL, next_attempt_at = NULL
         WHERE webhook_id = $1 AND log_id = $2 AND position >= $3",
    );
    let moved = moved.bind(webhook_id).bind(place.log_id).bind(place.position);
    Ok(moved.execute(recorder.connection()).await?.rows_affected() > 0)
}
