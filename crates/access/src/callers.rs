//! Who is calling: the principal behind a token, a key or a cookie, with the policies that hold for it.

use fleetlog_aggregates::identity::Tenant;
use uuid::Uuid;

use super::api_keys::{self, ApiKeys};
use super::decisions::Decisions;
use super::error::Error;
use super::policy::cache::PolicyCache;
use super::principal::Principal;
use super::sessions::Sessions;

/// What a caller goes on calling with, for as long as a stream is open. Not `Debug`: a token is a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// An access token, which ends before its session does.
    Token(String),
    /// A session, of a browser with its cookie.
    Session(Uuid),
    /// An API key of a tenant.
    Key(Tenant, Uuid),
}

/// Finds the caller of each request, in all tenants: a request says which tenant it is about by its token only. Cheap to
/// clone.
#[derive(Clone)]
pub struct Callers {
    sessions: Sessions,
    api_keys: ApiKeys,
    policies: PolicyCache,
    decisions: Decisions,
}

impl Callers {
    pub(super) fn new(
        sessions: Sessions,
        api_keys: ApiKeys,
        policies: PolicyCache,
        decisions: Decisions,
    ) -> Self {
        Self { sessions, api_keys, policies, decisions }
    }

    /// The caller with an access token or an API key; `None` if it is not good.
    pub async fn with_bearer(&self, token: &str) -> Result<Option<Principal>, Error> {
        let principal = if token.starts_with(api_keys::PREFIX) {
            self.api_keys.with_key(token).await?
        } else {
            self.sessions.with_access_token(token).await?
        };
        self.ruled(principal).await
    }

    /// The caller with a refresh token, which a browser sends as its cookie; `None` if it is not good.
    pub async fn with_refresh_token(&self, token: &str) -> Result<Option<Principal>, Error> {
        self.ruled(self.sessions.with_refresh_token(token).await?).await
    }

    /// What the caller with a key of a tenant is, for those who ask what a key may do; `None` if the key is not good.
    pub async fn key(&self, tenant: &Tenant, key_id: Uuid) -> Result<Option<Principal>, Error> {
        let key = self.api_keys.of(key_id).await?;
        self.ruled(key.filter(|key| key.tenant == *tenant)).await
    }

    /// Who a credential stands for now; `None` if it is good no more.
    pub async fn again(&self, credential: &Credential) -> Result<Option<Principal>, Error> {
        match credential {
            Credential::Token(token) => self.with_bearer(token).await,
            Credential::Session(session_id) => self.ruled(self.sessions.in_session(*session_id).await?).await,
            Credential::Key(tenant, key_id) => self.key(tenant, *key_id).await,
        }
    }

    /// Adds the policies. Without them a principal is refused wherever they might have a say.
    async fn ruled(&self, principal: Option<Principal>) -> Result<Option<Principal>, Error> {
        let Some(principal) = principal else { return Ok(None) };
        if principal.policy_version == 0 {
            return Ok(Some(principal));
        }
        let policies = self.policies.of(&principal.tenant, principal.policy_version).await?;
        Ok(Some(principal.ruled_by(policies, self.decisions.clone())))
    }
}
