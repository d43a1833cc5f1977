//! The same request twice is one command: its id is derived from the requester's `Idempotency-Key`.
//!
//! An id has one stream in the log, so this holds as long as the log does. The keys in memory only detect that this
//! process is still working on another request with the same key.

use std::collections::HashSet;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest as hash};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fleetlog_aggregates::identity::Tenant;
use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use super::Error;

/// The UUID namespace of derived ids.
pub(crate) const NAMESPACE: Uuid = Uuid::from_u128(0x6b0e_6f1c_5b1f_4c52_9a52_6a0c_f1ee_7106);
/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// An `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

/// A text that is not an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 255 visible ASCII characters")]
pub struct BadKey;

impl std::str::FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && text.len() <= MAX_KEY { Ok(Self(text.to_owned())) } else { Err(BadKey) }
    }
}

impl Key {
    /// The id of what a tenant's actor requests under this key; `kind` separates commands from batches.
    pub(super) fn id(&self, tenant: &Tenant, actor: &str, kind: &str) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{kind}\n{tenant}\n{actor}\n{}", self.0).as_bytes())
    }
}

/// A digest of a request.
pub(super) fn digest(request: &impl Serialize) -> String {
    // Requests are plain data, which always serializes.
    let mut request = serde_json::to_value(request).unwrap_or_default();
    // The same request may arrive with its fields in another order.
    request.sort_all_objects();
    let json = serde_json::to_vec(&request).unwrap_or_default();
    BASE64_URL_SAFE_NO_PAD.encode(hash(&SHA256, &json))
}

/// The keys of the requests that this process is working on.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashSet<Uuid>>);

/// Marks a key as in flight until it is dropped.
pub(super) struct Guard {
    keys: Arc<InFlight>,
    id: Uuid,
}

impl InFlight {
    /// Marks a key. Fails if it is marked already.
    pub(super) fn enter(self: &Arc<Self>, id: Uuid) -> Result<Guard, Error> {
        let fresh = self.0.lock().insert(id);
        if fresh { Ok(Guard { keys: Arc::clone(self), id }) } else { Err(Error::KeyInFlight) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.keys.0.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        for (text, good) in
            [("a", true), ("7f-!", true), ("", false), ("a b", false), ("é", false), ("a\0", false)]
        {
            assert_eq!(text.parse::<Key>().is_ok(), good, "{text:?}");
        }
        assert!("x".repeat(255).parse::<Key>().is_ok() && "x".repeat(256).parse::<Key>().is_err());
    }

    #[test]
    fn an_id_follows_from_tenant_actor_and_key() {
        let key: Key = "k".parse().expect("a key");
        let (t0, t1): (Tenant, Tenant) = ("t0".parse().expect("a tenant"), "t1".parse().expect("a tenant"));
        let id = key.id(&t0, "user:1", "command");
        assert_eq!(id, key.id(&t0, "user:1", "command"));
        for other in [
            key.id(&t1, "user:1", "command"),
            key.id(&t0, "user:2", "command"),
            key.id(&t0, "user:1", "batch"),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn a_key_is_worked_on_once_at_a_time() {
        let keys = Arc::<InFlight>::default();
        let guard = keys.enter(Uuid::nil()).expect("free");
        assert!(matches!(keys.enter(Uuid::nil()), Err(Error::KeyInFlight)));
        drop(guard);
        assert!(keys.enter(Uuid::nil()).is_ok());
    }
}
