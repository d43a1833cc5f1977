//! Turns: how many may do something at once, of all together and of each tenant. A tenant that uses up its own turns
//! waits behind itself, and everybody else goes on.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many tenants are remembered before those without a turn are forgotten.
const REMEMBERED: usize = 1024;

/// Hands out turns.
pub struct Turns {
    all: Arc<Semaphore>,
    each: u32,
    tenants: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
}

/// A turn. Dropping it lets the next one in.
#[must_use]
pub struct Turn {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Turns {
    /// At most `all` turns at once, and at most `each` of one tenant.
    #[must_use]
    pub fn new(all: u32, each: u32) -> Self {
        let each = each.clamp(1, all.max(1));
        Self { all: Arc::new(Semaphore::new(all.max(1) as usize)), each, tenants: Mutex::default() }
    }

    /// Waits for a turn of this weight: first behind the tenant's own, and then behind everybody's. A weight beyond what a
    /// tenant may have at once counts as that much.
    pub async fn take(&self, tenant: &str, weight: u32) -> Turn {
        let weight = weight.min(self.each);
        let own = acquire(self.of(tenant), weight).await;
        Turn { _own: own, _all: acquire(Arc::clone(&self.all), weight).await }
    }

    fn of(&self, tenant: &str) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock();
        if let Some(own) = tenants.get(tenant).and_then(Weak::upgrade) {
            return own;
        }
        if tenants.len() >= REMEMBERED {
            tenants.retain(|_, own| own.strong_count() > 0);
        }
        let own = Arc::new(Semaphore::new(self.each as usize));
        tenants.insert(tenant.into(), Arc::downgrade(&own));
        own
    }
}

#[expect(clippy::expect_used, reason = "nobody closes these semaphores")]
async fn acquire(semaphore: Arc<Semaphore>, weight: u32) -> OwnedSemaphorePermit {
    semaphore.acquire_many_owned(weight).await.expect("an open semaphore")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_tenant_waits_behind_its_own_turns_only() {
        let turns = Turns::new(3, 2);
        let take = |tenant, weight| turns.take(tenant, weight).now_or_never();
        let own = (take("a", 1), take("a", 1));
        assert!(own.0.is_some() && own.1.is_some());
        assert!(take("a", 1).is_none(), "its third");
        let other = take("b", 1);
        assert!(other.is_some());
        assert!(take("b", 1).is_none(), "the fourth of all");
        drop(own);
        assert!(take("a", 9).is_some(), "counts as two");
    }

    #[test]
    fn tenants_without_a_turn_are_forgotten() {
        let turns = Turns::new(1, 1);
        for n in 0..3 * REMEMBERED {
            drop(turns.take(&n.to_string(), 1).now_or_never());
        }
        assert!(turns.tenants.lock().len() <= REMEMBERED);
    }
}
