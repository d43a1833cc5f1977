//! The machine's own ceiling: COPY of the same rows into the same table, with its indexes, durable.

use std::fmt::Write;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use fleetlog_event_log::{EventLog, Lane, database};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::load::Load;

/// Rows in one COPY, and so in one transaction: a batch of the largest size, so that neither side pays for more
/// flushes to the disk than it must.
const ROWS: u64 = 10_000;

/// Copies the load's rows and returns how long it took.
pub async fn copy(connect: PgConnectOptions, load: Load) -> anyhow::Result<Duration> {
    let database = database::Options::new(connect.clone());
    database.migrate().await?;
    // COPY FROM is refused to a role that row-level security applies to.
    let mut owner = connect.connect().await?;
    let log = EventLog::open(database).await?;
    let log_id = log.heads().of("t0", Lane::Telemetry).ok_or_else(|| anyhow::anyhow!("no log for t0"))?;
    let mut taken = Duration::ZERO;
    let mut position = 0;
    while position < load.messages() {
        let mut rows = String::new();
        for _ in 0..ROWS.min(load.messages() - position) {
            // The order in which a fleet's messages arrive: one of each device, then the next of each.
            let (device, number) =
                ((position % u64::from(load.devices)) as u32, position / u64::from(load.devices));
            position += 1;
            let (now, uid) = (Utc::now(), Load::uid(device));
            let payload = Load::payload(device, number, now.timestamp_millis());
            let now = now.to_rfc3339_opts(SecondsFormat::Micros, true);
            writeln!(rows, "{log_id}\t{position}\t{now}\t{now}\t0\tt0/{uid}\t{device}-{number}\t{payload}")?;
        }
        let started = Instant::now();
        let mut copy = owner
            .copy_in_raw(
                "COPY telemetry_events (log_id, position, occurred_at, recorded_at, flags, aggregate_id, msg_id, payload)
                 FROM STDIN",
            )
            .await?;
        copy.send(rows.into_bytes()).await?;
        copy.finish().await?;
        taken += started.elapsed();
    }
    log.close().await;
    Ok(taken)
}
