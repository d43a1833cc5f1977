//! How many streams there may be: on this node, and of one tenant.

use std::collections::HashMap;
use std::sync::Arc;

use fleetlog_aggregates::identity::Tenant;
use parking_lot::Mutex;

/// The most streams on a node.
pub const MOST: usize = 10_000;
/// The most streams of one tenant on a node.
pub const OF_A_TENANT: usize = 5000;

/// The streams that are open. Cheap to clone.
#[derive(Clone, Default)]
pub struct Seats(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    all: usize,
    of: HashMap<Tenant, usize>,
}

/// A stream's seat. Dropping it makes room for another.
pub struct Seat {
    seats: Seats,
    tenant: Tenant,
}

impl Seats {
    /// A seat, unless all are taken, or all of the tenant's.
    #[must_use]
    pub fn take(&self, tenant: &Tenant) -> Option<Seat> {
        let mut taken = self.0.lock();
        let own = taken.of.get(tenant).copied().unwrap_or(0);
        if taken.all >= MOST || own >= OF_A_TENANT {
            return None;
        }
        taken.all += 1;
        taken.of.insert(tenant.clone(), own + 1);
        Some(Seat { seats: self.clone(), tenant: tenant.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock();
        taken.all -= 1;
        if let Some(own) = taken.of.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_with_all_its_streams_takes_no_place_of_others() {
        let [a, b]: [Tenant; 2] = ["a", "b"].map(|name| name.parse().expect("a tenant"));
        let seats = Seats::default();
        let mut own: Vec<_> = (0..OF_A_TENANT).map(|_| seats.take(&a).expect("a seat")).collect();
        assert!(seats.take(&a).is_none());
        assert!(seats.take(&b).is_some());
        own.pop();
        assert!(seats.take(&a).is_some(), "the one that was given back");
    }
}
