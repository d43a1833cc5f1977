//! A read model of your own, outside fleetlog: the highest temperature of each device on each day of UTC.
//!
//! ```sh
//! cargo run --example daily_peaks -- postgres://user:password@host/fleetlog --read-only    # prints CSV, writes nothing
//! cargo run --example daily_peaks -- postgres://user:password@host/fleetlog                # keeps a table up to date
//! ```

use std::collections::BTreeMap;
use std::io::{Write, stdout};

use anyhow::Context;
use chrono::NaiveDate;
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, EventLog, Lane, LogId, database};
use fleetlog_projections::read_model::{Poison, ReadModel, Rows};
use fleetlog_projections::{Options, Projections, fold};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection};
use tokio_util::sync::CancellationToken;

/// The table of version 1, and the view that readers use.
pub const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS daily_peaks_v1 (
        log_id int NOT NULL, device text NOT NULL, day date NOT NULL, peak double precision NOT NULL,
        PRIMARY KEY (log_id, device, day)
    );
    DO $$ BEGIN
        IF to_regclass('daily_peaks') IS NULL THEN PERFORM open_read_model('daily_peaks_v1', 'daily_peaks'); END IF;
    END $$;";

/// What some events add up to: the peak of each device on each day.
pub type Peaks = BTreeMap<(String, NaiveDate), f64>;

/// The read model.
pub struct DailyPeaks {
    version: i32,
}

impl ReadModel for DailyPeaks {
    const NAME: &'static str = "daily_peaks";
    const FORMAT: i32 = 1;
    const TABLES: &'static [&'static str] = &["daily_peaks"];
    const LANES: &'static [Lane] = &[Lane::Telemetry];
    const DIVISIBLE: bool = true;
    type Fold = Peaks;

    fn new(version: i32) -> Self {
        Self { version }
    }

    fn compared() -> Vec<Rows> {
        vec![Rows {
            name: "daily_peaks",
            key: &["log_id", "device", "day"],
            values: &["peak"],
            sums: &[],
            positions: &[],
            stored: |version| format!("SELECT * FROM daily_peaks_v{version} WHERE range_of(device, $2) = $1"),
            from_log: None,
        }]
    }

    fn fold(peaks: &mut Peaks, event: &Event, sources: &Sources) -> Result<(), Poison> {
        let key = (event.aggregate_id.clone(), event.occurred_at.date_naive());
        let measured = sources.metrics(event.flags(), &event.payload.0, |metric, value| {
            if metric == "temperature" {
                let peak = peaks.entry(key.clone()).or_insert(value);
                *peak = peak.max(value);
            }
        });
        measured.map_err(Poison::new)
    }

    fn size(peaks: &Peaks) -> usize {
        peaks.len() * 100
    }

    async fn write(
        &mut self,
        connection: &mut PgConnection,
        log_id: LogId,
        peaks: Peaks,
    ) -> database::Result<()> {
        let (keys, values): (Vec<_>, Vec<_>) = peaks.into_iter().unzip();
        let (devices, days): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        sqlx::query(&format!(
            "INSERT INTO daily_peaks_v{} AS known SELECT $1, * FROM unnest($2::text[], $3::date[], $4::float8[])
             ON CONFLICT (log_id, device, day) DO UPDATE SET peak = greatest(known.peak, excluded.peak)",
            self.version
        ))
        .bind(log_id)
        .bind(devices)
        .bind(days)
        .bind(values)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Folds the whole log in memory.
pub async fn peaks(log: &EventLog) -> anyhow::Result<Peaks> {
    let mut all = Peaks::new();
    fold::<DailyPeaks>(log, |_, some| {
        for (key, value) in some {
            let peak = all.entry(key).or_insert(value);
            *peak = peak.max(value);
        }
    })
    .await?;
    Ok(all)
}

/// Reads the arguments, and folds in memory or into the table.
#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("give the database's URL")?;
    let options = database::Options::new(url.parse()?);
    if arguments.next().as_deref() == Some("--read-only") {
        for ((device, day), peak) in peaks(&EventLog::open_to_read(options).await?).await? {
            writeln!(stdout(), "{device},{day},{peak}")?;
        }
        return Ok(());
    }
    url.parse::<PgConnectOptions>()?.connect().await?.execute(TABLE).await?;
    let log = EventLog::open(options).await?;
    let stop = CancellationToken::new();
    tokio::join!(
        log.run(stop.clone()),
        async {
            Projections::none(log.clone(), Options::default()).with::<DailyPeaks>().run(stop.clone()).await
        },
        async {
            let _ = tokio::signal::ctrl_c().await;
            stop.cancel();
        },
    )
    .1?;
    Ok(())
}
