//! API keys, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_access::api_keys;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a tenant may know of a key: all but its secret.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct ApiKey {
    /// The key's id; events name it as their actor with `key:` before it.
    pub(in crate::rest) key_id: Uuid,
    /// What people call it.
    pub(in crate::rest) name: String,
    /// What it is good for.
    pub(in crate::rest) actions: Vec<String>,
    /// Who issued it.
    pub(in crate::rest) created_by: String,
    /// When it was issued.
    pub(in crate::rest) created_at: DateTime<Utc>,
    /// Until when it is good; null: until it is revoked.
    pub(in crate::rest) expires_at: Option<DateTime<Utc>>,
    /// Since when it is good no more.
    pub(in crate::rest) revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub(in crate::rest) last_used_at: Option<DateTime<Utc>>,
}

impl From<api_keys::ApiKey> for ApiKey {
    fn from(key: api_keys::ApiKey) -> Self {
        Self {
            key_id: key.key_id,
            name: key.name,
            actions: key.actions,
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}
