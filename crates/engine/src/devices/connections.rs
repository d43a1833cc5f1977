//! Which devices are connected to the endpoint, and were. It is no part of the record: a fleet with bad reception would fill
//! it. A row is written when a connection has begun and when it has ended, some at a time; in between nothing is written
//! for it, because the row of its node says of all of them that they stand.
//!
//! `fleetlog_projections::devices::online` reads the rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_event_log::Error;
use fleetlog_projections::devices::online::{KEPT, MISSED};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::credentials::Device;
use super::node::Node;
use super::sessions::Sessions;

/// How often changes are written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// The most changes that wait to be written while the database is away. Beyond it beginnings are not noted.
const WAITING: usize = 100_000;
/// How often it is noted that a client was heard of whose silence does not end its connection.
const HEARD_EVERY: Duration = Duration::from_secs(10);
/// The most ended connections of a device that are kept. The oldest go first.
pub const CONNECTIONS: i64 = 1000;
/// The most rows that a sweep deletes at once.
const SWEEP: i64 = 10_000;
/// How many turns lie between two sweeps: ten minutes.
const SWEEP_EVERY: u32 = 600;

/// The connections of this node's devices. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    node: Node,
    changes: Mutex<Changes>,
    /// Writes are one after the other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Changes {
    begun: Vec<Begun>,
    heard: Vec<Heard>,
}

#[derive(Clone)]
struct Begun {
    connection: Uuid,
    device: Device,
    watched: bool,
    at: DateTime<Utc>,
}

/// When a client was last heard of, and when its connection has ended, if it has.
#[derive(Clone, Copy)]
struct Heard {
    connection: Uuid,
    at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

/// A connection that stands. It has ended when this is dropped.
pub struct Link {
    connections: Connections,
    connection: Uuid,
    device: Device,
    watched: bool,
    heard: Instant,
    noted: Instant,
}

impl Connections {
    /// The connections to the node that these sessions are kept by.
    #[must_use]
    pub fn beside(sessions: &Sessions) -> Self {
        let node = sessions.node().clone();
        Self(Arc::new(Inner { node, changes: Mutex::default(), turn: tokio::sync::Mutex::default() }))
    }

    /// A device is connected from now on. If it is `watched`, the connection will be ended when its client says nothing for
    /// too long; until then it is there.
    #[must_use]
    pub fn begin(&self, device: Device, watched: bool) -> Link {
        let (connection, now) = (Uuid::now_v7(), Instant::now());
        self.0.node.opened();
        let mut changes = self.0.changes.lock();
        if changes.begun.len() < WAITING {
            let at = self.0.node.log().now();
            changes.begun.push(Begun { connection, device: device.clone(), watched, at });
        }
        drop(changes);
        Link { connections: self.clone(), connection, device, watched, heard: now, noted: now }
    }

