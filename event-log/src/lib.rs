//! The log on Postgres: append one event or a batch, read a range, follow from a position.
//!
//! An append takes its positions from the log's own row and holds that row's lock until it commits. Positions are
//! therefore gapless and become visible in their own order: a reader that has seen position `n` has seen everything
//! up to `n`, for ever. The modules, in the order in which data flows through them:
//!
//! - [`database`]: connections, migration, and the durability that everything else assumes
//! - `migrations`: the files that make the schema
//! - [`event`]: the types that reads return
//! - `sql`: how the types of this crate are bound and read
//! - [`moment`]: times as text, and to the microsecond
//! - [`place`]: the place of an event as text
//! - [`since_boot`]: a clock that goes on while the machine sleeps
//! - [`clock`]: the time, by Postgres's clock
//! - [`heads`]: the logs and their heads; wakes the followers of a log
//! - [`notices`]: what one node tells all others
//! - `metadata`: who caused a control event, and what it follows from
//! - [`control`]: append single events, through cqrs-es
//! - `group`: appends that wait at the same time, in one transaction
//! - [`telemetry`]: append batches of readings, each once
//! - [`quarantine`]: keep messages that could not become events
//! - [`page`]: some rows of a list, bounded in number and in bytes
//! - [`damage`]: events that cannot be read, because a page of a file is damaged
//! - [`read`]: ranges and streams of events
//! - [`archived`]: readings that were removed, and where their copies lie
//! - [`as_of`]: how far a tenant's logs went at a moment of the past
//! - [`scope`]: which tenants' rows a handle shows: all, or one tenant's
//! - `readers`: the read pool, whose connections are kept for a tenant
//! - [`record`]: change other tables and append the events that report it, in one transaction
//! - [`terms`]: each tenant's suspension and limits
//! - [`sources`]: what each tenant's sources say
//! - [`turns`]: how much each tenant may do at once
//! - `upkeep`: reads heads and terms again, both in one statement
//! - [`leadership`]: tasks that only one node at a time may do
//! - [`looks`]: when to look for work that is announced on control logs
//! - [`health`]: whether the parts of this process work
//! - `probes`: tries what failed again, until it works
//! - [`follow`]: follow a log from a position, for as long as it grows
//! - [`backoff`]: the waits between retries
//! - [`instrument`]: the process's metrics
//! - [`crash`]: points at which a test kills the process
//!
//! Only this crate writes `control_events`, `telemetry_events` and `logs`.

pub mod archived;
pub mod as_of;
pub mod backoff;
pub mod clock;
pub mod control;
pub mod crash;
pub mod damage;
pub mod database;
pub mod event;
pub mod follow;
mod group;
pub mod heads;
pub mod health;
pub mod instrument;
pub mod leadership;
pub mod looks;
mod metadata;
mod migrations;
pub mod moment;
pub mod notices;
pub mod page;
pub mod place;
mod probes;
pub mod quarantine;
pub mod read;
mod readers;
pub mod record;
pub mod scope;
pub mod since_boot;
pub mod sources;
mod sql;
pub mod telemetry;
pub mod terms;
pub mod turns;
mod upkeep;

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::{StreamId, Tenant};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio_util::sync::CancellationToken;

use health::parts;

pub use database::{Error, Result};
pub use event::{Corrupt, Event, Lane, Log, LogId, Position};
pub use scope::{AllTenants, OneTenant, Scope};

/// A handle on the logs of all tenants, or of one: `S` says which. Cheap to clone.
#[derive(Clone)]
pub struct EventLog<S = AllTenants> {
    /// For single events, reads, and everything else that is not a telemetry batch.
    scope: S,
    inner: Arc<Inner>,
}

/// One tenant's log, through which callers' requests read and write. Row-level security restricts it to that tenant.
pub type TenantLog = EventLog<OneTenant>;

struct Inner {
    options: database::Options,
    /// For telemetry batches: sessions whose plans are pinned.
    append_pool: PgPool,
    /// For callers' requests.
    requests: Arc<scope::Requests>,
    /// Single events that wait for their turn.
    groups: group::Groups,
    clock: clock::Clock,
    heads: heads::Heads,
    notices: notices::Notices,
    terms: terms::AllTerms,
    sources: sources::AllSources,
    partitions: telemetry::Partitions,
    recent: telemetry::Recent,
    rivals: leadership::Rivals,
    health: health::Health,
    /// Whether events can be stored, which the appends report.
    appends: health::Part,
    /// Whether the log can be read, and where the last read failed.
    reads: probes::Reads,
    /// Where events that were removed are read.
    archives: OnceLock<Arc<dyn archived::Archives>>,
}

impl EventLog {
    /// Opens the log of a migrated database: checks that it is durable, makes the partitions that are due, and reads
    /// the heads. [`EventLog::run`] keeps partitions and heads up to date.
    pub async fn open(options: database::Options) -> Result<Self> {
        let pool = options.service_pool().await?;
        database::check_durability(&pool).await?;
        let clock = clock::Clock::of(&pool).await?;
        let heads = heads::Heads::load(&pool).await?;
        let terms = terms::AllTerms::load(&pool).await?;
        let partitions = telemetry::Partitions::prepare(&pool).await?;
        Ok(Self::new(options, pool, (clock, heads, terms), partitions))
    }

