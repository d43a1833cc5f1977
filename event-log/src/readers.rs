//! A read pool keyed by tenant: a connection that is scoped to the caller's tenant already is reused, and the statement
//! itself is the only round trip.
//!
//! Which tenant a connection is scoped to is known for certain, or the connection is closed. It is noted only here, when
//! Postgres has said so; what runs over it are single statements that read, of which none changes a setting; and one that
//! was not given back, because its statement failed or its request was dropped halfway, is never used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::scope::Scope;
use crate::{Error, EventLog, Result, database, scope};

/// How long a connection may have been idle without a look whether it is still there.
const TRUSTED: Duration = Duration::from_secs(1);
/// How long one is kept that nobody needs.
const KEPT: Duration = Duration::from_mins(5);
/// How long one is used at all.
const LIFETIME: Duration = Duration::from_mins(30);
/// How long a read waits for one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The connections.
pub struct Readers {
    options: database::Options,
    /// The last one used is the last.
    idle: Mutex<Vec<Kept>>,
    free: Arc<Semaphore>,
}

struct Kept {
    connection: PgConnection,
    tenant: Arc<str>,
    opened_at: Instant,
    idle_since: Instant,
}

/// A connection that shows one tenant's rows, for one statement.
struct Reader {
    kept: Kept,
    _place: OwnedSemaphorePermit,
}

impl Readers {
    pub(crate) fn new(options: database::Options) -> Self {
        let free = Arc::new(Semaphore::new(options.connections.max(2) as usize));
        Self { options, idle: Mutex::default(), free }
    }

    async fn reader(&self, tenant: &str) -> Result<Reader> {
        let place = timeout(PATIENCE, Arc::clone(&self.free).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Error::Unavailable(sqlx::Error::PoolTimedOut)) };
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

    /// Keeps a connection whose statement has gone well, for the next one.
    fn give_back(&self, Reader { mut kept, _place }: Reader) {
        kept.idle_since = Instant::now();
        self.idle().push(kept);
    }

    /// One that is still there: the tenant's, if there is one.
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
        // Of the others' the one that has not been used for longest.
        own.or(if idle.is_empty() { None } else { Some(0) }).map(|at| idle.remove(at))
    }

    async fn open(&self) -> Result<Kept> {
        let mut connection = self.options.requests_connection().await?;
        // Nobody's, which shows nothing.
        let tenant: Arc<str> = Arc::default();
        scope::give_to(&mut connection, &tenant).await?;
        let now = Instant::now();
        Ok(Kept { connection, tenant, opened_at: now, idle_since: now })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Scope> EventLog<S> {
    /// The rows of one statement that reads, and does nothing else.
    pub async fn fetch(&self, statement: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        let mut rows = Vec::new();
        let keep = |row| {
            rows.push(row);
            Ok::<_, Error>(())
        };
        self.fetch_each(statement, keep).await?;
        Ok(rows)
    }

    /// Passes on the rows of such a statement as they come, so that they need not all be held. The first error ends it.
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
