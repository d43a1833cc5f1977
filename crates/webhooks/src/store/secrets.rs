//! Another secret for a webhook, and secrets that are sealed once the operator has one.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::control::{Committed, Metadata};
use fleetlog_event_log::{EventLog, Scope};
use uuid::Uuid;

use crate::error::{Error, Refused};

/// Gives a webhook another secret. The one before stays good until the returned time.
pub(crate) async fn rotate(
    log: &EventLog,
    tenant: &Tenant,
    webhook_id: Uuid,
    (secret, hours): (Vec<u8>, i32),
    metadata: Metadata,
) -> Result<(DateTime<Utc>, Committed), Refused> {
    let tenant = tenant.clone();
    // Over the service's connections: a request may write a secret, and never read one.
    log.record(move |recorder| {
        Box::pin(async move {
            let until: Option<DateTime<Utc>> = sqlx::query_scalar(
                "UPDATE webhooks SET previous_secret = secret, secret = $3, version = version + 1,
                     previous_until = clock_timestamp() + $4 * interval '1 hour', updated_at = clock_timestamp()
                 WHERE tenant = $1 AND webhook_id = $2 RETURNING previous_until",
            )
            .bind(tenant.as_str())
            .bind(webhook_id)
            .bind(&secret)
            .bind(hours)
            .fetch_optional(recorder.connection())
            .await?;
            let until = until.ok_or(Refused::Unknown)?;
            let rotated = acts::Webhook::WebhookSecretRotated {};
            Ok((until, recorder.tell(&tenant, &webhook_id.to_string(), &rotated, &metadata).await?))
        })
    })
    .await
}

/// Stores a webhook's secrets again that are not sealed, now that the operator has a secret.
pub(crate) async fn seal_all<S: Scope>(
    log: &EventLog<S>,
    seal: impl Fn(Uuid, &[u8]) -> Result<Option<Vec<u8>>, Error>,
) -> Result<(), Error> {
    let mut connection = log.connection().await?;
    let rows: Vec<(Uuid, Vec<u8>, Option<Vec<u8>>)> =
        sqlx::query_as("SELECT webhook_id, secret, previous_secret FROM webhooks")
            .fetch_all(&mut *connection)
            .await?;
    for (webhook_id, secret, previous) in rows {
        let sealed = seal(webhook_id, &secret)?;
        let sealed_previous = previous.as_deref().map(|text| seal(webhook_id, text)).transpose()?.flatten();
        if sealed.is_none() && sealed_previous.is_none() {
            continue;
        }
        // Unless somebody rotates them at this moment.
        sqlx::query(
            "UPDATE webhooks SET secret = coalesce($2, secret), previous_secret = coalesce($3, previous_secret)
             WHERE webhook_id = $1 AND secret = $4",
        )
        .bind(webhook_id)
        .bind(sealed)
        .bind(sealed_previous)
        .bind(secret)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
