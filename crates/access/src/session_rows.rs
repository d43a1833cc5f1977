//! The table of sessions.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::control::Metadata;
use fleetlog_event_log::database;
use fleetlog_event_log::record::Recorder;
use futures::future::BoxFuture;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::error::Error;
use super::parsed;
use super::principal::Principal;
use super::session_tokens::Client;
use super::users::User;
use super::who::Who;

/// How long a session lasts at most, whatever happens in it.
const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Whether a session is not over. One that would last longer than [`LIFETIME`] from now began while Postgres's clock was
/// ahead, and is worth nothing.
pub(super) const GOING_ON: &str = "ended_at IS NULL AND sessions.expires_at > clock_timestamp()
    AND sessions.expires_at <= clock_timestamp() + interval '7 days 1 minute'";

/// Adds a session of a user. Returns when it ends at the latest; `None` if the user's password is no longer the one in
/// `user`, or the user is deactivated: that has ended all sessions, and must not have missed this one.
pub(super) async fn insert(
    connection: &mut PgConnection,
    session_id: Uuid,
    user: &User,
    client: &Client,
) -> Result<Option<DateTime<Utc>>, Error> {
    let expires_at = sqlx::query_scalar(
        "INSERT INTO sessions (session_id, tenant, user_id, expires_at, address, user_agent)
         SELECT $1, $2, user_id, clock_timestamp() + $4 * interval '1 second', $5, left($6, 200)
         FROM users
         WHERE user_id = $3 AND password_hash IS NOT DISTINCT FROM $7 AND deactivated_at IS NULL
         FOR SHARE
         RETURNING expires_at",
    )
    .bind(session_id)
    .bind(user.tenant.as_str())
    .bind(user.user_id)
    .bind(LIFETIME.as_secs() as f64)
    .bind(&client.address)
    .bind(&client.user_agent)
    .bind(&user.password_hash)
    .fetch_optional(connection)
    .await?;
    Ok(expires_at)
}

/// The principals of those of these sessions that are not over.
pub(super) fn callers(
    connection: &mut PgConnection,
    sessions: Vec<Uuid>,
) -> BoxFuture<'_, database::Result<HashMap<Uuid, Principal>>> {
    Box::pin(async move {
        let rows = sqlx::query(&format!(
            "SELECT session_id, users.user_id, users.tenant, users.role, tenants.tier, tenants.policy_version
             FROM sessions JOIN users USING (user_id) JOIN tenants ON tenants.tenant = users.tenant
             WHERE session_id = ANY($1) AND {GOING_ON} AND deactivated_at IS NULL AND suspended_at IS NULL",
        ))
        .bind(sessions)
        .fetch_all(connection)
        .await?;
        let callers = rows.iter().map(|row| {
            let (session_id, role) = (row.try_get("session_id")?, parsed(row, "role")?);
            let who = Who::User { user_id: row.try_get("user_id")?, role, session_id };
            Ok((session_id, Principal::read(who, row)?))
        });
        Ok(callers.collect::<sqlx::Result<_>>()?)
    })
}

/// Ends one session of a user. Returns whether there was one to end.
pub(super) async fn end(
    recorder: &mut Recorder,
    (tenant, user_id): (&Tenant, Uuid),
    session_id: Uuid,
    why: acts::SessionEnd,
    metadata: &Metadata,
) -> Result<bool, Error> {
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = clock_timestamp()
         WHERE tenant = $1 AND user_id = $2 AND session_id = $3 AND ended_at IS NULL
           AND expires_at > clock_timestamp()",
    )
    .bind(tenant.as_str())
    .bind(user_id)
    .bind(session_id)
    .execute(recorder.connection())
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    let act = acts::Session::SessionEnded { user_id, why };
    recorder.tell(tenant, &session_id.to_string(), &act, metadata).await?;
    Ok(true)
}

/// Ends all sessions of a user but `except`, in the transaction that does what they end for. Returns how many there were.
pub(super) async fn end_all(
    recorder: &mut Recorder,
    (tenant, user_id): (&Tenant, Uuid),
    except: Option<Uuid>,
    why: acts::SessionEnd,
    metadata: &Metadata,
) -> Result<usize, Error> {
    let ended: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE sessions SET ended_at = clock_timestamp()
         WHERE tenant = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()
           AND session_id IS DISTINCT FROM $3
         RETURNING session_id",
    )
    .bind(tenant.as_str())
    .bind(user_id)
    .bind(except)
    .fetch_all(recorder.connection())
    .await?;
    let act = acts::Session::SessionEnded { user_id, why };
    for session_id in &ended {
        recorder.tell(tenant, &session_id.to_string(), &act, metadata).await?;
    }
    Ok(ended.len())
}
