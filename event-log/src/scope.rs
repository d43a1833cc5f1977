//! For which tenant a task works: the second wall between tenants, below the conditions of the queries.
//!
//! Whoever has found out who is calling does the rest [`within`] that caller's tenant. Every connection of
//! [`EventLog::restricted`] is given to the tenant of the task that takes it, and Postgres shows it that tenant's rows
//! only. A task without a tenant sees none: what is forgotten here fails closed.

use std::sync::Arc;

use fleetlog_aggregates::identity::Tenant;
use sqlx::PgConnection;
use tokio::task::JoinHandle;

use crate::EventLog;
use crate::Result;
use crate::readers::Readers;

tokio::task_local! {
    static TENANT: Arc<str>;
}

/// Does something for a tenant.
pub async fn within<F: Future>(tenant: &Tenant, work: F) -> F::Output {
    TENANT.scope(tenant.as_str().into(), work).await
}

/// Spawns a task that works for the same tenant as this one.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    match TENANT.try_with(Arc::clone) {
        Ok(tenant) => tokio::spawn(TENANT.scope(tenant, work)),
        Err(_) => tokio::spawn(work),
    }
}

/// For which tenant this task works, if for one.
pub(crate) fn tenant() -> Option<Arc<str>> {
    TENANT.try_with(Arc::clone).ok()
}

/// Gives a connection to the tenant of this task. It takes the place of the ping that a pool sends before it hands a
/// connection out, and so costs no round trip of its own.
pub(crate) async fn give(connection: &mut PgConnection) -> sqlx::Result<()> {
    give_to(connection, &tenant().unwrap_or_default()).await
}

/// Gives a connection to a tenant.
pub(crate) async fn give_to(connection: &mut PgConnection, tenant: &str) -> sqlx::Result<()> {
    sqlx::query("SELECT set_config('fleetlog.tenant', $1, false)").bind(tenant).execute(connection).await?;
    Ok(())
}

impl EventLog {
    /// The same log, seen through connections that show one tenant's rows: that of the task which uses them.
    pub async fn restricted(&self) -> Result<Self> {
        let pool = self.inner.options.requests_pool().await?;
        let readers = Some(Arc::new(Readers::new(self.inner.options.clone())));
        Ok(Self { pool, groups: Arc::default(), readers, inner: Arc::clone(&self.inner) })
    }
}
