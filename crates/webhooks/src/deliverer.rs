//! One node runs the webhooks of all tenants: it starts, stops and starts anew what has changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::looks::Looks;
use fleetlog_event_log::{EventLog, LogId};
use futures::future::join_all;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::error::Error;
use crate::instruments;
use crate::line::Line;
use crate::secret::WebhookSecret;
use crate::service::{Shared, Webhooks};
use crate::standing;
use crate::webhook::Filter;

/// The name of the advisory lock that the node holds that sends.
const NAME: &str = "fleetlog webhooks";
/// How often each node asks for the right to send, or looks whether it still has it and whether webhooks have changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often webhooks are looked at although no control log has grown.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);
/// How often deliveries are looked through for those that are old enough to be forgotten.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// A webhook as it is sent to.
pub(crate) struct Hook {
    pub(crate) webhook_id: Uuid,
    pub(crate) tenant: Tenant,
    pub(crate) url: http::Uri,
    pub(crate) filter: Filter,
    pub(crate) max_batch: i32,
    pub(crate) version: i64,
    pub(crate) revision: i32,
    pub(crate) secret: WebhookSecret,
    pub(crate) previous: Option<(WebhookSecret, DateTime<Utc>)>,
}

impl Hook {
    /// What a request is signed with now.
    pub(crate) fn secrets(&self, now: DateTime<Utc>) -> Vec<WebhookSecret> {
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until);
        [&self.secret].into_iter().chain(previous.map(|(secret, _)| secret)).cloned().collect()
    }

    pub(crate) fn read(row: &PgRow, shared: &Shared) -> Result<Self, Error> {
        let webhook_id: Uuid = row.try_get("webhook_id")?;
        let unreadable = |what: &str| Error::Unreadable(webhook_id, what.to_owned());
        let (tenant, url): (&str, &str) = (row.try_get("tenant")?, row.try_get("url")?);
        let Json(filter) = row.try_get("follow")?;
        let open = |stored| shared.open_secret(webhook_id, stored);
        let previous: Option<Vec<u8>> = row.try_get("previous_secret")?;
        let previous = previous.map(open).transpose()?;
        Ok(Self {
            webhook_id,
            tenant: tenant.parse().map_err(|_| unreadable("its tenant is none"))?,
            url: url.parse().map_err(|_| unreadable("its URL is none"))?,
            filter,
            max_batch: row.try_get("max_batch")?,
            version: row.try_get("version")?,
            revision: row.try_get("revision")?,
            secret: open(row.try_get("secret")?)?,
            previous: previous.zip(row.try_get("previous_until")?),
        })
    }
}

/// What is read of a webhook to send to it.
pub(crate) const HOOK: &str =
    "webhook_id, tenant, url, follow, max_batch, version, revision, secret, previous_secret,
    previous_until";

/// A webhook that is being sent to. Dropping it ends that.
struct Running {
    version: i64,
    /// How far it has come in each log.
    places: Vec<(LogId, Arc<AtomicI64>)>,
    _stop: DropGuard,
}

/// Sends to webhooks, whenever this node has the right to.
pub struct Deliverer(Arc<Shared>);

impl Deliverer {
    /// Prepares sending to the webhooks of all tenants.
    #[must_use]
    pub fn new(webhooks: &Webhooks) -> Self {
        Self(webhooks.shared())
    }

    /// Sends until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut candidate = self.0.log.candidate(NAME, LOOK_EVERY);
        while let Some(leadership) = candidate.elected(&shutdown).await {
            tracing::info!("this node sends to webhooks");
            self.lead(leadership, &shutdown).await;
        }
    }

    async fn lead(&self, mut leadership: Leadership, shutdown: &CancellationToken) {
        let stop = shutdown.child_token();
        let mut round = Round::new(&self.0.log);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            if !leadership.is_held().await {
                tracing::warn!("this node no longer sends to webhooks");
                break;
            }
            if let Err(error) = round.look(&self.0, &leadership).await {
                tracing::warn!(%error, "failed to look for webhooks; trying again");
                round.looks.again();
            }
            round.measure(&self.0);
        }
        // A request that is cut off is sent again, by this node or another, under the same id.
        round.running.clear();
        round.tasks.shutdown().await;
        instruments::LAG.with([]).set(0.0);
        leadership.release().await;
    }
}

/// What this node sends to, for as long as it has the right to.
struct Round {
    running: HashMap<Uuid, Running>,
    tasks: JoinSet<Uuid>,
    /// Webhooks whose task was told to end and has not. None is started anew before: it has one request under way at a time.
    ending: HashSet<Uuid>,
    looks: Looks,
    forgot: Option<Instant>,
}

