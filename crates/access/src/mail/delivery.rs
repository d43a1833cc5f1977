//! From the table to the mail server. Any number of nodes do this; each mail is one's.
//!
//! Whoever takes a mail moves its next attempt into the future, and so owns it until then. A node that dies after it has
//! sent a mail and before it has said so lets another one send it again: rather twice than not at all.
//!
//! What posts a mail mostly puts an event on a control log in the same transaction: the delivery looks when a control log
//! has grown, and now and then anyway, which also finds the mails that are to be tried again.

use std::time::Duration;

use fleetlog_event_log::EventLog;
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Mail;
use super::transport::Transport;
use crate::error::Error;

/// How often it is looked for mails while control logs grow.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for mails in any case.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);
/// How long it takes for an attempt to be repeated: a minute, then twice as long each time, up to about an hour.
const WAIT: &str = "60 * 2 ^ least(attempts, 6) * (1 + random() / 4)";

/// Whether a mail is due. An attempt further ahead than [`WAIT`] allows was put off while Postgres's clock was ahead.
const DUE: &str = "done_at IS NULL AND (next_attempt_at <= clock_timestamp()
    OR next_attempt_at > clock_timestamp() + interval '2 hours')";

/// Sends the mails of a database.
pub struct Delivery {
    log: EventLog,
    transport: Transport,
}

impl Delivery {
    /// Sends the mails of a log's database. The log sees all tenants.
    #[must_use]
    pub fn new(log: EventLog, transport: Transport) -> Self {
        Self { log, transport }
    }

    /// Sends what there is to send, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = self.log.looks(AT_LEAST_EVERY);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            if !looks.is_due() {
                continue;
            }
            if let Err(error) = self.round(&shutdown).await {
                tracing::warn!(%error, "failed to look for mails; trying again");
                looks.again();
            }
        }
    }

    /// Sends what is due, one after the other.
    async fn round(&self, shutdown: &CancellationToken) -> Result<(), Error> {
        let pool = self.log.pool();
        if !is_any_due(pool).await? {
            return Ok(());
        }
        clean(pool).await?;
        while !shutdown.is_cancelled() {
            let Some((mail_id, mail)) = take(pool).await? else { break };
            // A conversation that a stop breaks off is had again, by the next start or another node.
            match shutdown.run_until_cancelled(self.transport.send(mail_id, &mail)).await {
                None => break,
                Some(Ok(())) => done(pool, mail_id).await?,
                Some(Err(error)) => {
                    tracing::warn!(%mail_id, %error, "failed to send a mail; trying again later");
                }
            }
        }
        Ok(())
    }
}

/// Whether there is a mail to send, to give up or to forget.
async fn is_any_due(pool: &PgPool) -> Result<bool, Error> {
    let due = format!(
        "SELECT EXISTS (SELECT FROM mail_outbox WHERE {DUE})
             OR EXISTS (SELECT FROM mail_outbox WHERE done_at < clock_timestamp() - interval '7 days')"
    );
    Ok(sqlx::query_scalar(&due).fetch_one(pool).await?)
}

/// Takes the mail that has been due for longest.
async fn take(pool: &PgPool) -> Result<Option<(Uuid, Mail)>, Error> {
    let row = sqlx::query(&format!(
        "UPDATE mail_outbox
         SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + {WAIT} * interval '1 second'
         WHERE mail_id = (
             SELECT mail_id FROM mail_outbox
             WHERE {DUE}
             ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING mail_id, recipient, subject, body",
    ))
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        let (recipient, subject) = (row.try_get("recipient")?, row.try_get("subject")?);
        Ok((row.try_get("mail_id")?, Mail { recipient, subject, body: row.try_get("body")? }))
    })
    .transpose()
}

async fn done(pool: &PgPool, mail_id: Uuid) -> Result<(), Error> {
    sqlx::query("UPDATE mail_outbox SET done_at = clock_timestamp(), body = '' WHERE mail_id = $1")
        .bind(mail_id)
        .execute(pool)
        .await?;
    Ok(())
}

/// Gives up what nobody has taken for a day, and forgets after a week that there was something.
async fn clean(pool: &PgPool) -> Result<(), Error> {
    let given_up: Vec<Uuid> = sqlx::query_scalar(&format!(
        "UPDATE mail_outbox SET done_at = clock_timestamp(), body = ''
         WHERE {DUE} AND attempts > 0 AND created_at < clock_timestamp() - interval '24 hours'
         RETURNING mail_id",
    ))
    .fetch_all(pool)
    .await?;
    for mail_id in given_up {
        tracing::warn!(%mail_id, "gave up a mail that could not be sent for 24 hours");
    }
    sqlx::query("DELETE FROM mail_outbox WHERE done_at < clock_timestamp() - interval '7 days'")
        .execute(pool)
        .await?;
    Ok(())
}
