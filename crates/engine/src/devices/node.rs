//! This process among the nodes that devices connect to. It says now and then that it is there: what a node that ends without a
//! word has left open is then missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlog_event_log::{Error, EventLog};
use parking_lot::Mutex;
use uuid::Uuid;

/// How often a node says that it is there.
pub(super) const BEAT_EVERY: Duration = Duration::from_secs(10);

/// A node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Node(Arc<Inner>);

struct Inner {
    log: EventLog,
    id: Uuid,
    /// When the database was last told of this node.
    seen: Mutex<Option<Instant>>,
    /// What is open here and rests on the node's word: sessions and connections.
    open: Mutex<usize>,
}

impl Node {
    pub(super) fn new(log: EventLog) -> Self {
        Self(Arc::new(Inner { log, id: Uuid::now_v7(), seen: Mutex::default(), open: Mutex::default() }))
    }

    pub(super) fn id(&self) -> Uuid {
        self.0.id
    }

    pub(super) fn log(&self) -> &EventLog {
        &self.0.log
    }

    /// Something is open here from now on.
    pub(super) fn opened(&self) {
        *self.0.open.lock() += 1;
    }

    /// It is not open any more.
    pub(super) fn closed(&self) {
        let mut open = self.0.open.lock();
        *open = open.saturating_sub(1);
    }

    /// Whether something is open here.
    pub(super) fn is_needed(&self) -> bool {
        *self.0.open.lock() > 0
    }

    /// Before something is opened: what rests on the word of a node that nobody knows is over.
    pub(super) async fn beat_unless_seen(&self) -> Result<(), Error> {
        let seen = *self.0.seen.lock();
        if seen.is_some_and(|seen| seen.elapsed() < BEAT_EVERY * 2) { Ok(()) } else { self.beat().await }
    }

    pub(super) async fn beat(&self) -> Result<(), Error> {
        let now = Instant::now();
        let beat = sqlx::query(
            "INSERT INTO device_nodes (node) VALUES ($1) ON CONFLICT (node) DO UPDATE SET seen_at = clock_timestamp()",
        );
        beat.bind(self.0.id).execute(self.0.log.pool()).await?;
        *self.0.seen.lock() = Some(now);
        Ok(())
    }

    /// This node ends: whatever is open here is over now.
    pub(super) async fn leave(&self) -> Result<(), Error> {
        *self.0.open.lock() = 0;
        if self.0.seen.lock().take().is_some() {
            sqlx::query(LEAVE).bind(self.0.id).execute(self.0.log.pool()).await?;
        }
        Ok(())
    }
}

const LEAVE: &str = "
    WITH gone AS (
        DELETE FROM device_nodes WHERE node = $1
    ), cut AS (
        UPDATE device_connections SET node = NULL, ended_at = clock_timestamp() WHERE node = $1
    ), unheard AS (
        DELETE FROM device_listeners WHERE node = $1
    )
    UPDATE device_sessions SET node = NULL, left_at = clock_timestamp() WHERE node = $1";
