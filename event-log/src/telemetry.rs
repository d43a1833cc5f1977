//! Appends batches of readings: each message once, positions without a hole, one transaction a batch.
//!
//! - `partitions`: the partitions that readings go into
//! - `recent`: which readings may be repeats
//! - `repeats`: which readings are, and which only have the id of another
//! - `statements`: lock the log, look up readings that may be repeats, write the rest
//!
//! The unique index of this week's partition refuses a message that is in that partition already. Only messages that
//! are likely repeats, or may be in another partition, are looked up beforehand. If the index meets a repeat that was
//! not looked up, the whole batch is looked up and appended again. What is stored is the same either way, and most
//! batches cost no more than their insertion.

mod partitions;
mod recent;
mod repeats;
mod statements;

use std::ops::Range;
use std::sync::Arc;

use chrono::TimeDelta;
use fleetlog_aggregates::telemetry::Recorded;
pub(crate) use partitions::Partitions;
pub(crate) use recent::Recent;

use crate::{Error, EventLog, LogId, Position, Result};
use repeats::{First, find_repeats, firsts, remember};
use statements::{is_missing_partition, is_repeat, lock, write};

/// How long after its first arrival a message is recognised as a repeat whatever its `ts`; within the week of its
/// first arrival it always is. A message that carries its own `ts` comes back with the same `ts`, and is recognised
/// for as long as the first copy is kept.
///
/// The bound restricts look-ups to the newest partitions. Two days outlast a broker's or device's retry buffer over a
/// weekend night. The bound does not limit the log's guarantee, only what a device may change between two attempts.
pub const REPEAT_WINDOW: TimeDelta = TimeDelta::days(2);

/// How long a partition lasts.
const WEEK: TimeDelta = TimeDelta::weeks(1);
/// Within this much of a week's end a server clock that was set back may already have filled the next partition: look
/// there too.
const SET_BACK: TimeDelta = TimeDelta::days(1);

/// What became of one message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The message is an event, at this position.
    Recorded(Position),
    /// The message is an event, at this position, under an id made unique: its own is that of another message.
    RecordedApart(Position),
    /// The message was on the record already, or earlier in the same batch.
    Duplicate,
    /// The database cannot store the message, for this reason.
    Refused(String),
}

/// Which messages of a batch are looked up before they are appended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LookUp {
    /// Only messages that may be repeats.
    Suspects,
    /// All messages of the batch.
    All,
}

impl EventLog {
    /// Appends a batch to one telemetry log and says what became of each message, in the batch's order.
    ///
    /// All of it is committed when this returns. A message that the database cannot hold is refused alone; the rest of
    /// its batch is appended. An error means that the outcome is unknown: the same batch may be sent again, and what
    /// had been committed is then a duplicate.
    pub async fn append_telemetry(&self, log_id: LogId, batch: Arc<[Recorded]>) -> Result<Vec<Outcome>> {
        let log = self.clone();
        // A task of its own, so that a dropped caller leaves no open transaction behind.
        let task = tokio::spawn(async move { log.append_isolating(log_id, &batch).await });
        task.await.unwrap_or(Err(Error::task_ended()))
    }

    /// Appends a batch. If the database refuses its data, the batch is halved until the message at fault is alone.
    async fn append_isolating(&self, log_id: LogId, batch: &[Recorded]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut rest: Vec<Range<usize>> = std::iter::once(0..batch.len()).collect();
        while let Some(range) = rest.pop() {
            match self.append_at_once(log_id, &batch[range.clone()]).await {
                Ok(appended) => outcomes.extend(appended),
                Err(error) if error.is_bad_data() && range.len() == 1 => {
                    outcomes.push(Outcome::Refused(error.to_string()));
                }
                Err(error) if error.is_bad_data() => {
                    let middle = range.start + range.len() / 2;
                    rest.push(middle..range.end);
                    rest.push(range.start..middle);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(outcomes)
    }

    async fn append_at_once(&self, log_id: LogId, batch: &[Recorded]) -> Result<Vec<Outcome>> {
        match self.append(log_id, batch, LookUp::Suspects).await {
            Err(error) if is_repeat(&error) => self.append(log_id, batch, LookUp::All).await,
            appended => appended,
        }
    }

    async fn append(&self, log_id: LogId, batch: &[Recorded], look_up: LookUp) -> Result<Vec<Outcome>> {
        let mut firsts = firsts(batch, &self.inner.recent);
        let mut transaction = self.inner.append_pool.begin().await?;
        let locked = lock(&mut transaction, log_id).await?;
        let all = look_up == LookUp::All || self.inner.recent.is_wary();
        find_repeats(&mut transaction, log_id, locked, &mut firsts, all).await?;
        let fresh: Vec<&First<'_>> = firsts.iter().filter(|first| !first.is_repeat).collect();
        let mut outcomes = vec![Outcome::Duplicate; batch.len()];
        for (first, position) in fresh.iter().zip(locked.head + 1..) {
            let recorded = if first.is_renamed() { Outcome::RecordedApart } else { Outcome::Recorded };
            outcomes[first.at] = recorded(position);
        }
        let events: Vec<&Recorded> = fresh.iter().map(|first| &*first.event).collect();
        let repeats = batch.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Duplicate);
        let repeats = repeats.map(|(event, _)| event);
        match write(&mut transaction, log_id, locked, &events, repeats).await {
            Err(error) if is_missing_partition(&error) => {
                transaction.rollback().await?;
                self.inner.partitions.make(self.pool()).await?;
                return Err(Error::Unavailable(error.into()));
            }
            written => written?,
        }
        transaction.commit().await?;
        remember(batch, &firsts, &self.inner.recent);
        self.heads().moved(log_id, locked.head + events.len() as Position);
        Ok(outcomes)
    }
}
