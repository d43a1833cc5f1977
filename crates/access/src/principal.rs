//! The caller: a user in a session, or a program with a key.

use std::sync::Arc;

use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_event_log::control::Actor;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::action::Action;
use super::decisions::{self, Decisions};
use super::parsed;
use super::policy::tenant::Policies;
use super::quota::Requester;
use super::who::Who;

/// Who is calling, as the database knows at this moment: a token says which session it belongs to, and nothing else in
/// it is believed.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Who it is.
    pub who: Who,
    /// Whose things are seen; no other's.
    pub tenant: Tenant,
    /// Which rate limits apply.
    pub tier: Arc<str>,
    /// Which version of the tenant's policies holds. 0: it has never had any.
    pub policy_version: i64,
    /// Who issued the key that the principal calls with, and the key that that one was issued with, back to a user. Empty
    /// for a user.
    pub(super) issuers: Arc<[Who]>,
    /// The tenant's policies, where there may be any.
    pub(super) policies: Option<Arc<Policies>>,
    /// Where it is decided by those policies about many devices.
    pub(super) decisions: Option<Decisions>,
}

impl Principal {
    /// Who the database says it is, without the tenant's policies: [`Callers`](super::callers::Callers) adds them.
    #[must_use]
    pub fn new(who: Who, tenant: Tenant, tier: Arc<str>, policy_version: i64) -> Self {
        Self { who, tenant, tier, policy_version, issuers: Arc::default(), policies: None, decisions: None }
    }

    /// Reads the tenant, its tier and the version of its policies from a row.
    pub(super) fn read(who: Who, row: &PgRow) -> sqlx::Result<Self> {
        let tier = Arc::from(row.try_get::<&str, _>("tier")?);
        Ok(Self::new(who, parsed(row, "tenant")?, tier, row.try_get("policy_version")?))
    }

    /// Adds who issued the principal's key.
    pub(super) fn issued_by(self, issuers: Vec<Who>) -> Self {
        Self { issuers: issuers.into(), ..self }
    }

    /// Adds the policies that hold for the principal, and where it is decided by them about many devices.
    pub(super) fn ruled_by(self, policies: Arc<Policies>, decisions: Decisions) -> Self {
        Self { policies: Some(policies), decisions: Some(decisions), ..self }
    }

    /// The devices to which the principal may do `action`, with the command `cmd` if there is one, in the same order.
    pub async fn permitted(
        &self,
        action: Action,
        cmd: Option<&str>,
        devices: Vec<(Uid, Labels)>,
    ) -> Result<Vec<Uid>, fleetlog_event_log::Error> {
        match &self.decisions {
            Some(decisions) => decisions.permitted(self, action, cmd, devices).await,
            // Without policies the roles decide, which takes no time to speak of.
            None => Ok(decisions::among(self, action, cmd, devices)),
        }
    }

    /// Somebody else of the same tenant, ruled by the same policies: a user, or a key apart from who issued it.
    #[must_use]
    pub fn colleague(&self, who: Who) -> Self {
        Self { who, issuers: Arc::default(), ..self.clone() }
    }

    /// How many keys there are between a user and what this principal calls with, that one included. 0 for a user.
    #[must_use]
    pub fn keys_in_line(&self) -> usize {
        self.issuers.len()
    }

    /// Whether the tenant's own policies have a say in whether this principal may do that to anything. If not, it is the
    /// same for every device of the tenant, and nobody needs to look at one.
    #[must_use]
    pub fn is_ruled(&self, action: Action) -> bool {
        let concern =
            |who: &Who| self.policies.as_ref().is_some_and(|policies| policies.concern(who, action));
        concern(&self.who) || self.issuers.iter().any(concern)
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

/// A caller's requests are counted under the user or the key, over all sessions.
impl From<&Principal> for Requester {
    fn from(principal: &Principal) -> Self {
        match principal.who {
            Who::User { user_id, .. } => Self::User(user_id),
            Who::Key { key_id, .. } => Self::Key(key_id),
        }
    }
}

/// A user who is in a session, and acts on the own account.
#[derive(Debug, Clone)]
pub struct Oneself {
    /// The user's tenant.
    pub tenant: Tenant,
    /// The user.
    pub user_id: Uuid,
    /// The session that the request came in.
    pub session_id: Uuid,
}
