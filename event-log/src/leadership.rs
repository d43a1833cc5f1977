//! Who does what only one node may do: the node whose connection holds its advisory lock. Postgres lets go of it when
//! that connection ends, however the node did, and ends the connection of a node that has been frozen. What is led must
//! be right even where two think for a moment that they lead.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool};

use crate::Result;

/// How often the connection is asked whether it is still there.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a node may be silent before Postgres ends its connection. PostgreSQL 14 and later.
const FROZEN: &str = "SET idle_session_timeout = '60s'";

/// The right to do something alone, until the connection is gone.
pub struct Leadership {
    connection: PgConnection,
    checked: Instant,
}

impl Leadership {
    /// Tries to get the right to do what is called `name`. `None` if another has it.
    pub async fn acquire(pool: &PgPool, name: &str) -> Result<Option<Self>> {
        let acquire = async {
            // Not one of the pool's connections: it would be missing there, and must never be handed to anyone else.
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

    /// Whether it is still held, as of about a second ago.
    pub async fn is_held(&mut self) -> bool {
        if self.checked.elapsed() < CHECK_EVERY {
            return true;
        }
        self.checked = Instant::now();
        tokio::time::timeout(PATIENCE, self.connection.ping()).await.is_ok_and(|alive| alive.is_ok())
    }

    /// Lets another node have it at once. Closing alone would, too, but only once the server's process has ended.
    pub async fn release(mut self) {
        let released = async {
            sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.connection).await?;
            self.connection.close().await
        };
        let _ = tokio::time::timeout(PATIENCE, released).await;
    }
}