impl Round {
    fn new(log: &EventLog) -> Self {
        let (running, tasks, ending) = (HashMap::new(), JoinSet::new(), HashSet::new());
        Self { running, tasks, ending, looks: log.looks(AT_LEAST_EVERY), forgot: None }
    }

    /// Starts, stops and starts anew what has changed. Every change of a webhook is on a control log.
    async fn look(&mut self, shared: &Arc<Shared>, leadership: &Leadership) -> Result<(), Error> {
        while let Some(ended) = self.tasks.try_join_next() {
            self.looks.again();
            if let Ok(webhook_id) = ended {
                self.ending.remove(&webhook_id);
            } else {
                // A task that has panicked does not say whose it was: all start anew.
                self.running.clear();
                self.tasks.shutdown().await;
                self.ending.clear();
            }
        }
        if !self.looks.is_due() {
            return Ok(());
        }
        if self.forgot.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            shared.seal_all().await?;
            standing::forget(shared.log.pool()).await?;
            self.forgot = Some(Instant::now());
        }
        let rows = sqlx::query(
            "SELECT webhook_id, version, state FROM webhooks JOIN tenants USING (tenant)
             WHERE state <> 'paused' AND suspended_at IS NULL",
        );
        let (mut active, mut suspended) = (HashMap::new(), 0);
        for row in rows.fetch_all(shared.log.pool()).await? {
            if row.try_get::<&str, _>("state")? == "active" {
                active.insert(row.try_get("webhook_id")?, row.try_get("version")?);
            } else {
                suspended += 1;
            }
        }
        instruments::SUSPENDED.with([]).set(f64::from(suspended));
        for (webhook_id, _) in self.running.extract_if(|id, running| active.get(id) != Some(&running.version))
        {
            self.ending.insert(webhook_id);
        }
        let is_new = |id: &Uuid| !self.running.contains_key(id) && !self.ending.contains(id);
        let new: Vec<Uuid> = active.into_keys().filter(is_new).collect();
        if new.is_empty() { Ok(()) } else { self.start(shared, leadership, &new).await }
    }

    async fn start(
        &mut self,
        shared: &Arc<Shared>,
        leadership: &Leadership,
        new: &[Uuid],
    ) -> Result<(), Error> {
        let hooks = format!(
            "SELECT {HOOK}, array(SELECT log_id FROM webhook_places AS place
                 WHERE place.webhook_id = webhooks.webhook_id ORDER BY log_id) AS logs
             FROM webhooks WHERE webhook_id = ANY ($1) AND state = 'active'"
        );
        for row in sqlx::query(&hooks).bind(new).fetch_all(shared.log.pool()).await? {
            let (webhook_id, version) = (row.try_get("webhook_id")?, row.try_get("version")?);
            let logs: Vec<LogId> = row.try_get("logs")?;
            let place = |log_id| (log_id, Arc::new(AtomicI64::new(-1)));
            let places: Vec<_> = logs.into_iter().map(place).collect();
            let lines = match Hook::read(&row, shared) {
                Ok(hook) => lines(shared, leadership, &Arc::new(hook), &places),
                Err(error) => {
                    tracing::error!(%error, "a webhook is sent nothing until it is changed");
                    vec![]
                }
            };
            let stop = CancellationToken::new();
            self.running.insert(webhook_id, Running { version, places, _stop: stop.clone().drop_guard() });
            self.tasks.spawn(async move {
                let sending = async {
                    join_all(lines.into_iter().map(Line::run)).await;
                    std::future::pending::<()>().await;
                };
                stop.run_until_cancelled(sending).await;
                webhook_id
            });
        }
        Ok(())
    }

    /// Shows how far the slowest webhook is behind.
    fn measure(&self, shared: &Shared) {
        let heads = shared.log.heads().watch();
        let heads = heads.borrow();
        let behind =
            self.running.values().flat_map(|running| &running.places).filter_map(|(log_id, place)| {
                let place = place.load(Ordering::Relaxed);
                heads.get(log_id).filter(|_| place >= 0).map(|log| (log.head - place).max(0))
            });
        instruments::LAG.with([]).set(behind.max().unwrap_or(0) as f64);
    }
}

fn lines(
    shared: &Arc<Shared>,
    leadership: &Leadership,
    hook: &Arc<Hook>,
    places: &[(LogId, Arc<AtomicI64>)],
) -> Vec<Line> {
    let line = |(log_id, place): &(LogId, Arc<AtomicI64>)| Line {
        shared: Arc::clone(shared),
        hook: Arc::clone(hook),
        log_id: *log_id,
        lease: leadership.lease(),
        place: Arc::clone(place),
    };
    places.iter().map(line).collect()
}
