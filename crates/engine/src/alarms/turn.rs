//! Writes all that follows from a page in one transaction: how far the logs are evaluated, how conditions stand, what happens
//! to alarms, and the mails. Or nothing, where another node has taken over.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleetlog_access::mail::Letters;
use fleetlog_aggregates::alarm::{Alarm, Event};
use fleetlog_aggregates::identity::{StreamId, Tenant};
use fleetlog_event_log::control::{Actor, ExecuteError, Metadata};
use fleetlog_event_log::record::Recorder;
use fleetlog_event_log::{EventLog, Position, crash};
use futures::future::BoxFuture;
use sqlx::Executor;

use super::board::{Step, changed};
use super::mails::{self, Told};
use super::rulebook::Rulebook;
use super::standings::{self, OfDevices};
use crate::instruments;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Another node has written since.
    #[error("another node evaluates the tenant's rules")]
    Replaced,
    /// A person acknowledged or cleared an alarm at the same time.
    #[error("an alarm was changed meanwhile")]
    Conflict,
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
    #[error(transparent)]
    Access(#[from] fleetlog_access::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

impl From<ExecuteError<fleetlog_aggregates::alarm::Error>> for Error {
    fn from(error: ExecuteError<fleetlog_aggregates::alarm::Error>) -> Self {
        match error {
            ExecuteError::Log(error) => Self::Log(error),
            // What the aggregate refuses is passed over before.
            ExecuteError::Conflict | ExecuteError::Refused(_) => Self::Conflict,
        }
    }
}

/// What follows from a page.
pub(super) struct Turn {
    pub(super) tenant: Tenant,
    /// How many turns there were.
    pub(super) number: i64,
    /// How far the logs are evaluated with this one.
    pub(super) control: Position,
    pub(super) telemetry: Position,
    pub(super) rows: OfDevices,
    pub(super) steps: Vec<Step>,
    /// A rule about silence whose epoch changes: its name, both epochs, and how long a silence is now.
    pub(super) carried: Option<(String, (u32, u32), u32)>,
    /// The rules, if mails are due that say how many more changes there were.
    pub(super) summarize: Option<Rulebook>,
}

/// Writes a turn. Returns its rows.
pub(super) async fn write(log: &EventLog, letters: &Letters, turn: Turn) -> Result<OfDevices, Error> {
    let (letters, now) = (letters.clone(), log.now());
    let (rows, events) = log
        .record(move |recorder| -> BoxFuture<'_, Result<_, Error>> {
            Box::pin(async move {
                let events = turn.write(recorder, &letters, now).await?;
                Ok((turn.rows, events))
            })
        })
        .await?;
    crash::point("alarms.committed");
    for event in events {
        let severity = event.about().severity.as_str();
        match event {
            Event::AlarmRaised(_) => instruments::ALARMS_RAISED.with([severity.into()]).increment(1),
            Event::AlarmCleared { .. } => instruments::ALARMS_CLEARED.with([severity.into()]).increment(1),
            Event::AlarmAcknowledged { .. } => {}
        }
    }
    Ok(rows)
}

impl Turn {
    async fn write(
        &self,
        recorder: &mut Recorder,
        letters: &Letters,
        now: DateTime<Utc>,
    ) -> Result<Vec<Event>, Error> {
        if self.steps.is_empty() && self.summarize.is_none() {
            // What is lost is lost together, and follows from the logs again.
            recorder.connection().execute("SET LOCAL synchronous_commit = off").await?;
        }
        // A plan that was made while the table was small, and reads all of it, would be kept while it grows.
        recorder.connection().execute("SET LOCAL enable_seqscan = off").await?;
        let moved = sqlx::query(
            "UPDATE alarm_progress SET turn = turn + 1, control_position = $3, telemetry_position = $4
             WHERE tenant = $1 AND turn = $2",
        )
        .bind(self.tenant.as_str())
        .bind(self.number)
        .bind(self.control)
        .bind(self.telemetry)
        .execute(recorder.connection())
        .await?;
        if moved.rows_affected() != 1 {
            return Err(Error::Replaced);
        }
        let (written, removed) = changed(&self.rows);
        if !removed.is_empty() {
            standings::remove(recorder.connection(), &self.tenant, &removed).await?;
        }
        if !written.is_empty() {
            standings::write(recorder.connection(), &self.tenant, &written).await?;
        }
        if let Some((rule, epochs, for_s)) = &self.carried {
            standings::carry_over(recorder.connection(), &self.tenant, rule, *epochs, *for_s).await?;
        }
        if let Some(rulebook) = &self.summarize {
            mails::summaries(recorder.connection(), (&self.tenant, letters), rulebook, now).await?;
        }
        self.take_steps(recorder, letters, now).await
    }

    async fn take_steps(
        &self,
        recorder: &mut Recorder,
        letters: &Letters,
        now: DateTime<Utc>,
    ) -> Result<Vec<Event>, Error> {
        if self.steps.is_empty() {
            return Ok(vec![]);
        }
        let stream = |step: &Step| StreamId::new(&self.tenant, step.alarm_id);
        let mut streams: Vec<StreamId> = self.steps.iter().map(stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let mut decisions = recorder.decisions::<Alarm>(&streams).await?;
        let (mut happened, mut told) = (vec![], vec![]);
        for step in &self.steps {
            let metadata = Metadata { causation: step.cause, ..Metadata::by(Actor::Alarms) };
            let events = match decisions.decide(&stream(step), step.input.clone(), &metadata).await {
                Ok(events) => events,
                // The same event has raised it before, or a person was faster.
                Err(ExecuteError::Refused(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(rule) = &step.rule {
                let of = |event: &Event| Told {
                    rule: Arc::clone(rule),
                    alarm_id: step.alarm_id,
                    event: event.clone(),
                };
                told.extend(events.iter().map(of));
            }
            happened.extend(events);
        }
        mails::tell(recorder.connection(), (&self.tenant, letters), now, told).await?;
        crash::point("alarms.decided");
        recorder.put_all(decisions).await?;
        crash::point("alarms.appended");
        Ok(happened)
    }
}