    /// Writes what changes, until `shutdown`, and then the rest.
    pub async fn keep_up(&self, shutdown: &CancellationToken) {
        let mut turn = 0_u32;
        while shutdown.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await.is_some() {
            turn = turn.wrapping_add(1);
            let kept = async {
                self.write().await?;
                if turn.is_multiple_of(SWEEP_EVERY) {
                    self.sweep().await?;
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = kept.await {
                tracing::warn!(%error, "failed to write which devices are connected; trying again");
            }
        }
    }

    /// Writes what has changed.
    pub async fn write(&self) -> Result<(), Error> {
        let _turn = self.0.turn.lock().await;
        let Changes { begun, heard } = std::mem::take(&mut *self.0.changes.lock());
        let written = async {
            self.write_begun(&begun).await?;
            self.write_heard(&heard).await
        };
        let written = written.await;
        if written.is_err() {
            // A row that was written already stays as it is.
            let mut changes = self.0.changes.lock();
            let (new_begun, new_heard) =
                (std::mem::take(&mut changes.begun), std::mem::take(&mut changes.heard));
            changes.begun = begun.into_iter().chain(new_begun).collect();
            changes.heard = heard.into_iter().chain(new_heard).collect();
        }
        written
    }

    async fn write_begun(&self, begun: &[Begun]) -> Result<(), Error> {
        if begun.is_empty() {
            return Ok(());
        }
        self.0.node.beat_unless_seen().await?;
        let insert = sqlx::query(BEGIN)
            .bind(self.0.node.id())
            .bind(begun.iter().map(|begun| begun.connection).collect::<Vec<_>>())
            .bind(begun.iter().map(|begun| begun.device.tenant.as_str()).collect::<Vec<_>>())
            .bind(begun.iter().map(|begun| begun.device.uid.as_str()).collect::<Vec<_>>())
            .bind(begun.iter().map(|begun| begun.at).collect::<Vec<_>>())
            .bind(begun.iter().map(|begun| begun.watched).collect::<Vec<_>>());
        insert.execute(self.0.node.log().pool()).await?;
        Ok(())
    }

    async fn write_heard(&self, heard: &[Heard]) -> Result<(), Error> {
        if heard.is_empty() {
            return Ok(());
        }
        let update = sqlx::query(HEARD)
            .bind(heard.iter().map(|heard| heard.connection).collect::<Vec<_>>())
            .bind(heard.iter().map(|heard| heard.at).collect::<Vec<_>>())
            .bind(heard.iter().map(|heard| heard.ended_at).collect::<Vec<_>>());
        update.execute(self.0.node.log().pool()).await?;
        Ok(())
    }

    /// Whether a device is connected anywhere, over a connection that began at this moment or later.
    pub async fn is_back(&self, device: &Device, since: DateTime<Utc>) -> Result<bool, Error> {
        self.write().await?;
        let back = sqlx::query_scalar(IS_BACK).bind(device.tenant.as_str()).bind(device.uid.as_str());
        let back = back.bind(since).bind(MISSED.as_secs_f64());
        Ok(back.fetch_one(self.0.node.log().pool()).await?)
    }

    /// Removes what was over long ago.
    pub async fn sweep(&self) -> Result<(), Error> {
        let pool = self.0.node.log().pool();
        sqlx::query(EXPIRE).bind(KEPT.as_secs_f64()).bind(SWEEP).execute(pool).await?;
        sqlx::query(CROWD_OUT).bind(CONNECTIONS).bind(SWEEP).execute(pool).await?;
        Ok(())
    }
}

impl Link {
    /// The device that is connected.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The client was heard of.
    pub fn heard(&mut self) {
        self.heard = Instant::now();
        if !self.watched && self.noted.elapsed() >= HEARD_EVERY {
            self.noted = self.heard;
            self.note(None);
        }
    }

    /// When the client was last heard of.
    #[must_use]
    pub fn heard_at(&self) -> DateTime<Utc> {
        self.now() - TimeDelta::from_std(self.heard.elapsed()).unwrap_or_default()
    }

    fn now(&self) -> DateTime<Utc> {
        self.connections.0.node.log().now()
    }

    fn note(&self, ended_at: Option<DateTime<Utc>>) {
        let heard = Heard { connection: self.connection, at: self.heard_at(), ended_at };
        self.connections.0.changes.lock().heard.push(heard);
    }
}

/// What was heard last counts, and not that the connection has ended.
impl Drop for Link {
    fn drop(&mut self) {
        self.note(Some(self.now()));
        self.connections.0.node.closed();
    }
}

/// In an endpoint that is open, anybody may make up tenants.
const BEGIN: &str = "
    INSERT INTO device_connections (connection, tenant, uid, node, connected_at, watched, heard_at)
    SELECT connection, tenant, uid, $1, at, watched, at
    FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::boolean[])
         AS begun (connection, tenant, uid, at, watched)
    JOIN tenants USING (tenant)
    ON CONFLICT (connection) DO NOTHING";

const HEARD: &str = "
    UPDATE device_connections AS link
    SET heard_at = greatest(link.heard_at, heard.at), ended_at = coalesce(heard.ended_at, link.ended_at),
        node = CASE WHEN heard.ended_at IS NULL THEN link.node END
    FROM (SELECT connection, max(at) AS at, max(ended_at) AS ended_at
          FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS heard (connection, at, ended_at)
          GROUP BY 1) AS heard
    WHERE link.connection = heard.connection AND link.ended_at IS NULL";

const IS_BACK: &str = "
    SELECT EXISTS (
        SELECT FROM device_connections JOIN device_nodes USING (node)
        WHERE tenant = $1 AND uid = $2 AND connected_at >= $3 AND seen_at + make_interval(secs => $4) > clock_timestamp())";

const EXPIRE: &str = "
    DELETE FROM device_connections WHERE connection IN (
        SELECT connection FROM device_connections
        WHERE ended_at < clock_timestamp() - make_interval(secs => $1) LIMIT $2)";

const CROWD_OUT: &str = "
    DELETE FROM device_connections WHERE connection IN (
        SELECT connection FROM (
            SELECT connection, row_number() OVER (PARTITION BY tenant, uid ORDER BY connected_at DESC) AS place
            FROM device_connections WHERE ended_at IS NOT NULL) AS placed
        WHERE place > $1 LIMIT $2)";
