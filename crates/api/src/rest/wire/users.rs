//! Users and their roles, as REST takes and shows them.

use chrono::{DateTime, Utc};
use fleetlog_access::directory;
use fleetlog_access::role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A user, as seen from outside.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the field's name on the wire")]
pub(in crate::rest) struct User {
    /// The user's id, as events name their actor.
    pub(in crate::rest) user_id: Uuid,
    /// The address to log in with.
    #[schema(example = "jo@example.com")]
    pub(in crate::rest) email: String,
    /// What people call the user.
    pub(in crate::rest) name: Option<String>,
    /// Whose things the user sees.
    #[schema(example = "t0")]
    pub(in crate::rest) tenant: String,
    /// What the user may do.
    pub(in crate::rest) role: Role,
    /// Whether the user is let in.
    pub(in crate::rest) status: UserStatus,
    /// Whether the address has proved to be the user's.
    pub(in crate::rest) verified: bool,
    /// Since when there is this user.
    pub(in crate::rest) created_at: DateTime<Utc>,
}

impl From<directory::Account> for User {
    fn from(account: directory::Account) -> Self {
        Self {
            user_id: account.user_id,
            email: account.email,
            name: account.name,
            tenant: account.tenant,
            role: account.role.into(),
            status: account.status.into(),
            verified: account.verified,
            created_at: account.created_at,
        }
    }
}

/// The caller's own account.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnAccount)]
pub(in crate::rest) struct Me {
    #[serde(flatten)]
    pub(in crate::rest) user: User,
    /// The actions that the caller may do, as operations name them in `x-action`: a page shows these. The tenant's policies may
    /// still refuse one of them for some device, or allow another for some.
    #[schema(example = json!(["devices.read", "telemetry.read"]))]
    pub(in crate::rest) may: Vec<&'static str>,
}

/// The predefined roles.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub(in crate::rest) enum Role {
    /// Everything within the tenant.
    Admin,
    /// Runs devices: reads everything, changes devices, sends commands.
    Operator,
    /// Reads telemetry and the log, and works with projections.
    Analyst,
    /// Reads everything, changes nothing, and signs what it has checked.
    Auditor,
    /// Looks at devices and their telemetry.
    Viewer,
}

impl From<role::Role> for Role {
    fn from(role: role::Role) -> Self {
        match role {
            role::Role::Admin => Self::Admin,
            role::Role::Operator => Self::Operator,
            role::Role::Analyst => Self::Analyst,
            role::Role::Auditor => Self::Auditor,
            role::Role::Viewer => Self::Viewer,
        }
    }
}

impl TryFrom<String> for Role {
    type Error = role::UnknownRole;

    fn try_from(word: String) -> Result<Self, role::UnknownRole> {
        word.parse::<role::Role>().map(Into::into)
    }
}

impl From<Role> for role::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Operator => Self::Operator,
            Role::Analyst => Self::Analyst,
            Role::Auditor => Self::Auditor,
            Role::Viewer => Self::Viewer,
        }
    }
}

/// Whether a user is let in.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum UserStatus {
    /// The user is let in.
    Active,
    /// Once the user has chosen a password.
    Invited,
    /// The user is let in no more, and has no session left.
    Deactivated,
}

impl From<directory::Status> for UserStatus {
    fn from(status: directory::Status) -> Self {
        match status {
            directory::Status::Active => Self::Active,
            directory::Status::Invited => Self::Invited,
            directory::Status::Deactivated => Self::Deactivated,
        }
    }
}

impl From<UserStatus> for directory::Status {
    fn from(status: UserStatus) -> Self {
        match status {
            UserStatus::Active => Self::Active,
            UserStatus::Invited => Self::Invited,
            UserStatus::Deactivated => Self::Deactivated,
        }
    }
}
