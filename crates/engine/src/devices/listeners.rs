//! At which nodes a device listens for its commands, for whichever node dispatches them.
//!
//! A row says that the device has listened at a node, and may do so still. It is written when the device begins to listen there
//! for the first time, and deleted when a command finds it gone, or when the node ends. A device that comes and goes writes
//! nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use fleetlog_event_log::{Error, EventLog};
use fleetlog_projections::devices::online::MISSED;
use uuid::Uuid;

use super::credentials::Device;
use super::node::Node;
use super::sessions::Sessions;

/// The most nodes at which a device is looked for. One that goes from node to node leaves a row on each.
const NODES: i64 = 4;

/// Who listens at this node and at others. Cheap to clone.
#[derive(Clone)]
pub struct Listeners {
    node: Node,
    /// Whether rows rest on this node's word.
    is_relied_on: Arc<AtomicBool>,
}

/// A node at which a device may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: Uuid,
    /// When the node last said that it is there.
    pub seen_at: DateTime<Utc>,
}

impl Listeners {
    /// The listeners at the node that these sessions are kept by.
    #[must_use]
    pub fn beside(sessions: &Sessions) -> Self {
        Self { node: sessions.node().clone(), is_relied_on: Arc::default() }
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> Uuid {
        self.node.id()
    }

    /// The log whose database has the rows.
    #[must_use]
    pub fn log(&self) -> &EventLog {
        self.node.log()
    }

    /// Devices have begun to listen at this node.
    pub async fn note(&self, devices: &[Device]) -> Result<(), Error> {
        self.node.beat_unless_seen().await?;
        if !self.is_relied_on.swap(true, Ordering::Relaxed) {
            self.node.opened();
        }
        let note = sqlx::query(NOTE).bind(self.node.id());
        let note = note.bind(devices.iter().map(|device| device.tenant.as_str()).collect::<Vec<_>>());
        let note = note.bind(devices.iter().map(|device| device.uid.as_str()).collect::<Vec<_>>());
        note.execute(self.log().pool()).await?;
        Ok(())
    }

    /// A device does not listen at this node any more.
    pub async fn forget(&self, device: &Device) -> Result<(), Error> {
        let forget = sqlx::query("DELETE FROM device_listeners WHERE tenant = $1 AND uid = $2 AND node = $3");
        let forget = forget.bind(device.tenant.as_str()).bind(device.uid.as_str()).bind(self.node.id());
        forget.execute(self.log().pool()).await?;
        Ok(())
    }

    /// The other nodes at which a device may listen.
    pub async fn elsewhere(&self, device: &Device) -> Result<Vec<Place>, Error> {
        let elsewhere = sqlx::query_as(ELSEWHERE).bind(device.tenant.as_str()).bind(device.uid.as_str());
        let elsewhere = elsewhere.bind(self.node.id()).bind(MISSED.as_secs_f64()).bind(NODES);
        let elsewhere: Vec<(Uuid, DateTime<Utc>)> = elsewhere.fetch_all(self.log().pool()).await?;
        Ok(elsewhere.into_iter().map(|(node, seen_at)| Place { node, seen_at }).collect())
    }
}

const NOTE: &str = "
    INSERT INTO device_listeners (tenant, uid, node)
    SELECT DISTINCT tenant, uid, $1 FROM unnest($2::text[], $3::text[]) AS device (tenant, uid) JOIN tenants USING (tenant)
    ON CONFLICT ON CONSTRAINT device_listeners_key DO NOTHING";

const ELSEWHERE: &str = "
    SELECT node, seen_at FROM device_listeners JOIN device_nodes USING (node)
    WHERE tenant = $1 AND uid = $2 AND node <> $3 AND seen_at + make_interval(secs => $4) > clock_timestamp()
    ORDER BY seen_at DESC LIMIT $5";
