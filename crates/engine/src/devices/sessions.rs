//! Sessions that outlive their connections: what a device's library has asked to be kept while it is away, so that it goes on
//! where it was, on this node or another, also after a node has ended without a word.
//!
//! A session has the subscriptions, and the packet ids of the messages that its client may send again. Commands are not in
//! it: they wait in the log until the device listens. A library that is told that its session is gone throws away what it
//! has not sent yet, so a session is told to be there only if it is.

mod arrivals;
mod wills;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use fleetlog_event_log::{Error, EventLog};
use fleetlog_projections::devices::online::MISSED;
use parking_lot::Mutex;
use sqlx::Row;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::node::{BEAT_EVERY, Node};
use crate::ingest;
use crate::ingest::retry::patience;
use arrivals::Arrivals;

pub use arrivals::Arrival;
pub use wills::{Left, Will};

/// How long a session is kept at most while its client is away.
pub const KEPT: Duration = Duration::from_hours(7 * 24);
/// The most sessions of a user, and of all clients without a login together. Those that were left first go first.
pub const SESSIONS: (i64, i64) = (10, 100_000);
/// A node looks at all sessions every so many times only, every ten minutes: a session whose time is over is not gone on with,
/// whether it was removed or not.
const TURNS: u32 = 60;
/// The most statements at once. When a whole fleet connects, the others wait here.
const AT_ONCE: usize = 4;
/// The most rows that a statement of a sweep deletes.
const SWEEP: i64 = 10_000;

/// The sessions of all clients. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    log: EventLog,
    places: Semaphore,
    node: Node,
    /// There may be a will that is due earlier than was known.
    wills: Notify,
    /// The users who have begun new ones here since the last look: no other user can be over the bound.
    grown: Mutex<HashSet<String>>,
    arrivals: Arrivals,
}

/// A client: whose, and the id it says, which may have 65,535 bytes. A client id belongs to the user who has said it: two users
/// who say the same one are two clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client([u8; 32]);

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The topic, or a filter with wildcards.
    pub filter: String,
    /// The highest quality of service, 0 to 2.
    pub quality: u8,
    /// The client's own number for it.
    pub number: Option<u32>,
}

/// A session that a connection goes on with. Dropping it does not end it: see [`Sessions::leave`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    client: Client,
    id: Uuid,
    connection: Uuid,
}

/// What a session had when a connection went on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The session.
    pub session: Session,
    /// What it had from an earlier connection. `None`: it is new.
    pub earlier: Option<Vec<Kept>>,
}