    /// Opens the log for reading only: the database refuses every write over these connections. It may be a copy or a
    /// standby, whose settings would not do for appending. The heads stay as they are now.
    pub async fn open_to_read(options: database::Options) -> Result<Self> {
        let pool = options.reading_pool().await?;
        let clock = clock::Clock::of(&pool).await?;
        let heads = heads::Heads::load(&pool).await?;
        let (terms, partitions) = (terms::AllTerms::default(), telemetry::Partitions::none());
        Ok(Self::new(options, pool, (clock, heads, terms), partitions))
    }

    fn new(
        options: database::Options,
        pool: PgPool,
        (clock, heads, terms): (clock::Clock, heads::Heads, terms::AllTerms),
        partitions: telemetry::Partitions,
    ) -> Self {
        // The append pool connects when it is first needed.
        let (append_pool, recent) = (options.append_pool(), telemetry::Recent::new());
        let (requests, groups) = (Arc::new(scope::Requests::new(&options)), group::Groups::default());
        let (rivals, health) = (leadership::Rivals::default(), health::Health::default());
        let (appends, reads) = (health.part(parts::APPENDS, health::UNSTORED), probes::Reads::new(&health));
        let inner = Inner {
            options,
            append_pool,
            requests,
            groups,
            clock,
            heads,
            notices: notices::Notices::default(),
            terms,
            sources: sources::AllSources::default(),
            partitions,
            recent,
            rivals,
            health,
            appends,
            reads,
            archives: OnceLock::new(),
        };
        Self { scope: AllTenants { pool }, inner: Arc::new(inner) }
    }

    /// Keeps the heads, the terms and the partitions up to date until `shutdown`. Needed once per process; without
    /// it, followers see only what this process appends.
    pub async fn run(&self, shutdown: CancellationToken) {
        let (informed, tell) = (self.keep_informed(), self.inner.heads.tell(self.pool()));
        let part = self.health().part(parts::LOG, std::time::Duration::MAX);
        let upkeep = async {
            tokio::join!(informed, tell, self.keep_partitions(), self.keep_probing(), self.check_ends(&part))
        };
        let _ = shutdown.run_until_cancelled(upkeep).await;
    }

    /// Closes all connections, once they are idle.
    pub async fn close(&self) {
        tokio::join!(self.inner.append_pool.close(), self.inner.requests.close(), self.scope.pool.close());
    }

    /// The service's connections, for the tables that are not the log.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.scope.pool
    }

    /// One tenant's log.
    #[must_use]
    pub fn for_tenant(&self, tenant: &Tenant) -> TenantLog {
        let scope = OneTenant::new(tenant.clone(), Arc::clone(&self.inner.requests));
        EventLog { scope, inner: Arc::clone(&self.inner) }
    }

    /// A connection of the caller's own, outside every pool.
    pub async fn own_connection(&self) -> Result<sqlx::PgConnection> {
        self.inner.options.service_connection().await
    }
}

impl TenantLog {
    /// The tenant whose log it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        self.scope.tenant()
    }

    /// A handle for another answer, which may be made of as many rows as this one's.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { scope: self.scope.anew(), inner: Arc::clone(&self.inner) }
    }

    /// Another answer begins, which may be made of as many rows as the last one: for whoever is given answers again and again. It
    /// holds for all clones of this handle.
    pub fn begin_answer(&self) {
        self.scope.begin_answer();
    }

    /// The id of one of the tenant's control streams.
    #[must_use]
    pub fn stream(&self, id: impl ToString) -> StreamId {
        StreamId::new(self.tenant(), id)
    }

    /// The tenant's log in a lane. `None` if this process does not know the tenant yet.
    #[must_use]
    pub fn log_in(&self, lane: Lane) -> Option<LogId> {
        self.heads().of(self.tenant().as_str(), lane)
    }
}

impl<S: Scope> EventLog<S> {
    /// A connection from a pool, which shows the rows that this handle shows.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>> {
        self.scope.connection().await
    }

    /// The time, by Postgres's clock: for every moment that is stored, or compared with a stored one.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.clock.now()
    }

    /// The clock of [`EventLog::now`], for those who need nothing else of the log.
    #[must_use]
    pub fn clock(&self) -> &clock::Clock {
        &self.inner.clock
    }

    /// Each tenant's terms, as far as this process knows them.
    #[must_use]
    pub fn terms(&self) -> &terms::AllTerms {
        &self.inner.terms
    }

    /// Whether the parts of this process work.
    #[must_use]
    pub fn health(&self) -> &health::Health {
        &self.inner.health
    }

    /// The logs and their heads, as far as this process knows them.
    #[must_use]
    pub fn heads(&self) -> &heads::Heads {
        &self.inner.heads
    }
}
