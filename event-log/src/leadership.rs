//! Tasks that only one node at a time may do. The leader is the node whose connection holds the task's advisory lock.
//! Postgres releases the lock when that connection ends, however the node ended, and ends the connection of a node
//! that has been frozen. What a leader does must be right even while two nodes briefly believe that they lead.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool};

use crate::Result;

/// How often the leader checks that its connection is alive.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a node may be silent before Postgres ends its connection. PostgreSQL 14 and later.
const FROZEN: &str = "SET idle_session_timeout = '60s'";

/// The right to do a task alone, until the connection is gone.
pub struct Leadership {
    connection: PgConnection,
    checked: Instant,
}

impl Leadership {
    /// Tries to become the leader of the task called `name`. `None` if another node leads.
    pub async fn acquire(pool: &PgPool, name: &str) -> Result<Option<Self>> {
        let acquire = async {
            // Not a connection of the pool: the pool would miss it, and it must never be handed to another caller.
            let mut connection = pool.connect_options().connect().await?;
            connection.execute(FROZEN).await?;
            let acquired = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
            Ok::<_, sqlx::Error>((connection, acquired))
        };
        let acquired =
            tokio::time::timeout(PATIENCE, acquire).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let (connection, acquired) = acquired?;
        Ok(if acquired { Some(Self { connection, checked: Instant::now() }) } else { None })
    }

    /// Whether this node still leads, as of about a second ago.
    pub async fn is_held(&mut self) -> bool {
        if self.checked.elapsed() < CHECK_EVERY {
            return true;
        }
        self.checked = Instant::now();
        tokio::time::timeout(PATIENCE, self.connection.ping()).await.is_ok_and(|alive| alive.is_ok())
    }

    /// Lets another node lead at once. Closing the connection would too, but only after the server's process for it
    /// has ended.
    pub async fn release(mut self) {
        let released = async {
            sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.connection).await?;
            self.connection.close().await
        };
        let _ = tokio::time::timeout(PATIENCE, released).await;
    }
}