/// The session belongs to another connection of the client by now, or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl Client {
    /// The client that says this id, of the user who has logged in with this name.
    #[must_use]
    pub fn new(username: Option<&str>, client_id: &str) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [username.unwrap_or_default().as_bytes(), b"\0", client_id.as_bytes()] {
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

impl Sessions {
    /// The sessions in the database of a log, which must see all tenants.
    #[must_use]
    pub fn new(log: EventLog) -> Self {
        Self(Arc::new(Inner {
            node: Node::new(log.clone()),
            log,
            places: Semaphore::new(AT_ONCE),
            wills: Notify::new(),
            grown: Mutex::default(),
            arrivals: Arrivals::default(),
        }))
    }

    /// The node that keeps them.
    pub(super) fn node(&self) -> &Node {
        &self.0.node
    }

    /// Goes on with a client's session over a new connection, or begins one. It is kept for this long when the client is
    /// away, at most [`KEPT`]. With `anew` an earlier one is forgotten.
    pub async fn begin(
        &self,
        client: Client,
        username: Option<&str>,
        kept: Duration,
        anew: bool,
    ) -> Result<Begun, Error> {
        self.0.node.beat_unless_seen().await?;
        let (id, connection) = (Uuid::now_v7(), Uuid::now_v7());
        let begin = sqlx::query(BEGIN)
            .bind(client.0)
            .bind(username.unwrap_or_default())
            .bind(id)
            .bind(connection)
            .bind(self.0.node.id())
            .bind(seconds(kept))
            .bind(anew)
            .bind(MISSED.as_secs_f64());
        let row = self.0.turn(begin.fetch_one(self.0.log.pool())).await?;
        self.0.node.opened();
        let known: Uuid = row.try_get("session_id")?;
        let earlier = if known == id { None } else { Some(kept_of(&row)?) };
        if earlier.is_none() {
            self.0.grown.lock().insert(username.unwrap_or_default().to_owned());
        }
        Ok(Begun { session: Session { client, id: known, connection }, earlier })
    }

    /// Goes on with a client's earlier session, if it has one. The client has not asked for it to be kept after this
    /// connection.
    pub async fn resume(&self, client: Client) -> Result<Option<Begun>, Error> {
        self.0.node.beat_unless_seen().await?;
        let connection = Uuid::now_v7();
        let resume = sqlx::query(RESUME)
            .bind(client.0)
            .bind(connection)
            .bind(self.0.node.id())
            .bind(seconds(Duration::ZERO))
            .bind(MISSED.as_secs_f64());
        let Some(row) = self.0.turn(resume.fetch_optional(self.0.log.pool())).await? else { return Ok(None) };
        self.0.node.opened();
        let session = Session { client, id: row.try_get("session_id")?, connection };
        Ok(Some(Begun { session, earlier: Some(kept_of(&row)?) }))
    }

    /// Forgets a client's session, if it has one: the client starts clean, and asks for none.
    pub async fn forget(&self, client: Client) -> Result<(), Error> {
        let forget = sqlx::query("DELETE FROM device_sessions WHERE client = $1").bind(client.0);
        self.0.turn(forget.execute(self.0.log.pool())).await?;
        Ok(())
    }

    /// Keeps what the client listens to from now on, and tries until the database takes it. [`Lost`]: nothing is kept, because
    /// the client goes on over another connection.
    pub async fn keep(&self, session: &Session, subscriptions: &[Kept]) -> Result<(), Lost> {
        let filters: Vec<&str> = subscriptions.iter().map(|kept| &*kept.filter).collect();
        let qualities: Vec<i16> = subscriptions.iter().map(|kept| kept.quality.into()).collect();
        let numbers: Vec<Option<i64>> = subscriptions.iter().map(|kept| kept.number.map(i64::from)).collect();
        let (filters, qualities, numbers) = (&filters, &qualities, &numbers);
        let kept = self.0.until_done(|| async move {
            let keep = sqlx::query(
                "UPDATE device_sessions SET filters = $3, qualities = $4, numbers = $5
                 WHERE client = $1 AND connection = $2",
            );
            let keep = keep.bind(session.client.0).bind(session.connection);
            keep.bind(filters).bind(qualities).bind(numbers).execute(self.0.log.pool()).await
        });
        if kept.await.rows_affected() > 0 { Ok(()) } else { Err(Lost) }
    }

    /// The connection has ended: the session is kept for this long, or what [`Sessions::begin`] said. With zero it is over.
    /// What its client has left to be said waits with it.
    pub async fn leave(
        &self,
        session: &Session,
        kept: Option<Duration>,
        will: Option<&Left>,
    ) -> Result<(), Error> {
        self.0.node.closed();
        let (client, connection) = (session.client.0, session.connection);
        let left = if kept == Some(Duration::ZERO) {
            let over = sqlx::query("DELETE FROM device_sessions WHERE client = $1 AND connection = $2");
            over.bind(client).bind(connection)
        } else {
            let away = sqlx::query(
                "UPDATE device_sessions
                 SET node = NULL, left_at = clock_timestamp(), kept_s = coalesce($3, kept_s), will_topic = $4,
                     will_payload = $5, will_id = $6, will_heard_at = $7,
                     will_at = CASE WHEN $8::float8 IS NOT NULL
                                    THEN clock_timestamp() + make_interval(secs => least($8, coalesce($3, kept_s))) END
                 WHERE client = $1 AND connection = $2",
            );
            away.bind(client)
                .bind(connection)
                .bind(kept.map(seconds))
                .bind(will.map(|left| &left.will.topic))
                .bind(will.map(|left| &left.will.payload[..]))
                .bind(will.map(|left| &left.id))
                .bind(will.map(|left| left.heard_at))
                .bind(will.map(|left| left.delay.as_secs_f64()))
        };
        self.0.turn(left.execute(self.0.log.pool())).await?;
        if will.is_some() {
            self.0.wills.notify_one();
        }
        Ok(())
    }

    /// The message id for what the client publishes under a packet id until it releases it: a new one, or the one that it was
    /// given before. A message that is sent again, over whichever connection, is a duplicate then. Tries until the database
    /// answers.
    pub async fn hold(&self, session: &Session, packet_id: u16) -> String {
        let msg_id = &ingest::new_msg_id();
        let held = self.0.until_done(|| async move {
            let hold = sqlx::query_scalar(
                "INSERT INTO device_messages AS held (session_id, packet_id, msg_id) VALUES ($1, $2, $3)
                 ON CONFLICT ON CONSTRAINT device_messages_key DO UPDATE SET msg_id = held.msg_id
                 RETURNING msg_id",
            );
            let hold = hold.bind(session.id).bind(i32::from(packet_id)).bind(msg_id);
            hold.fetch_one(self.0.log.pool()).await
        });
        held.await
    }

    /// The client will not send it again: the packet id is free for another message. Tries until the database takes it.
    pub async fn release(&self, session: &Session, packet_id: u16) {
        let released = self.0.until_done(|| async move {
            let release = sqlx::query("DELETE FROM device_messages WHERE session_id = $1 AND packet_id = $2");
            release.bind(session.id).bind(i32::from(packet_id)).execute(self.0.log.pool()).await
        });
        released.await;
    }

    /// This node ends, and all its connections with it.
    pub async fn leave_all(&self) -> Result<(), Error> {
        self.0.node.leave().await
    }

    /// Says that this node is there while clients with sessions are, and removes sessions that are over, until `shutdown`.
    pub async fn keep_up(&self, shutdown: &CancellationToken) {
        let mut turn = 0_u32;
        while shutdown.run_until_cancelled(tokio::time::sleep(BEAT_EVERY)).await.is_some() {
            turn = turn.wrapping_add(1);
            let is_needed = self.0.node.is_needed();
            let kept = async {
                if is_needed {
                    self.0.node.beat().await?;
                    self.0.miss().await?;
                }
                self.crowd_out().await?;
                if turn.is_multiple_of(TURNS) {
                    self.sweep().await?;
                    // A node that has ended may have left some.
                    self.0.wills.notify_one();
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = kept.await {
                tracing::warn!(%error, "failed to keep up the sessions of devices; trying again");
            }
        }
    }

    /// Removes what is beyond the bounds of the users who have begun new sessions here.
    pub async fn crowd_out(&self) -> Result<(), Error> {
        let grown = std::mem::take(&mut *self.0.grown.lock());
        if grown.is_empty() {
            return Ok(());
        }
        let users: Vec<_> = grown.iter().collect();
        let crowded_out = sqlx::query(CROWD_OUT).bind(SESSIONS.0).bind(SESSIONS.1).bind(&users);
        if let Err(error) = crowded_out.execute(self.0.log.pool()).await {
            self.0.grown.lock().extend(grown);
            return Err(error.into());
        }
        Ok(())
    }

    /// Counts the clients of nodes that have ended as away, and removes all that is over.
    pub async fn sweep(&self) -> Result<(), Error> {
        self.0.miss().await?;
        let users =
            sqlx::query_scalar("SELECT username FROM device_sessions GROUP BY username HAVING count(*) > $1");
        let users: Vec<String> = users.bind(SESSIONS.0).fetch_all(self.0.log.pool()).await?;
        self.0.grown.lock().extend(users);
        self.crowd_out().await?;
        for over in [EXPIRE, CLEAR] {
            let delete = || sqlx::query(over).bind(SWEEP).execute(self.0.log.pool());
            while delete().await?.rows_affected() >= SWEEP as u64 {}
        }
        Ok(())
    }
}

/// Begins a session, or goes on with the one before if that lasts. A client whose node was seen is not away.
const BEGIN: &str = "
    WITH before AS (
        SELECT session_id, filters, qualities, numbers
        FROM device_sessions AS session LEFT JOIN device_nodes USING (node)
        WHERE client = $1 AND NOT $7
          AND (coalesce(left_at, seen_at) + make_interval(secs => kept_s) > clock_timestamp()
               OR seen_at + make_interval(secs => $8) > clock_timestamp())
        FOR UPDATE OF session
    )
    INSERT INTO device_sessions
        (client, username, session_id, connection, node, kept_s, filters, qualities, numbers)
    SELECT $1, $2, coalesce(session_id, $3), $4, $5, $6,
           coalesce(filters, '{}'), coalesce(qualities, '{}'), coalesce(numbers, '{}')
    FROM (SELECT) AS one LEFT JOIN before ON true
    ON CONFLICT (client) DO UPDATE SET
        username = excluded.username, session_id = excluded.session_id, connection = excluded.connection,
        node = excluded.node, left_at = NULL, kept_s = excluded.kept_s, filters = excluded.filters,
        qualities = excluded.qualities, numbers = excluded.numbers,
        -- The client is back in time: its will is not said.
        will_topic = NULL, will_payload = NULL, will_id = NULL, will_at = NULL, will_heard_at = NULL
    RETURNING session_id, filters, qualities, numbers";

/// Goes on with a session that lasts, and leaves one that is over to the next sweep.
const RESUME: &str = "
    UPDATE device_sessions SET
        connection = $2, node = $3, left_at = NULL, kept_s = $4,
        will_topic = NULL, will_payload = NULL, will_id = NULL, will_at = NULL, will_heard_at = NULL
    WHERE client = (
        SELECT client FROM device_sessions LEFT JOIN device_nodes USING (node)
        WHERE client = $1
          AND (coalesce(left_at, seen_at) + make_interval(secs => kept_s) > clock_timestamp()
               OR seen_at + make_interval(secs => $5) > clock_timestamp())
        FOR UPDATE OF device_sessions)
    RETURNING session_id, filters, qualities, numbers";

/// Counts the clients of nodes that were not seen for long as away since then.
const MISS: &str = "
    WITH ended AS (
        DELETE FROM device_nodes WHERE seen_at + make_interval(secs => $1) < clock_timestamp() RETURNING node, seen_at
    ), cut AS (
        UPDATE device_connections AS link
        SET node = NULL, ended_at = ended.seen_at,
            heard_at = CASE WHEN watched THEN greatest(heard_at, ended.seen_at) ELSE heard_at END
        FROM ended WHERE ended.node = link.node
    ), unheard AS (
        DELETE FROM device_listeners AS listener USING ended WHERE ended.node = listener.node
    )
    UPDATE device_sessions AS session SET node = NULL, left_at = ended.seen_at FROM ended WHERE ended.node = session.node";

const EXPIRE: &str = "
    DELETE FROM device_sessions WHERE client IN (
        SELECT client FROM device_sessions
        WHERE left_at + make_interval(secs => kept_s) < clock_timestamp() AND will_at IS NULL LIMIT $1)";

/// Removes the sessions beyond the bounds of some users. The index counts each user's; only those of one who has too many are
/// put in order.
const CROWD_OUT: &str = "
    DELETE FROM device_sessions WHERE client IN (
        SELECT placed.client
        FROM (SELECT username, CASE username WHEN '' THEN $2 ELSE $1 END AS most FROM unnest($3::text[]) AS username) AS grown
        CROSS JOIN LATERAL (
            SELECT client, left_at FROM device_sessions AS own WHERE own.username = grown.username
            ORDER BY left_at DESC NULLS FIRST OFFSET grown.most
        ) AS placed
        WHERE placed.left_at IS NOT NULL
          AND (SELECT count(*) FROM device_sessions AS own WHERE own.username = grown.username) > grown.most)";

/// Removes what belongs to sessions that are over.
const CLEAR: &str = "
    DELETE FROM device_messages WHERE (session_id, packet_id) IN (
        SELECT session_id, packet_id FROM device_messages LEFT JOIN device_sessions AS session USING (session_id)
        WHERE session.session_id IS NULL LIMIT $1)";

impl Inner {
    /// Runs a statement in its turn.
    async fn turn<T>(&self, statement: impl Future<Output = T>) -> T {
        // Nobody closes the semaphore.
        let _place = self.places.acquire().await;
        statement.await
    }

    /// Runs a statement until the database takes it. Only the first failure is told.
    async fn until_done<T, F>(&self, attempt: impl Fn() -> F) -> T
    where
        F: Future<Output = sqlx::Result<T>>,
    {
        let (mut backoff, mut is_told) = (patience(), false);
        loop {
            match self.turn(attempt()).await {
                Ok(done) => return done,
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(%error, "failed to write a device's session; trying again");
                }
                Err(_) => {}
            }
            backoff.wait().await;
        }
    }

    /// Counts the clients of nodes that have ended as away.
    async fn miss(&self) -> Result<(), Error> {
        sqlx::query(MISS).bind(MISSED.as_secs_f64()).execute(self.log.pool()).await?;
        Ok(())
    }
}

fn seconds(kept: Duration) -> i32 {
    i32::try_from(kept.min(KEPT).as_secs()).unwrap_or(i32::MAX).max(1)
}

fn kept_of(row: &sqlx::postgres::PgRow) -> Result<Vec<Kept>, Error> {
    let (filters, qualities, numbers): (Vec<String>, Vec<i16>, Vec<Option<i64>>) =
        (row.try_get("filters")?, row.try_get("qualities")?, row.try_get("numbers")?);
    let kept = filters.into_iter().zip(qualities).zip(numbers);
    Ok(kept
        .map(|((filter, quality), number)| Kept {
            filter,
            quality: u8::try_from(quality).unwrap_or_default(),
            number: number.and_then(|number| u32::try_from(number).ok()),
        })
        .collect())
}
