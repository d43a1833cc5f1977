//! A fleet's messages as rows of the log, written by COPY: the machine's own ceiling, and a quick way to a large log.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, anyhow};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fleetlog_aggregates::telemetry::{Message, Recorded, decide};
use fleetlog_event_log::{EventLog, Lane, LogId};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::lab::{self, Lab};
use super::load;

/// Rows in one COPY, and so in one transaction.
const ROWS: u64 = 10_000;

/// The messages of a fleet in the order of arrival: the first of each device, then the second of each, and so on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// The number of devices.
    pub(super) devices: u32,
    /// The time of the first message.
    pub(super) since: DateTime<Utc>,
    /// The time between one message and the next, over all devices.
    pub(super) every: TimeDelta,
}

impl Rows {
    /// Messages that are all sent now.
    pub(super) fn now(devices: u32) -> Self {
        Self { devices, since: Utc::now(), every: TimeDelta::zero() }
    }

    /// The message's device, its number within the device (from 0), and its time.
    pub(super) fn message(&self, number: u64) -> (u32, u64, DateTime<Utc>) {
        let devices = u64::from(self.devices);
        let at =
            self.since + TimeDelta::microseconds(self.every.num_microseconds().unwrap_or(0) * number as i64);
        ((number % devices) as u32, number / devices, at)
    }

    /// A message as ingest hands it to the log.
    pub(super) fn event(&self, number: u64) -> anyhow::Result<Recorded> {
        let (device, nth, at) = self.message(number);
        let (topic, payload) = (load::topic(device), load::payload(device, nth, at));
        let message = Message { topic: &topic, payload: payload.as_bytes(), received_at: Utc::now() };
        decide(message, String::new).map_err(|rejected| anyhow!("{}", rejected.detail))
    }

    /// Fills the lab's empty database with the first `events` messages, in the partitions of the weeks in which they
    /// were sent.
    pub(super) async fn fill(&self, lab: &Lab, events: u64) -> anyhow::Result<()> {
        let log = lab::event_log(lab.database()).await?;
        let mut owner = lab.owner().await?;
        let partitions = sqlx::query("SELECT telemetry_events_make_partitions($1, now())").bind(self.since);
        partitions.execute(&mut owner).await?;
        self.copy(&mut owner, telemetry_log(&log)?, 0..events).await?;
        log.close().await;
        Ok(())
    }

    /// Appends these rows to a tenant's telemetry log that is empty or was filled by this function, and moves its head.
    /// Needs the owner: Postgres refuses COPY to a role that row-level security applies to. Returns how long the COPY
    /// itself took.
    pub(super) async fn copy(
        &self,
        owner: &mut PgConnection,
        log_id: LogId,
        numbers: std::ops::Range<u64>,
    ) -> anyhow::Result<Duration> {
        let mut taken = Duration::ZERO;
        let mut next = numbers.start;
        while next < numbers.end {
            let end = (next + ROWS).min(numbers.end);
            let mut rows = String::new();
            for number in next..end {
                let (device, nth, at) = self.message(number);
                let (payload, msg_id) = (load::payload(device, nth, at), load::msg_id(device, nth));
                let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
                let (position, stream) = (number + 1, load::aggregate_id(device));
                writeln!(rows, "{log_id}\t{position}\t{at}\t{at}\t0\t{stream}\t{msg_id}\t{payload}")?;
            }
            let started = Instant::now();
            let mut copy = owner
                .copy_in_raw(
                    "COPY telemetry_events
                         (log_id, position, occurred_at, recorded_at, flags, aggregate_id, msg_id, payload)
                     FROM STDIN",
                )
                .await?;
            copy.send(rows.into_bytes()).await?;
            copy.finish().await?;
            taken += started.elapsed();
            next = end;
        }
        sqlx::query("UPDATE logs SET head = $2 WHERE log_id = $1")
            .bind(log_id)
            .bind(next as i64)
            .execute(owner)
            .await?;
        Ok(taken)
    }
}

/// The tenant's telemetry log.
pub(super) fn telemetry_log(log: &EventLog) -> anyhow::Result<LogId> {
    log.heads().of(load::TENANT, Lane::Telemetry).context("no log for telemetry")
}
