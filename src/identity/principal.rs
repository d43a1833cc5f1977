//! The caller: a user, the user's tenant and role, as an access token says.

use std::fmt;
use std::str::FromStr;

use fleetlog_aggregates::identity::Tenant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user_id: Uuid,
    /// Whose things the user sees; no other's.
    pub tenant: Tenant,
    /// What the user may do with them.
    pub role: Role,
}

/// The predefined roles; [`super::authorize()`] says what each may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything within the tenant.
    Admin,
    /// Runs devices: reads everything, changes devices, sends commands.
    Operator,
    /// Reads telemetry and the log, and works with projections.
    Analyst,
    /// Reads everything, changes nothing.
    Auditor,
    /// Looks at devices and their telemetry.
    Viewer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Operator, Self::Analyst, Self::Auditor, Self::Viewer];

    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Analyst => "analyst",
            Self::Auditor => "auditor",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(s: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == s).ok_or(UnknownRole)
    }
}

/// A word that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is admin, operator, analyst, auditor or viewer")]
pub struct UnknownRole;
