//! Places and deliveries in the database, as the node that sends reads and writes them. What became of a batch and how far the
//! webhook has come are written by one statement: both or neither. Each statement holds the webhook as it was when the request was
//! made (`FOR SHARE`), so that a change waits for it, or it finds the change and writes nothing.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::{EventLog, LogId, Position};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::deliverer::Hook;
use crate::error::Error;
use crate::message;
use crate::receiver::Reply;

/// How many deliveries of a webhook are kept, besides those that are under way.
pub(crate) const KEPT: i64 = 1000;
/// For how many days deliveries are kept.
pub(crate) const KEPT_DAYS: i32 = 30;
/// The most bytes of what is noted of an error.
const MAX_ERROR: usize = 500;

/// One log of one webhook.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) hook: &'a Hook,
    pub(crate) log_id: LogId,
}

/// How far a webhook has come in a log, and how its receiver is.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) position: Position,
    pub(crate) failures: u32,
    pub(crate) failing_since: Option<DateTime<Utc>>,
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    /// Up to which position batches were cut before. They are sent again as they were.
    pub(crate) cut_to: Position,
}

/// A batch that was cut before: the events after a position and up to another.
pub(crate) type Range = (Position, Position);

impl Of<'_> {
    /// Reads it. `None`: the webhook does not follow the log any more.
    pub(crate) async fn load(self, pool: &PgPool) -> Result<Option<Standing>, Error> {
        let row = sqlx::query(
            "SELECT position, failures, failing_since, next_attempt_at, coalesce((
                 SELECT max(last_position) FROM webhook_deliveries AS sent
                 WHERE sent.webhook_id = place.webhook_id AND sent.log_id = place.log_id AND revision = $3), 0) AS cut_to
             FROM webhook_places AS place WHERE webhook_id = $1 AND log_id = $2",
        );
        let row = row.bind(self.hook.webhook_id).bind(self.log_id).bind(self.hook.revision);
        let Some(row) = row.fetch_optional(pool).await? else { return Ok(None) };
        let failures: i32 = row.try_get("failures")?;
        Ok(Some(Standing {
            position: row.try_get("position")?,
            failures: failures.unsigned_abs(),
            failing_since: row.try_get("failing_since")?,
            next_attempt_at: row.try_get("next_attempt_at")?,
            cut_to: row.try_get("cut_to")?,
        }))
    }

    /// The first batch at or after a position that was cut before.
    pub(crate) async fn cut(self, pool: &PgPool, after: Position) -> Result<Option<Range>, Error> {
        let cut = sqlx::query_as(
            "SELECT after_position, last_position FROM webhook_deliveries
             WHERE webhook_id = $1 AND revision = $2 AND log_id = $3 AND after_position >= $4
             ORDER BY after_position LIMIT 1",
        );
        let cut = cut.bind(self.hook.webhook_id).bind(self.hook.revision).bind(self.log_id).bind(after);
        Ok(cut.fetch_optional(pool).await?)
    }

    /// The id of a batch.
    pub(crate) fn delivery_id(self, range: Range) -> Uuid {
        message::delivery_id(self.hook.webhook_id, self.hook.revision, self.log_id, range)
    }

    /// Notes a batch before it is sent. Returns when it was first noted. `None`: the webhook was changed, paused or removed
    /// meanwhile, or its tenant was suspended.
    pub(crate) async fn begin(
        self,
        pool: &PgPool,
        range: Range,
        events: usize,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let begin = sqlx::query_scalar(
            "INSERT INTO webhook_deliveries
                 (delivery_id, webhook_id, tenant, revision, log_id, after_position, last_position, events)
             SELECT $1, webhook_id, tenant, revision, $4, $5, $6, $7 FROM webhooks JOIN tenants USING (tenant)
             WHERE webhook_id = $2 AND version = $3 AND state = 'active' AND suspended_at IS NULL
             FOR SHARE OF webhooks
             ON CONFLICT ON CONSTRAINT webhook_deliveries_batch
             DO UPDATE SET status = 'pending', events = excluded.events
             RETURNING created_at",
        );
        let begin = begin.bind(self.delivery_id(range)).bind(self.hook.webhook_id).bind(self.hook.version);
        let begin = begin.bind(self.log_id).bind(range.0).bind(range.1).bind(events as i32);
        Ok(begin.fetch_optional(pool).await?)
    }

    /// Notes that a batch was taken, and goes on after it. `false`: the place is another by now, because somebody asked for a replay
    /// or another node sends, or the webhook follows something else by now.
    pub(crate) async fn delivered(self, pool: &PgPool, range: Range, reply: &Reply) -> Result<bool, Error> {
        let done = sqlx::query(
            "WITH same AS (SELECT FROM webhooks WHERE webhook_id = $1 AND revision = $8 FOR SHARE),
             moved AS (
                 UPDATE webhook_places
                 SET position = $4, failures = 0, failing_since = NULL, next_attempt_at = NULL
                 WHERE webhook_id = $1 AND log_id = $2 AND position = $3 AND EXISTS (SELECT FROM same)
                 RETURNING webhook_id)
             UPDATE webhook_deliveries
             SET status = 'delivered', attempts = attempts + 1, code = $6, error = NULL, duration_ms = $7,
                 attempted_at = clock_timestamp(), delivered_at = clock_timestamp()
             WHERE delivery_id = $5 AND EXISTS (SELECT FROM moved)",
        );
        let done = done.bind(self.hook.webhook_id).bind(self.log_id).bind(range.0).bind(range.1);
        let done = done.bind(self.delivery_id(range)).bind(reply.code()).bind(reply.milliseconds());
        let done = done.bind(self.hook.revision);
        Ok(done.execute(pool).await?.rows_affected() > 0)
    }

    /// Notes that a batch was refused, and when it is sent again. `false`, as above, or because the webhook was changed in any way:
    /// what was changed is tried at once.
    pub(crate) async fn refused(
        self,
        pool: &PgPool,
        range: Range,
        reply: &Reply,
        standing: &Standing,
    ) -> Result<bool, Error> {
        let done = sqlx::query(
            "WITH same AS (SELECT FROM webhooks WHERE webhook_id = $1 AND version = $11 FOR SHARE),
             stayed AS (
                 UPDATE webhook_places SET failures = $4, failing_since = $5, next_attempt_at = $6
                 WHERE webhook_id = $1 AND log_id = $2 AND position = $3 AND EXISTS (SELECT FROM same)
                 RETURNING webhook_id)
             UPDATE webhook_deliveries
             SET attempts = attempts + 1, code = $8, error = $9, duration_ms = $10, attempted_at = clock_timestamp()
             WHERE delivery_id = $7 AND EXISTS (SELECT FROM stayed)",
        );
        let done = done.bind(self.hook.webhook_id).bind(self.log_id).bind(range.0);
        let done = done.bind(standing.failures as i32).bind(standing.failing_since);
        let done = done.bind(standing.next_attempt_at).bind(self.delivery_id(range));
        let done = done.bind(reply.code()).bind(error(reply)).bind(reply.milliseconds());
        let done = done.bind(self.hook.version);
        Ok(done.execute(pool).await?.rows_affected() > 0)
    }

    /// Goes on after events that are not for the webhook. `false`, as above.
    pub(crate) async fn pass(self, pool: &PgPool, range: Range) -> Result<bool, Error> {
        let passed = sqlx::query(
            "WITH same AS (SELECT FROM webhooks WHERE webhook_id = $1 AND revision = $5 FOR SHARE)
             UPDATE webhook_places SET position = $4
             WHERE webhook_id = $1 AND log_id = $2 AND position = $3 AND EXISTS (SELECT FROM same)",
        );
        let passed = passed.bind(self.hook.webhook_id).bind(self.log_id).bind(range.0).bind(range.1);
        let passed = passed.bind(self.hook.revision);
        Ok(passed.execute(pool).await?.rows_affected() > 0)
    }

    /// Suspends the webhook, with the reason on the record.
    pub(crate) async fn suspend(self, log: &EventLog, reason: String) -> Result<(), Error> {
        let Hook { webhook_id, version, ref tenant, .. } = *self.hook;
        let tenant = tenant.clone();
        log.record(move |recorder| {
            Box::pin(async move {
                let suspended = sqlx::query(
                    "UPDATE webhooks SET state = 'suspended', reason = $3, version = version + 1,
                         updated_at = clock_timestamp()
                     WHERE webhook_id = $1 AND version = $2 AND state = 'active'",
                );
                let suspended = suspended.bind(webhook_id).bind(version).bind(&reason);
                if suspended.execute(recorder.connection()).await?.rows_affected() > 0 {
                    let act = acts::Webhook::WebhookSuspended { reason };
                    let by = Metadata::by(Actor::Fleetlog);
                    recorder.tell(&tenant, &webhook_id.to_string(), &act, &by).await?;
                }
                Ok::<_, Error>(())
            })
        })
        .await
    }

    /// Forgets the webhook's oldest deliveries.
    pub(crate) async fn prune(self, pool: &PgPool) -> Result<(), Error> {
        sqlx::query(
            "DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND status <> 'pending' AND number <= (
                 SELECT number FROM webhook_deliveries WHERE webhook_id = $1 ORDER BY number DESC OFFSET $2 LIMIT 1)",
        )
        .bind(self.hook.webhook_id)
        .bind(KEPT)
        .execute(pool)
        .await?;
        Ok(())
    }
}

/// What is noted of a failure.
pub(crate) fn error(reply: &Reply) -> Option<String> {
    reply.said.trouble().map(|text| {
        let plain = text.chars().map(|char| if char.is_control() { ' ' } else { char });
        plain
            .scan(0, |bytes, char| {
                *bytes += char.len_utf8();
                (*bytes <= MAX_ERROR).then_some(char)
            })
            .collect()
    })
}

/// Forgets deliveries that are kept for long enough.
pub(crate) async fn forget(pool: &PgPool) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM webhook_deliveries
         WHERE status <> 'pending' AND created_at < clock_timestamp() - $1 * interval '1 day'",
    )
    .bind(KEPT_DAYS)
    .execute(pool)
    .await?;
    Ok(())
}
