//! What one node tells all others at once. A notice is a hint: who does not listen at that moment never hears of it.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::{EventLog, Result};

/// The notification channel of all notices.
pub(crate) const CHANNEL: &str = "fleetlog_notices";
/// The longest notice, in bytes: Postgres takes 7,999.
pub const LONGEST: usize = 7_900;
/// How many notices are remembered for whoever is slow to hear them.
const REMEMBERED: usize = 64;

/// The notices that this node hears.
pub(crate) struct Notices(broadcast::Sender<Arc<str>>);

impl Default for Notices {
    fn default() -> Self {
        Self(broadcast::channel(REMEMBERED).0)
    }
}

impl Notices {
    /// Passes a notice on. Nobody may be there to hear it.
    pub(crate) fn heard(&self, notice: &str) {
        let _ = self.0.send(notice.into());
    }
}

impl EventLog {
    /// Tells all nodes, this one included, something of at most [`LONGEST`] bytes.
    pub async fn tell_nodes(&self, notice: &str) -> Result<()> {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(notice).execute(self.pool()).await?;
        Ok(())
    }

    /// What nodes tell each other from now on, while [`EventLog::run`] runs.
    #[must_use]
    pub fn hear_nodes(&self) -> broadcast::Receiver<Arc<str>> {
        self.inner.notices.0.subscribe()
    }
}
