//! Which tenants' rows a handle on the log shows: the second wall between tenants, below the conditions of the
//! queries.
//!
//! [`AllTenants`] acts as the service. [`OneTenant`] acts as a role to which Postgres's row-level security shows one
//! tenant's rows only, and scopes each connection to its tenant before using it. The two are separate types, so a
//! function that takes a [`TenantLog`](crate::TenantLog) cannot be given the log of all tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleetlog_aggregates::identity::Tenant;
use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::page::ANSWER_BYTES;
use crate::readers::Readers;
use crate::{Error, Result, database};

/// How a handle's statements reach the database.
///
/// The trait is sealed: [`AllTenants`] and [`OneTenant`] are its only implementations.
pub trait Scope: sealed::Sealed + Clone + Send + Sync + 'static {
    /// A connection that shows the rows of this scope.
    fn connection(&self) -> BoxFuture<'_, Result<PoolConnection<Postgres>>>;

    /// A transaction that shows the rows of this scope.
    fn begin(&self) -> BoxFuture<'_, Result<Transaction<'static, Postgres>>>;

    /// The tenant on whose behalf events are appended, if any. Appends of two tenants never share a connection.
    fn on_behalf_of(&self) -> Option<&Tenant>;

    /// Counts bytes of rows that an answer is made of. Fails with [`Error::TooLarge`] where they are too many.
    fn spend(&self, bytes: usize) -> Result<()>;
}

mod sealed {
    use crate::readers::Readers;

    pub trait Sealed {
        /// The read pool, if this scope has one.
        fn readers(&self) -> Option<&Readers>;
    }

    impl Sealed for super::AllTenants {
        fn readers(&self) -> Option<&Readers> {
            None
        }
    }

    impl Sealed for super::OneTenant {
        fn readers(&self) -> Option<&Readers> {
            Some(&self.requests.readers)
        }
    }
}

/// Every tenant's rows, as the service.
#[derive(Clone)]
pub struct AllTenants {
    pub(crate) pool: PgPool,
}

impl Scope for AllTenants {
    fn connection(&self) -> BoxFuture<'_, Result<PoolConnection<Postgres>>> {
        Box::pin(async { Ok(self.pool.acquire().await?) })
    }

    fn begin(&self) -> BoxFuture<'_, Result<Transaction<'static, Postgres>>> {
        Box::pin(async { Ok(self.pool.begin().await?) })
    }

    fn on_behalf_of(&self) -> Option<&Tenant> {
        None
    }

    fn spend(&self, _: usize) -> Result<()> {
        Ok(())
    }
}

/// One tenant's rows, as a role that row-level security restricts to them. A handle and its clones serve one request: its
/// answer is made of [`ANSWER_BYTES`] of rows at most.
#[derive(Clone)]
pub struct OneTenant {
    tenant: Tenant,
    requests: Arc<Requests>,
    /// How many bytes of rows this handle and its clones have read for their answer.
    spent: Arc<AtomicUsize>,
}

/// The connections for all tenants' requests. They connect when they are first needed.
pub(crate) struct Requests {
    pool: PgPool,
    readers: Readers,
}

impl Requests {
    pub(crate) fn new(options: &database::Options) -> Self {
        Self { pool: options.requests_pool(), readers: Readers::new(options.clone()) }
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Runs `attempt` over a connection of the pool, and again if the connection turns out to be dead: the attempt's
    /// first statement takes the place of the ping that a pool sends before it hands a connection out.
    async fn alive<'a, T>(&'a self, attempt: impl Fn() -> BoxFuture<'a, sqlx::Result<T>>) -> Result<T> {
        let mut left = self.pool.size();
        loop {
            match attempt().await.map_err(Error::from) {
                Err(Error::Unavailable(error))
                    if left > 0 && matches!(*error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) =>
                {
                    left -= 1;
                }
                done => return done,
            }
        }
    }
}

impl OneTenant {
    pub(crate) fn new(tenant: Tenant, requests: Arc<Requests>) -> Self {
        Self { tenant, requests, spent: Arc::default() }
    }

    /// Another answer begins, for all clones of this handle.
    pub(crate) fn begin_answer(&self) {
        self.spent.store(0, Ordering::Relaxed);
    }

    /// The same tenant's rows, for another answer.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.tenant.clone(), Arc::clone(&self.requests))
    }

    pub(crate) fn tenant(&self) -> &Tenant {
        &self.tenant
    }
}

impl Scope for OneTenant {
    fn connection(&self) -> BoxFuture<'_, Result<PoolConnection<Postgres>>> {
        Box::pin(self.requests.alive(|| {
            Box::pin(async {
                let mut connection = self.requests.pool.acquire().await?;
                give_to(&mut connection, self.tenant.as_str()).await?;
                Ok(connection)
            })
        }))
    }

    fn begin(&self) -> BoxFuture<'_, Result<Transaction<'static, Postgres>>> {
        Box::pin(self.requests.alive(|| {
            Box::pin(async {
                let mut transaction = self.requests.pool.begin().await?;
                give_to(&mut transaction, self.tenant.as_str()).await?;
                Ok(transaction)
            })
        }))
    }

    fn on_behalf_of(&self) -> Option<&Tenant> {
        Some(&self.tenant)
    }

    fn spend(&self, bytes: usize) -> Result<()> {
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if spent > ANSWER_BYTES { Err(Error::TooLarge) } else { Ok(()) }
    }
}

/// Scopes a connection to a tenant, until it is scoped to another.
pub(crate) async fn give_to(connection: &mut PgConnection, tenant: &str) -> sqlx::Result<()> {
    sqlx::query("SELECT set_config('fleetlog.tenant', $1, false)").bind(tenant).execute(connection).await?;
    Ok(())
}
