//! What is due by the clock. It counts only once the logs are evaluated up to heads that were read after the time that it
//! shows: an evaluator that lags finds in the log what it was waiting for, and raises nothing.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::alarm::Why;
use fleetlog_aggregates::alarm_rule::Fact;
use fleetlog_aggregates::device::{Device, Status};
use fleetlog_aggregates::identity::{StreamId, Uid};

use super::board::Board;
use super::labels;
use super::rulebook::Rule;
use super::standings;
use super::tenant::{Moved, State, TenantWorker};
use super::turn::{Error, Turn};

/// After an interruption of the service, no device counts as silent for so many seconds, or for as long as its rule says
/// if that is less: the fleet gets time to come back.
const GRACE_S: u32 = 60;
/// The most devices in one turn.
const DEVICES: i64 = 1000;

impl TenantWorker {
    /// Asks the clock, if it is time.
    pub(super) async fn due(&mut self, state: &mut State) -> Result<Moved, Error> {
        let log = self.shared.log.clone();
        let now = log.now();
        if state.next_due.is_none_or(|due| due > now) {
            return Ok(Moved::Nothing);
        }
        // After the time was read.
        let heads = log.heads_after_appends(&[self.control, self.telemetry]).await?;
        let head = |log_id| heads.get(&log_id).copied().unwrap_or(0);
        let known = std::mem::replace(&mut state.known, (head(self.control), head(self.telemetry)));
        let lags = state.control < state.known.0
            || (state.rulebook.wants_readings() && state.telemetry < state.known.1);
        if lags {
            state.let_read();
            // What is known and cannot be read is tried again later.
            return Ok(if state.known == known { Moved::Nothing } else { Moved::On });
        }
        let allowed: Vec<Arc<Rule>> =
            state.rulebook.all().filter(|rule| may(state, rule, now)).cloned().collect();
        let names: Vec<&str> = allowed.iter().map(|rule| rule.name.as_str()).collect();
        let uids = standings::due(log.pool(), &self.tenant, &names, now, DEVICES).await?;
        if uids.is_empty() {
            let next = standings::next_due(log.pool(), &self.tenant).await?;
            // What is due and may not be yet is looked at again in a second.
            state.next_due = next.map(|next| next.max(now + TimeDelta::seconds(1)));
            return Ok(Moved::Nothing);
        }
        let streams: Vec<StreamId> = uids.iter().map(|uid| StreamId::new(&self.tenant, uid)).collect();
        let devices = labels::devices(&log, &streams).await?;
        let wanted = uids.iter().cloned().collect();
        let rows = self.rows(state, &wanted).await?;
        let mut board = Board::new((&self.tenant, &state.rulebook), self.telemetry, rows, state.open);
        for uid in &uids {
            take(&mut board, &allowed, &devices, uid, now);
        }
        let turn = Turn { control: state.control, telemetry: state.telemetry, ..self.turn(state.number) };
        self.write(state, board.into_parts(), turn).await?;
        Ok(Moved::On)
    }
}

/// Whether the clock may decide for a rule yet.
fn may(state: &State, rule: &Rule, now: DateTime<Utc>) -> bool {
    rule.definition
        .condition
        .silence_s()
        .is_none_or(|for_s| state.steady_since + TimeDelta::seconds(i64::from(for_s.min(GRACE_S))) <= now)
}

fn take(
    board: &mut Board<'_>,
    allowed: &[Arc<Rule>],
    devices: &HashMap<Uid, Device>,
    uid: &Uid,
    now: DateTime<Utc>,
) {
    let device = devices.get(uid).filter(|device| device.status() == Status::Registered);
    let Some(device) = device else {
        board.remove(uid, Why::DeviceDecommissioned, None, |_| true);
        return;
    };
    for rule in board.rules_of(uid) {
        if !allowed.iter().any(|allowed| Arc::ptr_eq(allowed, &rule)) {
            continue;
        }
        if !rule.selects(uid, Some(device.labels())) {
            board.remove(uid, Why::LabelsChanged, None, |row| row.rule == rule.name.as_str());
            continue;
        }
        for subject in board.subjects(uid, &rule) {
            board.take(&rule, uid, &subject, Fact::Clock(now));
        }
    }
}
