//! One tenant's logs, turn after turn: the control log first, so that a rule holds before the readings that come after it.
//!
//! A tenant that never had a rule costs a look at its control log when that has grown, and no row. Its readings are read only
//! while a rule is about them; when the first such rule comes, they are followed from there on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm::Why;
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::page::PAGE_BYTES;
use fleetlog_event_log::{Event, LogId, Position};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::board::{Board, Step, written};
use super::labels::AllLabels;
use super::remembered::Remembered;
use super::rulebook::Rulebook;
use super::standings::{self, OfDevices};
use super::turn::{self, Error, Turn};
use super::{Shared, mails, readings};
use crate::instruments;

/// The most readings in one turn.
const READINGS: i64 = 10_000;
/// The most control events in one turn.
pub(super) const CHANGES: i64 = 500;
/// The most rows that one turn removes of a rule that has changed.
const SWEPT: i64 = 1000;
/// How long a telemetry log rests after a turn that has reached its head: what comes meanwhile is evaluated together.
const REST: Duration = Duration::from_millis(100);
/// How often a worker looks around, if nothing wakes it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so long without a turn of the loop, the service counts as interrupted: devices get time to come back.
const INTERRUPTED: Duration = Duration::from_secs(10);

pub(super) struct TenantWorker {
    pub(super) shared: Shared,
    pub(super) tenant: Tenant,
    pub(super) control: LogId,
    pub(super) telemetry: LogId,
    /// Up to where the control log of a tenant without rules has none.
    pub(super) without_rules: Position,
}

/// What a worker knows while it follows.
pub(super) struct State {
    /// How many turns there were.
    pub(super) number: i64,
    pub(super) control: Position,
    pub(super) telemetry: Position,
    /// Up to where the logs are known to go, beside what this process hears: control and telemetry.
    pub(super) known: (Position, Position),
    pub(super) rulebook: Rulebook,
    pub(super) remembered: Remembered,
    pub(super) labels: AllLabels,
    /// How many alarms are open.
    pub(super) open: usize,
    /// When the clock is to be asked next.
    pub(super) next_due: Option<DateTime<Utc>>,
    /// When a mail is due that says how many more changes there were.
    pub(super) next_summary: Option<DateTime<Utc>>,
    /// Rules with rows of an epoch that is over.
    pub(super) stale: Vec<(String, u32)>,
    /// Since when this evaluates without an interruption, by the server's clock.
    pub(super) steady_since: DateTime<Utc>,
    pub(super) turned: Instant,
    pub(super) rests_until: Instant,
}

impl State {
    /// The telemetry log rests no more.
    pub(super) fn let_read(&mut self) {
        self.rests_until = Instant::now();
    }
}

/// Whether there is more to do.
pub(super) enum Moved {
    On,
    Nothing,
}

impl TenantWorker {
    pub(super) fn new(shared: Shared, tenant: Tenant, (control, telemetry): (LogId, LogId)) -> Self {
        Self { shared, tenant, control, telemetry, without_rules: 0 }
    }

