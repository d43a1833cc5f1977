//! Sessions, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_access::sessions;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A session that is not over.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the field's name on the wire")]
pub(in crate::rest) struct Session {
    /// The id of the session.
    pub(in crate::rest) session_id: Uuid,
    /// When its user logged in.
    pub(in crate::rest) created_at: DateTime<Utc>,
    /// When a token of it was last refreshed.
    pub(in crate::rest) last_used_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub(in crate::rest) expires_at: DateTime<Utc>,
    /// The address that its user logged in from.
    pub(in crate::rest) address: Option<String>,
    /// The program, as it called itself.
    pub(in crate::rest) user_agent: Option<String>,
}

impl From<sessions::Session> for Session {
    fn from(session: sessions::Session) -> Self {
        Self {
            session_id: session.session_id,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
            address: session.address,
            user_agent: session.user_agent,
        }
    }
}
