//! Sessions: from a login to its end. No token of a session outlives it, nor the user, nor the tenant.

use std::sync::Arc;
use std::time::Duration;

use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::control::Metadata;
use fleetlog_event_log::record::Recorder;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::users::User;
use super::{Error, Identity, Principal, Who};

/// How long a session lasts at most, whatever happens in it.
pub const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Where a session is used from, as its user may recognise it.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The address.
    pub address: Option<String>,
    /// The program, as it calls itself.
    pub user_agent: Option<String>,
}

impl Identity {
    /// Begins a session of a user who has proved to be that.
    pub(super) async fn start_session(
        &self,
        user: &User,
        client: Client,
        metadata: Metadata,
    ) -> Result<Uuid, Error> {
        let (user_id, tenant) = (user.user_id, user.tenant.clone());
        let session_id = Uuid::now_v7();
        let started = acts::Session::SessionStarted { user_id };
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    insert(recorder.connection(), session_id, tenant.as_str(), user_id, &client).await?;
                    recorder.tell(&tenant, &session_id.to_string(), &started, &metadata).await?;
                    Ok::<_, Error>(())
                })
            })
            .await?;
        Ok(session_id)
    }

    /// Ends sessions of a user, in a transaction that does what they end for: all of them but `except`.
    #[expect(dead_code, reason = "what ends them comes next")]
    pub(super) async fn end_sessions(
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

    /// Who is calling in a session; nobody once it is over.
    pub async fn in_session(&self, session_id: Uuid) -> Result<Option<Principal>, Error> {
        admit(self.log.pool(), session_id).await
    }
}

async fn insert(
    connection: &mut PgConnection,
    session_id: Uuid,
    tenant: &str,
    user_id: Uuid,
    client: &Client,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO sessions (session_id, tenant, user_id, expires_at, address, user_agent)
         VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 second', $5, left($6, 200))",
    )
    .bind(session_id)
    .bind(tenant)
    .bind(user_id)
    .bind(LIFETIME.as_secs() as f64)
    .bind(&client.address)
    .bind(&client.user_agent)
    .execute(connection)
    .await?;
    Ok(())
}

async fn admit(pool: &PgPool, session_id: Uuid) -> Result<Option<Principal>, Error> {
    let row = sqlx::query(
        "SELECT users.user_id, users.tenant, users.role, tenants.tier, tenants.policy_version
         FROM sessions JOIN users USING (user_id) JOIN tenants ON tenants.tenant = users.tenant
         WHERE session_id = $1 AND ended_at IS NULL AND expires_at > clock_timestamp()
           AND deactivated_at IS NULL AND suspended_at IS NULL",
    )
    .bind(session_id)
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        let (tenant, role): (String, String) = (row.try_get("tenant")?, row.try_get("role")?);
        let role = role.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Principal {
            who: Who::User { user_id: row.try_get("user_id")?, role, session_id },
            tenant: tenant.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            tier: Arc::from(row.try_get::<String, _>("tier")?),
            policy_version: row.try_get("policy_version")?,
        })
    })
    .transpose()
}
