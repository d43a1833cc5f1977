//! What is over is deleted, or put on the record together, so that no table grows for ever. What happened stays on the
//! record.

use std::time::Duration;

use fleetlog_event_log::EventLog;
use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::strangers;

/// How often refused logins are put on the record.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// After how many rounds of that, old rows are deleted as well.
const ROUNDS_A_PRUNING: u32 = 60;
/// How many rows are deleted in one transaction, so that none holds locks for long.
pub const AT_ONCE: i64 = 1000;

/// What is deleted, and when. A session carries its refresh tokens along. What lies further ahead than it could was stored
/// while Postgres's clock was ahead, and is worth nothing.
const OVER: [(&str, &str); 4] = [
    (
        "sessions",
        "expires_at < clock_timestamp() - interval '30 days' OR expires_at > clock_timestamp() + interval '8 days'",
    ),
    (
        "mail_tokens",
        "expires_at < clock_timestamp() - interval '1 day' OR expires_at > clock_timestamp() + interval '8 days'",
    ),
    (
        "stream_tickets",
        "expires_at < clock_timestamp() - interval '1 hour' OR expires_at > clock_timestamp() + interval '1 day'",
    ),
    (
        "known_origins",
        "seen_at < clock_timestamp() - interval '90 days' OR seen_at > clock_timestamp() + interval '1 day'",
    ),
];

/// Keeps house until `shutdown`.
pub(super) async fn run(log: EventLog, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        for round in 0_u32.. {
            ticks.tick().await;
            if let Err(error) = strangers::tell(&log).await {
                tracing::warn!(%error, "failed to put refused logins on the record; trying again");
            }
            if round % ROUNDS_A_PRUNING == 0
                && let Err(error) = prune(log.pool()).await
            {
                tracing::warn!(%error, "failed to delete what is over; trying again in an hour");
            }
        }
    };
    let _ = shutdown.run_until_cancelled(work).await;
}

/// Deletes what is over, in batches of [`AT_ONCE`]. While another node does, this one leaves it to that.
pub async fn prune(pool: &PgPool) -> Result<(), Error> {
    for (table, over) in OVER {
        loop {
            let mut transaction = pool.begin().await?;
            let is_ours: bool =
                sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended('housekeeping', 0))")
                    .fetch_one(&mut *transaction)
                    .await?;
            if !is_ours {
                return Ok(());
            }
            let delete = format!(
                "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {over} LIMIT $1))"
            );
            let deleted = sqlx::query(&delete).bind(AT_ONCE).execute(&mut *transaction).await?;
            transaction.commit().await?;
            if deleted.rows_affected() < AT_ONCE as u64 {
                break;
            }
        }
    }
    Ok(())
}