    /// Works until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        while !stop.is_cancelled() {
            match self.begin().await {
                Ok(Some(state)) => {
                    backoff.reset();
                    let Err(error) = self.follow(state, &stop).await else { return };
                    match error {
                        Error::Conflict => {}
                        Error::Replaced => tracing::info!(tenant = %self.tenant, %error, "begins anew"),
                        error => {
                            tracing::warn!(tenant = %self.tenant, %error, "failed to evaluate alarm rules; trying again");
                        }
                    }
                }
                Ok(None) => {
                    backoff.reset();
                    let mut heads = self.shared.log.heads().watch();
                    let (control, after) = (self.control, self.without_rules);
                    let grown = heads.wait_for(|logs| logs.get(&control).is_none_or(|log| log.head > after));
                    let _ = stop.run_until_cancelled(grown).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(tenant = %self.tenant, %error, "failed to read the alarm rules; trying again");
                }
            }
            let _ = stop.run_until_cancelled(backoff.wait()).await;
        }
    }

    /// Takes turns until `stop`, or until one fails.
    async fn follow(&mut self, mut state: State, stop: &CancellationToken) -> Result<(), Error> {
        let mut heads = self.shared.log.heads().watch();
        while !stop.is_cancelled() {
            heads.borrow_and_update();
            if state.turned.elapsed() > INTERRUPTED {
                state.steady_since = self.shared.log.now();
            }
            let moved = {
                let _turn = Arc::clone(&self.shared.turns).acquire_owned().await;
                self.step(&mut state).await?
            };
            state.turned = Instant::now();
            if matches!(moved, Moved::Nothing) {
                let look = Instant::now() + LOOK_EVERY;
                let wake = if state.rests_until > Instant::now() { state.rests_until } else { look };
                let wait = timeout_at(wake, async {
                    // What wakes the worker while its log rests is found when it has rested.
                    let _ = heads.changed().await;
                    tokio::time::sleep_until(state.rests_until).await;
                });
                let _ = stop.run_until_cancelled(wait).await;
            }
        }
        Ok(())
    }

    /// One turn of whatever comes first.
    async fn step(&mut self, state: &mut State) -> Result<Moved, Error> {
        let known = |log_id| self.shared.log.heads().log(log_id).map_or(0, |log| log.head);
        let (control, telemetry) = (known(self.control), known(self.telemetry));
        let (control, telemetry) = (control.max(state.known.0), telemetry.max(state.known.1));
        if state.control < control && matches!(self.changes(state, control).await?, Moved::On) {
            return Ok(Moved::On);
        }
        if let Some(stale) = state.stale.last().cloned() {
            return self.sweep(state, &stale).await;
        }
        let lag = |log_id: LogId, lag: i64| {
            instruments::ALARMS_LAG.with([log_id.to_string().into()]).set(lag.max(0) as f64);
        };
        lag(self.control, control - state.control);
        if state.rulebook.wants_readings() {
            lag(self.telemetry, telemetry - state.telemetry);
            if state.telemetry < telemetry
                && state.rests_until <= Instant::now()
                && matches!(self.readings(state, telemetry).await?, Moved::On)
            {
                return Ok(Moved::On);
            }
        }
        if matches!(self.due(state).await?, Moved::On) {
            return Ok(Moved::On);
        }
        self.summarize(state).await
    }

    /// Removes rows of a rule that is gone or has changed, and clears their alarms.
    async fn sweep(&mut self, state: &mut State, over: &(String, u32)) -> Result<Moved, Error> {
        let (rule, epoch) = (over.0.as_str(), over.1);
        let rows = standings::of_epoch(self.shared.log.pool(), &self.tenant, (rule, epoch), SWEPT).await?;
        if rows.is_empty() {
            state.stale.pop();
            return Ok(Moved::On);
        }
        let why = if state.rulebook.find(rule).is_some() { Why::RuleChanged } else { Why::RuleRemoved };
        let uids: Vec<Uid> = rows.keys().cloned().collect();
        let mut board = Board::new((&self.tenant, &state.rulebook), self.control, rows, state.open);
        for uid in &uids {
            board.remove(uid, why, None, |_| true);
        }
        // Of these devices, other rules' rows may be remembered.
        let (rows, steps, open, not_raised) = board.into_parts();
        for uid in &uids {
            state.remembered.forget(uid);
        }
        let turn = Turn { control: state.control, telemetry: state.telemetry, ..self.turn(state.number) };
        self.write_apart(state, (rows, steps, open, not_raised), turn).await?;
        Ok(Moved::On)
    }

    /// One page of the telemetry log.
    async fn readings(&mut self, state: &mut State, head: Position) -> Result<Moved, Error> {
        let events = match self
            .shared
            .log
            .page(self.telemetry, state.telemetry, READINGS, 4 * PAGE_BYTES)
            .await
        {
            Ok(events) => events,
            Err(fleetlog_event_log::Error::Archived(range)) => {
                tracing::warn!(tenant = %self.tenant, last = range.last, "readings were removed before alarm rules were evaluated on them");
                let (control, telemetry) = (state.control, range.last);
                let turn = Turn { control, telemetry, ..self.turn(state.number) };
                self.write(state, (OfDevices::new(), vec![], state.open, 0), turn).await?;
                return Ok(Moved::On);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(to) = events.last().map(|event| event.position) else { return Ok(Moved::Nothing) };
        let sources = self.shared.log.sources_of_readings(self.telemetry, &events).await?;
        let of_devices: Vec<(Uid, &Event)> = events
            .iter()
            .filter_map(|event| Some((readings::uid(event)?, event)))
            .filter(|(uid, _)| !state.labels.is_gone(uid))
            .collect();
        let uids: HashSet<Uid> = of_devices.iter().map(|(uid, _)| uid.clone()).collect();
        let labels =
            if state.rulebook.wants_labels() { state.labels.of(uids.iter()).await? } else { HashMap::new() };
        let rows = self.rows(state, &uids).await?;
        let mut board = Board::new((&self.tenant, &state.rulebook), self.telemetry, rows, state.open);
        readings::evaluate((&state.rulebook, &sources), &labels, &of_devices, &mut board);
        let turn = Turn { control: state.control, telemetry: to, ..self.turn(state.number) };
        self.write(state, board.into_parts(), turn).await?;
        if to >= head {
            state.rests_until = Instant::now() + REST;
        }
        Ok(Moved::On)
    }

    /// Writes the mails that say how many more changes there were.
    async fn summarize(&mut self, state: &mut State) -> Result<Moved, Error> {
        if state.next_summary.is_none_or(|due| due > self.shared.log.now()) {
            return Ok(Moved::Nothing);
        }
        let turn = Turn {
            control: state.control,
            telemetry: state.telemetry,
            summarize: Some(state.rulebook.clone()),
            ..self.turn(state.number)
        };
        self.write(state, (OfDevices::new(), vec![], state.open, 0), turn).await?;
        state.next_summary = mails::next_summary(self.shared.log.pool(), &self.tenant).await?;
        Ok(Moved::On)
    }

    /// The rows of these devices: those that are remembered, and the rest from the database.
    pub(super) async fn rows(&self, state: &mut State, uids: &HashSet<Uid>) -> Result<OfDevices, Error> {
        let (mut rows, mut unknown) = (OfDevices::new(), vec![]);
        for uid in uids {
            match state.remembered.take(uid) {
                Some(remembered) => {
                    rows.insert(uid.clone(), remembered);
                }
                None => unknown.push(uid.as_str()),
            }
        }
        if !unknown.is_empty() {
            let pool = self.shared.log.pool();
            let found = standings::of_devices(pool, &self.tenant, &unknown).await?;
            // Of a device without rows that is remembered, too.
            rows.extend(unknown.iter().filter_map(|uid| Some((uid.parse().ok()?, vec![]))));
            rows.extend(found);
        }
        Ok(rows)
    }

    /// A turn that changes nothing.
    pub(super) fn turn(&self, number: i64) -> Turn {
        Turn {
            tenant: self.tenant.clone(),
            number,
            control: 0,
            telemetry: 0,
            rows: OfDevices::new(),
            steps: vec![],
            carried: None,
            summarize: None,
        }
    }

    /// Writes a turn, and remembers its rows: they are all rows of their devices.
    pub(super) async fn write(
        &self,
        state: &mut State,
        made: (OfDevices, Vec<Step>, usize, u64),
        turn: Turn,
    ) -> Result<(), Error> {
        let rows = self.write_apart(state, made, turn).await?;
        for (uid, rows) in written(rows) {
            state.remembered.put(uid, rows);
        }
        Ok(())
    }

    /// Writes a turn whose rows are only some of their devices'.
    async fn write_apart(
        &self,
        state: &mut State,
        (rows, steps, open, not_raised): (OfDevices, Vec<Step>, usize, u64),
        turn: Turn,
    ) -> Result<OfDevices, Error> {
        let (control, telemetry, tells) = (turn.control, turn.telemetry, !steps.is_empty());
        let turn = Turn { rows, steps, ..turn };
        let rows = turn::write(&self.shared.log, &self.shared.letters, turn).await?;
        (state.number, state.control, state.telemetry) = (state.number + 1, control, telemetry);
        state.open = open;
        instruments::ALARMS_NOT_RAISED.increment(not_raised);
        let due = rows.values().flatten().filter_map(|row| row.due_at).min();
        state.next_due = [state.next_due, due].into_iter().flatten().min();
        if tells && state.next_summary.is_none() {
            state.next_summary = mails::next_summary(self.shared.log.pool(), &self.tenant).await?;
        }
        Ok(rows)
    }
}
