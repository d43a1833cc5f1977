//! The caller: a user in a session, or a program with a key.

use std::sync::Arc;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::words;
use fleetlog_event_log::control::Actor;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use utoipa::ToSchema;
use uuid::Uuid;

use super::policy::tenant::Policies;
use super::{Action, parsed};

/// Who is calling, as the database knows at this moment: a token says which session it belongs to, and nothing else in
/// it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who it is.
    pub who: Who,
    /// Whose things are seen; no other's.
    pub tenant: Tenant,
    /// Which rate limits apply.
    pub tier: Arc<str>,
    /// Which version of the tenant's policies holds. 0: it has never had any.
    pub policy_version: i64,
    /// The tenant's policies, where there may be any.
    pub(super) policies: Option<Arc<Policies>>,
}

/// Who a principal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A person who has logged in.
    User {
        /// The user.
        user_id: Uuid,
        /// What the user may do.
        role: Role,
        /// Since which login.
        session_id: Uuid,
    },
    /// A program.
    Key {
        /// Its key.
        key_id: Uuid,
        /// What the key is for; nothing else.
        actions: Arc<[Action]>,
    },
}

impl Principal {
    /// Whoever the database says it is. [`with_policies`](super::Identity::with_policies) comes next.
    #[must_use]
    pub fn new(who: Who, tenant: Tenant, tier: Arc<str>, policy_version: i64) -> Self {
        Self { who, tenant, tier, policy_version, policies: None }
    }

    /// The same of somebody whose tenant a row tells.
    pub(super) fn read(who: Who, row: &PgRow) -> sqlx::Result<Self> {
        let tier = Arc::from(row.try_get::<&str, _>("tier")?);
        Ok(Self::new(who, parsed(row, "tenant")?, tier, row.try_get("policy_version")?))
    }

    /// The same, with the policies that hold for it.
    pub(super) fn ruled_by(self, policies: Arc<Policies>) -> Self {
        Self { policies: Some(policies), ..self }
    }

    /// Somebody else of the same tenant, ruled by the same policies.
    #[must_use]
    pub fn colleague(&self, who: Who) -> Self {
        Self { who, ..self.clone() }
    }

    /// Whether the tenant's own policies have a say in whether this principal may do that to anything. If not, it is the
    /// same for every device of the tenant, and nobody needs to look at one.
    #[must_use]
    pub fn is_ruled(&self, action: Action) -> bool {
        self.policies.as_ref().is_some_and(|policies| policies.concern(&self.who, action))
    }

    /// How events name their actor: the user's id, or `key:` and the key's.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match &self.who {
            Who::User { user_id, .. } => Actor::User(*user_id),
            Who::Key { key_id, .. } => Actor::Key(*key_id),
        }
    }

    /// The user, if it is one.
    #[must_use]
    pub fn user_id(&self) -> Option<Uuid> {
        match self.who {
            Who::User { user_id, .. } => Some(user_id),
            Who::Key { .. } => None,
        }
    }
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

words! { Role or UnknownRole {
    Admin = "admin",
    Operator = "operator",
    Analyst = "analyst",
    Auditor = "auditor",
    Viewer = "viewer",
} }

/// A word that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is admin, operator, analyst, auditor or viewer")]
pub struct UnknownRole;
