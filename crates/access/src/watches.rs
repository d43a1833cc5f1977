//! Callers who stay: whoever has a stream open is asked for again every [`EVERY`], because a token ends, a session or a key is
//! revoked, a role or a policy changes, a tenant is suspended. However many streams one credential has, it is asked for once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use super::callers::{Callers, Credential};
use super::principal::Principal;

/// How often a caller who stays is asked for again.
pub const EVERY: Duration = Duration::from_secs(3);

/// The callers who stay. Cheap to clone.
#[derive(Clone)]
pub struct Watches {
    callers: Callers,
    watched: Arc<Mutex<HashMap<Credential, Weak<Watched>>>>,
}

/// A caller who stays, as of the last time that the database was asked. Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    _watched: Arc<Watched>,
    now: watch::Receiver<Option<Principal>>,
}

struct Watched(watch::Sender<Option<Principal>>);

impl Watches {
    pub(super) fn new(callers: Callers) -> Self {
        Self { callers, watched: Arc::default() }
    }

    /// Watches a caller, who was just found by that credential.
    #[must_use]
    pub fn watch(&self, credential: Credential, principal: Principal) -> Watch {
        let mut all = self.watched.lock();
        if let Some(watched) = all.get(&credential).and_then(Weak::upgrade) {
            return Watch { now: watched.0.subscribe(), _watched: watched };
        }
        all.retain(|_, watched| watched.strong_count() > 0);
        let watched = Arc::new(Watched(watch::Sender::new(Some(principal))));
        all.insert(credential.clone(), Arc::downgrade(&watched));
        tokio::spawn(ask(self.callers.clone(), credential, Arc::downgrade(&watched)));
        Watch { now: watched.0.subscribe(), _watched: watched }
    }
}

impl Watch {
    /// The caller; `None` once the credential is good no more.
    #[must_use]
    pub fn caller(&self) -> Option<Principal> {
        self.now.borrow().clone()
    }

    /// Whether the caller was asked for again since this was last called.
    pub fn was_asked(&mut self) -> bool {
        let asked = self.now.has_changed().unwrap_or(false);
        self.now.mark_unchanged();
        asked
    }
}

async fn ask(callers: Callers, credential: Credential, watched: Weak<Watched>) {
    loop {
        sleep(EVERY).await;
        if watched.strong_count() == 0 {
            return;
        }
        match callers.again(&credential).await {
            Ok(principal) => {
                let is_over = principal.is_none();
                let Some(watched) = watched.upgrade() else { return };
                watched.0.send_replace(principal);
                if is_over {
                    return;
                }
            }
            // Without the database no event comes either.
            Err(error) => tracing::warn!(%error, "failed to ask for a caller with a stream; trying again"),
        }
    }
}
