//! The example of `docs/HOWTO.md`, *A read model*: `fevers`, built by its checklist. A reading whose `temperature` is above
//! 80 is a fever of its device; the next one that is not ends it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::metrics;
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, EventLog, Lane, LogId, Result, TenantLog};
use fleetlog_projections::read_model::{Poison, ReadModel, Rows};
use fleetlog_projections::{Options, Projections};
use sqlx::{Executor, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, append, reading};
use crate::support::{Database, t0};

/// Step 1, the migration.
const MIGRATION: &str = "
    CREATE TABLE fevers_v1 (
        log_id int NOT NULL,
        device text NOT NULL,
        raised boolean NOT NULL,
        since timestamptz NOT NULL,
        CONSTRAINT fevers_v1_key PRIMARY KEY (log_id, device)
    );
    SELECT open_read_model('fevers_v1', 'fevers');";

/// Above this many degrees Celsius a device has a fever.
const TOO_HOT: f64 = 80.0;

/// Step 2, the fold: the last word on each device of a page, by the time of its reading.
#[derive(Debug, Default, PartialEq)]
struct Fold(BTreeMap<String, (bool, DateTime<Utc>)>);

/// Step 2, the read model.
struct Fevers {
    version: i32,
}

impl ReadModel for Fevers {
    const NAME: &'static str = "fevers";
    const FORMAT: i32 = 1;
    const TABLES: &'static [&'static str] = &["fevers"];
    const LANES: &'static [Lane] = &[Lane::Telemetry];
    const DIVISIBLE: bool = true;
    type Fold = Fold;

    fn new(version: i32) -> Self {
        Self { version }
    }

    fn compared() -> Vec<Rows> {
        vec![Rows {
            name: "fevers",
            key: &["log_id", "device"],
            values: &["raised", "since"],
            sums: &[],
            positions: &[],
            stored: |version| format!("SELECT * FROM fevers_v{version} WHERE range_of(device, $2) = $1"),
            from_log: None,
        }]
    }

    fn fold(Fold(devices): &mut Fold, event: &Event, _: &Sources) -> Result<(), Poison> {
        let mut temperature = None;
        let scanned = metrics::of_reading(event.flags(), &event.payload.0, |name, value| {
            if name == "temperature" {
                temperature = Some(value);
            }
        });
        if let (Ok(_), Some(temperature)) = (scanned, temperature) {
            let last = devices.entry(event.aggregate_id.clone()).or_insert((false, DateTime::<Utc>::MIN_UTC));
            if event.occurred_at >= last.1 {
                *last = (temperature > TOO_HOT, event.occurred_at);
            }
        }
        Ok(())
    }

    fn size(Fold(devices): &Fold) -> usize {
        devices.len() * 100
    }

    async fn write(
        &mut self,
        connection: &mut PgConnection,
        log_id: LogId,
        Fold(devices): Fold,
    ) -> Result<()> {
        let (raised, since): (Vec<_>, Vec<_>) = devices.values().copied().unzip();
        sqlx::query(&format!(
            "INSERT INTO fevers_v{} AS fever (log_id, device, raised, since)
             SELECT $1, * FROM unnest($2::text[], $3::boolean[], $4::timestamptz[])
             ON CONFLICT (log_id, device) DO UPDATE
             SET raised = excluded.raised, since = excluded.since WHERE fever.since <= excluded.since",
            self.version
        ))
        .bind(log_id)
        .bind(devices.keys().map(String::as_str).collect::<Vec<_>>())
        .bind(raised)
        .bind(since)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Step 2, the query: the devices that have a fever, by name.
async fn raised(log: &TenantLog) -> Result<Vec<String>> {
    let devices = sqlx::query_scalar("SELECT device FROM fevers WHERE raised ORDER BY device");
    Ok(devices.fetch_all(&mut *log.connection().await?).await?)
}

/// Step 4, the same from the log, in SQL that shares nothing with the fold.
async fn raised_in_the_log(log: &EventLog) -> Vec<String> {
    let last = "SELECT aggregate_id FROM (
            SELECT DISTINCT ON (aggregate_id) aggregate_id, payload->>'temperature' AS temperature
            FROM telemetry_events WHERE payload->>'temperature' IS NOT NULL
            ORDER BY aggregate_id, occurred_at DESC, position DESC) AS last
        WHERE temperature::float > 80 ORDER BY aggregate_id";
    sqlx::query_scalar(last).fetch_all(log.pool()).await.expect("folded")
}

#[tokio::test]
async fn a_new_read_model_follows_the_log_and_shows_each_tenant_its_own_rows() {
    let database = Database::fresh().await;
    let mut owner = database.owner().await;
    owner.execute(MIGRATION).await.expect("migrated");
    let log = database.event_log().await;
    let before = Utc::now() - TimeDelta::minutes(10);
    let hot_then_cold = |id, minutes, degrees: f64| {
        let at = before + TimeDelta::minutes(minutes);
        reading("dev-01", id, at, &format!(r#""temperature":{degrees}"#))
    };
    append(&log, vec![hot_then_cold(1, 0, 95.5), hot_then_cold(2, 1, 20.0)]).await;
    append(&log, vec![reading("dev-02", 1, before, r#""temperature":81"#)]).await;

    let projections = Projections::none(log.clone(), Options::default()).with::<Fevers>();
    let (handle, stop) = (projections.handle(), CancellationToken::new());
    let running = tokio::spawn(projections.run(stop.clone()));
    handle.catch_up(PATIENCE).await.expect("caught up");
    assert_eq!(raised(&t0(&log)).await.expect("read"), ["t0/dev-02"]);

    // What is late does not undo what is newer.
    append(&log, vec![hot_then_cold(3, 0, 99.0), reading("dev-03", 1, before, r#""temperature":90"#)]).await;
    handle.catch_up(PATIENCE).await.expect("caught up");
    assert_eq!(raised(&t0(&log)).await.expect("read"), ["t0/dev-02", "t0/dev-03"]);
    assert_eq!(raised(&t0(&log)).await.expect("read"), raised_in_the_log(&log).await);

    let stranger = log.for_tenant(&"t1".parse().expect("a tenant"));
    assert!(raised(&stranger).await.expect("read").is_empty());
    stop.cancel();
    running.await.expect("joined").expect("ran");
}
