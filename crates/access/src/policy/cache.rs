//! The compiled policies of the tenants that have called lately.
//!
//! The version of a tenant's policies is read from the database with each caller. If it is newer than the one here, the
//! policies are read again. So a change holds from the next request on, on every node.

use std::num::NonZeroUsize;
use std::sync::Arc;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::EventLog;
use lru::LruCache;
use parking_lot::Mutex;

use super::super::error::Error;
use super::store;
use super::tenant::Policies;

/// How many tenants' policies are kept; those used least recently are read again when they are needed.
const TENANTS: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");

/// A tenant's policies and their version. The request that reads them anew holds the lock, and the others wait for it.
type Slot = Arc<tokio::sync::Mutex<Option<(i64, Arc<Policies>)>>>;

/// The policies of all tenants. Cheap to clone; clones share what was read.
#[derive(Clone)]
pub(crate) struct PolicyCache {
    log: EventLog,
    slots: Arc<Mutex<LruCache<Tenant, Slot>>>,
}

impl PolicyCache {
    pub(crate) fn new(log: EventLog) -> Self {
        Self { log, slots: Arc::new(Mutex::new(LruCache::new(TENANTS))) }
    }

    /// A tenant's policies, in this version or a newer one.
    pub(crate) async fn of(&self, tenant: &Tenant, wanted: i64) -> Result<Arc<Policies>, Error> {
        let slot = self.slot(tenant);
        let mut kept = slot.lock().await;
        if let Some((version, policies)) = &*kept
            && *version >= wanted
        {
            return Ok(Arc::clone(policies));
        }
        let (version, sources) = store::of_tenant(self.log.pool(), tenant).await?;
        let compiled = tokio::task::spawn_blocking(move || {
            Policies::compile(sources.iter().map(|(name, source)| (name.as_str(), source.as_str())))
        });
        let policies = Arc::new(compiled.await.map_err(|_| unavailable())?);
        *kept = Some((version, Arc::clone(&policies)));
        Ok(policies)
    }

    fn slot(&self, tenant: &Tenant) -> Slot {
        Arc::clone(self.slots.lock().get_or_insert_ref(tenant, Slot::default))
    }
}

fn unavailable() -> Error {
    sqlx::Error::WorkerCrashed.into()
}
