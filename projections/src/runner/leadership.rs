//! Who runs a projection: the node whose connection holds its advisory lock. Postgres lets go of it when that
//! connection ends, however the node did. Checkpoints keep the tables right even where two think they lead.

use std::time::{Duration, Instant};

use fleetlog_event_log::Result;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

/// How often the connection is asked whether it is still there.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The right to run a projection, until the connection is gone.
pub(super) struct Leadership {
    connection: PgConnection,
    checked: Instant,
}

impl Leadership {
    /// Tries to get it. `None` if another has it.
    pub(super) async fn acquire(pool: &PgPool, projection: &str, version: i32) -> Result<Option<Self>> {
        let acquire = async {
            // Not one of the pool's connections: it would be missing there, and must never be handed to anyone else.
            let mut connection = pool.connect_options().connect().await?;
            let acquired = sqlx::query_scalar("SELECT pg_try_advisory_lock(projection_lock($1, $2))")
                .bind(projection)
                .bind(version)
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
    pub(super) async fn is_held(&mut self) -> bool {
        if self.checked.elapsed() < CHECK_EVERY {
            return true;
        }
        self.checked = Instant::now();
        tokio::time::timeout(PATIENCE, self.connection.ping()).await.is_ok_and(|alive| alive.is_ok())
    }

    /// Lets another node have it at once. Closing alone would, too, but only once the server's process has ended.
    pub(super) async fn release(mut self) {
        let released = async {
            sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.connection).await?;
            self.connection.close().await
        };
        let _ = tokio::time::timeout(PATIENCE, released).await;
    }
}
