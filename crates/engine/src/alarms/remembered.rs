//! The rows of devices that were used last, in bounded memory. What is not remembered is read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleetlog_aggregates::identity::Uid;
use lru::LruCache;

use super::standings::Stood;

/// How many rows all workers of a node remember together; a device without rows counts as one.
pub(super) const ROWS: usize = 200_000;

/// One tenant's.
pub(super) struct Remembered {
    devices: LruCache<Uid, Vec<Stood>>,
    /// How many rows this has.
    rows: usize,
    /// How many all have.
    all: Arc<AtomicUsize>,
}

impl Remembered {
    pub(super) fn new(all: Arc<AtomicUsize>) -> Self {
        Self { devices: LruCache::unbounded(), rows: 0, all }
    }

    pub(super) fn take(&mut self, uid: &Uid) -> Option<Vec<Stood>> {
        let rows = self.devices.pop(uid)?;
        self.less(rows.len().max(1));
        Some(rows)
    }

    pub(super) fn put(&mut self, uid: Uid, rows: Vec<Stood>) {
        let added = rows.len().max(1);
        if let Some(before) = self.devices.put(uid, rows) {
            self.less(before.len().max(1));
        }
        self.rows += added;
        self.all.fetch_add(added, Ordering::Relaxed);
        while self.all.load(Ordering::Relaxed) > ROWS
            && let Some((_, oldest)) = self.devices.pop_lru()
        {
            self.less(oldest.len().max(1));
        }
    }

    pub(super) fn forget(&mut self, uid: &Uid) {
        self.take(uid);
    }

    pub(super) fn clear(&mut self) {
        self.devices.clear();
        self.less(self.rows);
    }

    fn less(&mut self, rows: usize) {
        self.rows -= rows;
        self.all.fetch_sub(rows, Ordering::Relaxed);
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_devices_there_are_only_so_many_rows_are_remembered() {
        let all = Arc::new(AtomicUsize::new(ROWS - 2));
        let mut remembered = Remembered::new(Arc::clone(&all));
        for n in 0..10 {
            remembered.put(format!("dev-{n}").parse().expect("a uid"), vec![]);
        }
        assert_eq!(all.load(Ordering::Relaxed), ROWS);
        assert!(remembered.take(&"dev-7".parse().expect("a uid")).is_none());
        assert!(remembered.take(&"dev-9".parse().expect("a uid")).is_some());
        drop(remembered);
        assert_eq!(all.load(Ordering::Relaxed), ROWS - 2);
    }
}
