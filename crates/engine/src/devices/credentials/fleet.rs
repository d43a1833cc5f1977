//! Lists the credentials of all of a tenant's devices.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::device::EventType;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::page::Page;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::issue::{COLUMNS, Credential};

/// A credential, and whose it is.
#[derive(Debug)]
pub struct DeviceCredential {
    /// The device that logs in with it.
    pub uid: Uid,
    /// The credential, without its secret.
    pub credential: Credential,
}

impl FromRow<'_, PgRow> for DeviceCredential {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let uid: String = row.try_get("uid")?;
        let uid = uid.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Self { uid, credential: Credential::from_row(row)? })
    }
}

/// The place of a credential in the list: by device, and of each device the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    uid: String,
    created_at: DateTime<Utc>,
    credential_id: Uuid,
}

impl From<&DeviceCredential> for Cursor {
    fn from(DeviceCredential { uid, credential }: &DeviceCredential) -> Self {
        let Credential { created_at, credential_id, .. } = *credential;
        Self { uid: uid.to_string(), created_at, credential_id }
    }
}

/// Which credentials to list.
#[derive(Debug, Clone)]
pub struct Query {
    /// Only of devices whose uid contains this text, in upper or lower case.
    pub q: Option<String>,
    /// Only those that are valid now, or only the others.
    pub active: Option<bool>,
    /// Only credentials after this one in the list.
    pub after: Option<Cursor>,
    /// The most credentials to return.
    pub limit: usize,
}

/// A page of the credentials of a tenant's devices.
pub async fn list(
    log: &TenantLog,
    query: &Query,
) -> Result<Page<DeviceCredential>, fleetlog_event_log::Error> {
    let Query { q, active, after, limit } = query;
    let sql = format!("SELECT * FROM (SELECT uid, {COLUMNS} {OF_A_TENANT}) AS listed {PAGE}");
    let found = sqlx::query_as(&sql)
        .bind(EventType::that_end_service())
        .bind(log.tenant().as_str())
        .bind(q)
        .bind(after.as_ref().map(|after| &after.uid))
        .bind(after.as_ref().map(|after| after.created_at))
        .bind(after.as_ref().map(|after| after.credential_id))
        .bind(active)
        .bind(*limit as i64 + 1)
        .fetch_all(&mut *log.connection().await?)
        .await?;
    Ok(Page::cut(found, *limit))
}

const OF_A_TENANT: &str = "
    FROM device_credentials AS credential
    WHERE tenant = $2 AND ($3::text IS NULL OR strpos(lower(uid), lower($3)) > 0)
      AND ($4::text IS NULL OR (uid, created_at, credential_id) > ($4, $5, $6))";

const PAGE: &str = "
    WHERE $7::boolean IS NULL OR active = $7
    ORDER BY uid, created_at, credential_id
    LIMIT $8";
