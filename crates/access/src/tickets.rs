//! Tickets: each lets its bearer open one stream, soon. A browser's `EventSource` and `WebSocket` send no header, and an access
//! token in a URL would end up in the logs of every proxy.

use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::callers::Credential;
use super::error::Error;
use super::parsed;
use super::principal::Principal;
use super::secret;
use super::who::Who;

/// What every ticket begins with: no other secret passes for one.
const PREFIX: &str = "flt_";

/// How long a ticket is good.
pub const GOOD_FOR: Duration = Duration::from_secs(30);

/// Issues tickets, and takes each once, on whichever node. Cheap to clone.
#[derive(Clone)]
pub struct Tickets {
    /// The pool of all tenants: a ticket says whose it is.
    pool: PgPool,
}

impl Tickets {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// A ticket for a principal, good for [`GOOD_FOR`] and once.
    pub async fn issue(&self, principal: &Principal) -> Result<String, Error> {
        let bits = secret::random();
        let (session_id, key_id) = match principal.who {
            Who::User { session_id, .. } => (Some(session_id), None),
            Who::Key { key_id, .. } => (None, Some(key_id)),
        };
        let insert = sqlx::query(
            "INSERT INTO stream_tickets (digest, tenant, session_id, key_id, expires_at)
             VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 second')",
        );
        let insert = insert.bind(secret::digest_of(&bits)).bind(principal.tenant.as_str());
        let insert = insert.bind(session_id).bind(key_id).bind(GOOD_FOR.as_secs_f64());
        insert.execute(&self.pool).await?;
        Ok(secret::text(PREFIX, &bits))
    }

    /// What a ticket stands for; `None` if it was taken before, is too old or is none.
    pub async fn take(&self, ticket: &str) -> Result<Option<Credential>, Error> {
        let Some(bits) = secret::bits(PREFIX, ticket) else { return Ok(None) };
        let delete = sqlx::query(
            "DELETE FROM stream_tickets WHERE digest = $1
             RETURNING tenant, session_id, key_id,
                 expires_at BETWEEN clock_timestamp() AND clock_timestamp() + $2 * interval '1 second' AS is_good",
        );
        let delete = delete.bind(secret::digest_of(&bits)).bind(GOOD_FOR.as_secs_f64());
        let Some(row) = delete.fetch_optional(&self.pool).await? else { return Ok(None) };
        if !row.try_get::<bool, _>("is_good")? {
            return Ok(None);
        }
        let session_id: Option<Uuid> = row.try_get("session_id")?;
        let tenant: Tenant = parsed(&row, "tenant")?;
        Ok(match session_id {
            Some(session_id) => Some(Credential::Session(session_id)),
            None => Some(Credential::Key(tenant, row.try_get("key_id")?)),
        })
    }
}
