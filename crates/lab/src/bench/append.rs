//! Unique messages a second that one log takes: [`EventLog::append_telemetry`] alone, in this process, beside COPY.
//!
//! The two take turns, each in its own database, so that any other load on the machine affects both alike. Messages and
//! rows are prepared before the clock starts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use fleetlog_aggregates::telemetry::Recorded;
use fleetlog_event_log::telemetry::Outcome;
use fleetlog_event_log::{EventLog, LogId};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use super::check;
use super::lab::{self, Lab};
use super::report::{Figure, Report, Timings};
use super::rows::{Rows, telemetry_log};
use super::usage::{Used, Watch};
use crate::bench::args::Append;

/// How many messages, and then how many rows, make a turn.
const TURN: u64 = 100_000;
/// One message in this many is a repeat: 5 %.
const REPEAT_EVERY: u64 = 20;
/// How many messages lie between a message and its delayed repeat.
const DELAYED_BY: u64 = 40;

/// Runs the benchmark.
pub(super) async fn run(args: &Append, lab: &Lab) -> anyhow::Result<Report> {
    let log = lab::event_log(lab.database()).await?;
    let report = lab.apart(async |connect| measure(args, lab, &log, connect).await).await;
    log.close().await;
    report
}

async fn measure(
    args: &Append,
    lab: &Lab,
    log: &EventLog,
    apart: PgConnectOptions,
) -> anyhow::Result<Report> {
    let mut ceiling = Ceiling::in_database(apart, args.devices).await?;
    let mut fleet = Fleet { rows: Rows::now(args.devices), batch: args.batch.into(), sent: 0, different: 0 };
    let mut appends = Appends { log, log_id: telemetry_log(log)?, taken: Timings::new("a batch"), stored: 0 };
    let (mut time, mut used) = (Duration::ZERO, Vec::new());
    while fleet.sent < args.messages {
        let batches = fleet.turn((args.messages - fleet.sent).min(TURN))?;
        let watch = Watch::begin(&[("postgres", lab.postgres())]);
        let started = Instant::now();
        for batch in batches {
            appends.append(batch).await?;
        }
        time += started.elapsed();
        used.push(watch.end().await?);
        ceiling.copy_until(fleet.different).await?;
    }
    let load = format!(
        "{} messages of {} devices in batches of {}, 5 % of them repeats, appended in the generator's own process",
        args.messages, args.devices, args.batch
    );
    let mut report = Report::new("append", load);
    let stored = appends.stored as f64 / time.as_secs_f64();
    report.figure(Figure::new("stored", stored, "msg/s").beside("COPY into the same table", ceiling.rate()));
    report.timings(&appends.taken).usage("by the appends", Used::over(&used));
    let mut owner = lab.owner().await?;
    ensure!(appends.stored == fleet.different, "{} stored of {}", appends.stored, fleet.different);
    report.checked(check::events(&mut owner, fleet.different).await?);
    report.checked(check::repeats(&mut owner, fleet.sent - fleet.different).await?);
    Ok(report)
}

/// The ceiling: COPY of the same messages, without the repeats.
struct Ceiling {
    owner: PgConnection,
    log_id: LogId,
    rows: Rows,
    copied: u64,
    taken: Duration,
}

impl Ceiling {
    async fn in_database(connect: PgConnectOptions, devices: u32) -> anyhow::Result<Self> {
        let log = lab::event_log(connect.clone()).await?;
        let log_id = telemetry_log(&log)?;
        log.close().await;
        let owner = lab::owner(&connect).await?;
        Ok(Self { owner, log_id, rows: Rows::now(devices), copied: 0, taken: Duration::ZERO })
    }

    async fn copy_until(&mut self, rows: u64) -> anyhow::Result<()> {
        self.taken += self.rows.copy(&mut self.owner, self.log_id, self.copied..rows).await?;
        self.copied = rows;
        Ok(())
    }

    /// Rows a second.
    fn rate(&self) -> f64 {
        self.copied as f64 / self.taken.as_secs_f64()
    }
}

/// The appends so far.
struct Appends<'l> {
    log: &'l EventLog,
    log_id: LogId,
    /// How long each batch took, counted from the end of the batch before: only the log is waited for.
    taken: Timings,
    stored: u64,
}

impl Appends<'_> {
    async fn append(&mut self, batch: Arc<[Recorded]>) -> anyhow::Result<()> {
        let started = Instant::now();
        let outcomes = self.log.append_telemetry(self.log_id, batch).await?;
        self.taken.done(started);
        let recorded = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Recorded(_)));
        self.stored += recorded.count() as u64;
        Ok(())
    }
}

/// The messages of a fleet, as batches that ingest would append.
struct Fleet {
    rows: Rows,
    batch: u64,
    sent: u64,
    different: u64,
}

impl Fleet {
    /// The next `messages` messages, in batches.
    fn turn(&mut self, messages: u64) -> anyhow::Result<Vec<Arc<[Recorded]>>> {
        let until = self.sent + messages;
        let mut batches = Vec::new();
        while self.sent < until {
            let batch = self.batch.min(until - self.sent);
            let events = (0..batch).map(|_| {
                let number = self.number();
                self.rows.event(number)
            });
            batches.push(events.collect::<anyhow::Result<_>>()?);
        }
        Ok(batches)
    }

    /// The number of the next message: a new one or, in turn, a repeat of the last, of one a few before it, or of one
    /// in the batch before.
    fn number(&mut self) -> u64 {
        self.sent += 1;
        if self.sent.is_multiple_of(REPEAT_EVERY) && self.different > 0 {
            let back = match (self.sent / REPEAT_EVERY) % 3 {
                0 => 1,
                1 => DELAYED_BY,
                _ => self.batch + DELAYED_BY,
            };
            return self.different.saturating_sub(back);
        }
        self.different += 1;
        self.different - 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn one_message_in_twenty_is_a_repeat_near_or_far() {
        let mut fleet = Fleet { rows: Rows::now(7), batch: 100, sent: 0, different: 0 };
        let batches = fleet.turn(2_000).expect("messages");
        assert!(batches.iter().all(|batch| batch.len() == 100));
        let key = |event: &Recorded| (event.aggregate_id.clone(), event.msg_id.clone());
        let different: HashSet<_> = batches.iter().flat_map(|batch| batch.iter().map(key)).collect();
        assert_eq!((different.len(), fleet.different), (1_900, 1_900));
        let within: usize =
            batches.iter().map(|batch| batch.iter().map(key).collect::<HashSet<_>>().len()).sum();
        assert!((1_901..2_000).contains(&within), "{within}");
    }
}
