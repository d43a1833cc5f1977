//! A read pool keyed by tenant: a connection that is scoped to the caller's tenant already is reused, and the statement
//! itself is the only round trip.
//!
//! A connection's tenant is known for certain, or the connection is closed. The tenant is noted only here, once
//! Postgres has confirmed it. Only single statements that read run over the connection, and none changes a setting. A
//! connection that was not given back, because its statement failed or its request was dropped halfway, is never used
//! again.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use futures::stream::BoxStream;
use parking_lot::{Mutex, MutexGuard};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, Postgres};
use tokio::time::{Instant, timeout};

use crate::page::bytes;
use crate::scope::Scope;
use crate::turns::{Turn, Turns};
use crate::{Error, EventLog, Result, database, scope};

/// How long a connection may have been idle and still be used without a ping.
const TRUSTED: Duration = Duration::from_secs(1);
/// How long an idle connection is kept.
const KEPT: Duration = Duration::from_mins(5);
/// How old a connection may get.
const LIFETIME: Duration = Duration::from_mins(30);
/// How long a read waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// One connection in so many is free for tenants other than the one that uses the rest.
const KEPT_FREE: u32 = 5;

/// The pool of connections for reads.
pub struct Readers {
    options: database::Options,
    /// In the order of their last use: the one used most recently is last.
    idle: Mutex<Vec<Kept>>,
    free: Turns,
}

struct Kept {
    connection: PgConnection,
    tenant: Arc<str>,
    opened_at: Instant,
    idle_since: Instant,
}

/// A connection that is scoped to one tenant, for one statement.
struct Reader {
    kept: Kept,
    _place: Turn,
}

impl Readers {
    pub(crate) fn new(options: database::Options) -> Self {
        let most = options.connections.max(2);
        let free = Turns::new(most, most - most.div_ceil(KEPT_FREE));
        Self { options, idle: Mutex::default(), free }
    }

    async fn reader(&self, tenant: &str) -> Result<Reader> {
        let place = timeout(PATIENCE, self.free.take(tenant, 1)).await;
        let place = place.map_err(|_| Error::from(sqlx::Error::PoolTimedOut))?;
        let mut kept = match self.alive(tenant).await {
            Some(kept) => kept,
            None => self.open().await?,
        };
        if &*kept.tenant != tenant {
            scope::give_to(&mut kept.connection, tenant).await?;
            kept.tenant = tenant.into();
        }
        Ok(Reader { kept, _place: place })
    }

    /// Keeps a connection whose statement succeeded for the next read.
    fn give_back(&self, Reader { mut kept, _place }: Reader) {
        kept.idle_since = Instant::now();
        self.idle().push(kept);
    }

    /// An idle connection that is still alive, preferably one that is scoped to the tenant already.
    async fn alive(&self, tenant: &str) -> Option<Kept> {
        while let Some(mut kept) = self.take(tenant) {
            if kept.idle_since.elapsed() < TRUSTED || kept.connection.ping().await.is_ok() {
                return Some(kept);
            }
        }
        None
    }

    fn take(&self, tenant: &str) -> Option<Kept> {
        let mut idle = self.idle();
        idle.retain(|kept| kept.idle_since.elapsed() < KEPT && kept.opened_at.elapsed() < LIFETIME);
        let own = idle.iter().rposition(|kept| &*kept.tenant == tenant);
        // Otherwise the connection that has been idle longest.
        own.or(if idle.is_empty() { None } else { Some(0) }).map(|at| idle.remove(at))
    }

    async fn open(&self) -> Result<Kept> {
        let mut connection = self.options.requests_connection().await?;
        // An empty tenant, which shows no rows.
        let tenant: Arc<str> = Arc::default();
        scope::give_to(&mut connection, &tenant).await?;
        let now = Instant::now();
        Ok(Kept { connection, tenant, opened_at: now, idle_since: now })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.idle.lock()
    }
}

impl<S: Scope> EventLog<S> {
    /// Runs one statement that only reads, and returns its rows.
    pub async fn fetch(&self, statement: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        let mut rows = Vec::new();
        let keep = |row| {
            self.scope.spend(bytes(&row))?;
            rows.push(row);
            Ok::<_, Error>(())
        };
        self.fetch_each(statement, keep).await?;
        Ok(rows)
    }

    /// Runs one statement that only reads, and passes its rows on as they arrive, so that memory need not hold them
    /// all. The first error ends it.
    pub async fn fetch_each<E: From<Error>>(
        &self,
        statement: Query<'_, Postgres, PgArguments>,
        each: impl FnMut(PgRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let (Some(readers), Some(tenant)) = (self.scope.readers(), self.scope.on_behalf_of()) else {
            let mut connection = self.connection().await?;
            return pass_on(statement.fetch(&mut *connection), each).await;
        };
        let mut reader = readers.reader(tenant.as_str()).await?;
        pass_on(statement.fetch(&mut reader.kept.connection), each).await?;
        readers.give_back(reader);
        Ok(())
    }
}

async fn pass_on<E: From<Error>>(
    mut rows: BoxStream<'_, sqlx::Result<PgRow>>,
    mut each: impl FnMut(PgRow) -> Result<(), E>,
) -> Result<(), E> {
    while let Some(row) = rows.try_next().await.map_err(Error::from)? {
        each(row)?;
    }
    Ok(())
}
