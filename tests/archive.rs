//! The archive: weeks that are over age leave the database, and what left it can be read, verified and brought back.

mod bucket;
mod crashes;
mod proof;
mod reads;
mod removal;
mod restore;
mod told;

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Utc};
use fleetlog_archive::{Archiver, Copies, Place};
use fleetlog_event_log::{EventLog, Lane, LogId};
use fleetlog_projections::{Options, Projections};
use fleetlog_proof::note::VerifierKey;
use fleetlog_proof::{Custody, Sequencer};
use sqlx::PgConnection;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{Database, log_of, until};

/// A database with readings of the past, and a directory for what leaves it.
struct Past {
    database: Database,
    log: EventLog,
    directory: TempDir,
    /// The default tenant's telemetry log.
    telemetry: LogId,
    /// The folder of the key that signs the proof.
    audit: TempDir,
}

/// Every stored column of every reading, as text, in order.
async fn rows(database: &Database) -> Vec<String> {
    let rows = "SELECT telemetry_events::text FROM telemetry_events ORDER BY log_id, position";
    sqlx::query_scalar(rows).fetch_all(&mut database.owner().await).await.expect("rows")
}

/// How many partitions have readings that can be older than a moment.
async fn partitions(database: &Database) -> i64 {
    let count = "SELECT count(*) FROM partitioned_weeks()";
    sqlx::query_scalar(count).fetch_one(&mut database.owner().await).await.expect("a count")
}

/// When the week began that was `weeks` weeks ago.
fn week(weeks: i64) -> DateTime<Utc> {
    let today = Utc::now().date_naive();
    let monday = today - TimeDelta::days(today.weekday().num_days_from_monday().into());
    monday.and_time(NaiveTime::MIN).and_utc() - TimeDelta::weeks(weeks)
}

/// Stores readings in a log as the database's owner: `count` in each of some weeks, and one now.
pub(crate) async fn store(
    owner: &mut PgConnection,
    log_id: LogId,
    weeks: impl IntoIterator<Item = i64>,
    count: i64,
) {
    for ago in weeks {
        sqlx::query("SELECT telemetry_events_make_partitions($1, $1)")
            .bind(week(ago))
            .execute(&mut *owner)
            .await
            .expect("a partition");
        // Payloads as devices write them: with spaces, escapes and any order, which must come back as they were.
        sqlx::query(
            r#"WITH numbered AS (SELECT head + n AS position, n FROM logs, generate_series(1, $3) AS n WHERE log_id = $1),
             stored AS (
                 INSERT INTO telemetry_events
                 SELECT $1, position, at - interval '1.234567 s' * (n % 7), at, (n % 4)::smallint,
                        (SELECT tenant FROM logs WHERE log_id = $1) || '/dev-0' || n % 3, 'm' || position,
                        format('{ "b":%s,"a" : "\u00e4\n", "t":%s.50}', n, n % 40)::json
                 FROM numbered CROSS JOIN LATERAL (SELECT $2 + interval '6 days' * n / $3 AS at) AS moments
                 RETURNING position)
             UPDATE logs SET head = (SELECT max(position) FROM stored) WHERE log_id = $1"#,
        )
        .bind(log_id)
        .bind(week(ago))
        .bind(count)
        .execute(&mut *owner)
        .await
        .expect("readings");
    }
}

pub(crate) async fn keep(owner: &mut PgConnection, tenant: &str, days: Option<i32>) {
    let keep =
        sqlx::query("UPDATE tenants SET retention_days = $2 WHERE tenant = $1").bind(tenant).bind(days);
    keep.execute(owner).await.expect("kept");
}

impl Past {
    /// `count` readings of the default tenant in each of some weeks.
    async fn of(weeks: impl IntoIterator<Item = i64>, count: i64) -> Self {
        let past = Self::of_unproved(weeks, count).await;
        past.prove().await;
        past
    }

    /// As [`Past::of`], with a proof that nobody has signed.
    async fn unsigned(weeks: impl IntoIterator<Item = i64>, count: i64) -> Self {
        let past = Self::of_unproved(weeks, count).await;
        past.prove_with(None, "(SELECT size FROM audit_trees AS tree WHERE tree.log_id = logs.log_id)").await;
        past
    }

    async fn of_unproved(weeks: impl IntoIterator<Item = i64>, count: i64) -> Self {
        let database = Database::fresh().await;
        let mut log = database.event_log().await;
        let telemetry = log_of(&log, Lane::Telemetry);
        store(&mut database.owner().await, telemetry, weeks, count).await;
        // A log of its own, which knows the heads from the start.
        log = database.event_log().await;
        log.read_archives(std::sync::Arc::new(Copies::new(None)));
        let [directory, audit] = [(), ()].map(|()| tempfile::tempdir().expect("a directory"));
        Self { database, log, directory, telemetry, audit }
    }

    /// Lets the sequencer prove and sign everything: nothing is removed before.
    async fn prove(&self) {
        let custody = Custody::open_or_create(self.audit.path()).expect("a key");
        let signed = "(SELECT max(size) FROM audit_checkpoints AS signed
                       WHERE signed.log_id = logs.log_id AND note IS NOT NULL)";
        self.prove_with(Some(custody), signed).await;
    }

    /// Lets the sequencer run until it has reached every log's head.
    async fn prove_with(&self, custody: Option<Custody>, reached: &str) {
        let stop = CancellationToken::new();
        let proving = tokio::spawn(Sequencer::new(self.log.clone(), custody).run(stop.clone()));
        let unproved = format!("SELECT count(*) FROM logs WHERE head > 0 AND coalesce({reached}, 0) < head");
        until("everything is proved", async || {
            let unproved: i64 =
                sqlx::query_scalar(&unproved).fetch_one(self.log.pool()).await.expect("a count");
            unproved == 0
        })
        .await;
        stop.cancel();
        proving.await.expect("stopped");
    }

    /// Folds everything, as a service does before it looks for weeks that are over: what is not folded is not removed.
    async fn fold(&self) {
        let projections = Projections::new(self.log.clone(), Options::default());
        let (handle, stop) = (projections.handle(), CancellationToken::new());
        let running = tokio::spawn(projections.run(stop.clone()));
        handle.catch_up(Duration::from_secs(20)).await.expect("caught up");
        stop.cancel();
        running.await.expect("ended").expect("stopped");
    }

    async fn keep(&self, days: Option<i32>) {
        keep(&mut self.database.owner().await, "t0", days).await;
    }

    /// The keys that have signed.
    async fn keys(&self) -> Vec<VerifierKey> {
        fleetlog_proof::read::keys(&self.log).await.expect("keys")
    }

    fn archiver(&self) -> Archiver {
        Archiver::new(self.log.clone(), Place::Directory(self.directory.path().to_owned()))
    }

    /// Removes what is over, and returns how many weeks that were.
    async fn remove(&self) -> usize {
        self.archiver().remove_due(&CancellationToken::new()).await.expect("removed").len()
    }
}
