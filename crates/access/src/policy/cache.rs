//! The policies of the tenants that call at the moment, ready to decide.
//!
//! A tenant's version of its policies is read from the database with every caller: where it is another than the one here,
//! the policies are read again. So a change holds from the next request on, on every node.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use fleetlog_aggregates::identity::Tenant;
use lru::LruCache;

use super::super::{Error, Identity, Principal};
use super::store;
use super::tenant::Policies;

/// How many tenants' policies are kept. The rest is read again when it is needed.
const TENANTS: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");

/// A tenant's policies, as they were in a version. Whoever reads them anew holds the lock: others wait for that.
type Slot = Arc<tokio::sync::Mutex<Option<(i64, Arc<Policies>)>>>;

pub(crate) struct Cache(Mutex<LruCache<Tenant, Slot>>);

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(TENANTS)))
    }
}

impl Cache {
    fn slot(&self, tenant: &Tenant) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.get_or_insert_ref(tenant, Slot::default))
    }
}

fn unavailable() -> Error {
    sqlx::Error::WorkerCrashed.into()
}

impl Identity {
    /// Gives a caller the policies that hold for it. Without them it is refused wherever they might have a say.
    pub async fn with_policies(&self, principal: Principal) -> Result<Principal, Error> {
        if principal.policy_version == 0 {
            return Ok(principal);
        }
        let slot = self.policies.slot(&principal.tenant);
        let mut kept = slot.lock().await;
        if let Some((version, policies)) = &*kept
            && *version >= principal.policy_version
        {
            return Ok(principal.ruled_by(Arc::clone(policies)));
        }
        let (version, sources) = store::of_tenant(self.log.pool(), &principal.tenant).await?;
        let compiled = tokio::task::spawn_blocking(move || {
            Policies::compile(sources.iter().map(|(name, source)| (name.as_str(), source.as_str())))
        });
        let policies = Arc::new(compiled.await.map_err(|_| unavailable())?);
        *kept = Some((version, Arc::clone(&policies)));
        Ok(principal.ruled_by(policies))
    }
}
