//! The roles of users. What each may do is in `policy/roles.cedar`.

use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::words;
use serde::{Deserialize, Serialize};

use super::action::{Action, PLATFORM_TENANT};
use super::policy::builtin;

/// The predefined roles; [`super::authorize()`] says what each may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
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

words! { Role or UnknownRole {
    Admin = "admin",
    Operator = "operator",
    Analyst = "analyst",
    Auditor = "auditor",
    Viewer = "viewer",
} }

impl Role {
    /// Whether the role has an action within a tenant, before the tenant's own policies are asked.
    #[must_use]
    pub fn may(self, action: Action) -> bool {
        builtin::role_allows(self, action)
    }

    /// Whether the role has an action for users of a tenant: what is done to the platform is for its own tenant's users.
    #[must_use]
    pub fn may_in(self, tenant: &Tenant, action: Action) -> bool {
        self.may(action) && (!action.is_for_the_platform() || tenant.as_str() == PLATFORM_TENANT)
    }
}

/// A word that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is admin, operator, analyst, auditor or viewer")]
pub struct UnknownRole;
