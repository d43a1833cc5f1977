//! Devices' credentials, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_engine::devices::credentials::issue;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A device's credential, without its secret.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the field's name on the wire")]
pub(in crate::rest) struct Credential {
    /// The credential's id.
    pub(in crate::rest) credential_id: Uuid,
    /// Whether the credential is valid now.
    pub(in crate::rest) active: bool,
    /// When the credential was issued.
    pub(in crate::rest) created_at: DateTime<Utc>,
    /// Who issued the credential: the id of a user or of an API key.
    pub(in crate::rest) created_by: String,
    /// When the credential expires; null if never.
    pub(in crate::rest) expires_at: Option<DateTime<Utc>>,
    /// When the credential was revoked.
    pub(in crate::rest) revoked_at: Option<DateTime<Utc>>,
    /// When the device last logged in with the credential, exact to a minute.
    pub(in crate::rest) last_used_at: Option<DateTime<Utc>>,
}

impl From<issue::Credential> for Credential {
    fn from(credential: issue::Credential) -> Self {
        Self {
            credential_id: credential.credential_id,
            active: credential.active,
            created_at: credential.created_at,
            created_by: credential.created_by,
            expires_at: credential.expires_at,
            revoked_at: credential.revoked_at,
            last_used_at: credential.last_used_at,
        }
    }
}
