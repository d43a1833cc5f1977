//! How conditions stand for the devices of a page, and what facts make of that. Pure, once it is filled.

use std::collections::HashMap;
use std::sync::Arc;

use fleetlog_aggregates::alarm::{self, About, Clearing, Input, Raised, Why};
use fleetlog_aggregates::alarm_rule::{Condition, Fact, Since, Standing, Verdict};
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_event_log::{LogId, Position};
use uuid::Uuid;

use super::rulebook::{Rule, Rulebook};
use super::standings::{Change, OfDevices, Stood};

/// The most alarms of a tenant that may be open. A condition that begins to hold beyond that raises none.
pub const MAX_OPEN: usize = 100_000;

/// Something that is to happen to an alarm.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) alarm_id: Uuid,
    pub(super) input: Input,
    /// The rule, if it still holds, for the mail.
    pub(super) rule: Option<Arc<Rule>>,
    pub(super) cause: Option<(LogId, Position)>,
}

/// What happens to the alarms of a page's devices.
pub(super) struct Board<'r> {
    tenant: &'r Tenant,
    rulebook: &'r Rulebook,
    /// The log of the facts' events.
    log_id: LogId,
    rows: OfDevices,
    /// How many alarms are open.
    open: usize,
    /// What is to happen, in the order of the facts.
    steps: Vec<Step>,
    /// How many alarms were not raised because too many are open.
    not_raised: u64,
}

impl<'r> Board<'r> {
    /// A board with the rows of all devices that facts will be about.
    pub(super) fn new(
        (tenant, rulebook): (&'r Tenant, &'r Rulebook),
        log_id: LogId,
        rows: OfDevices,
        open: usize,
    ) -> Self {
        Self { tenant, rulebook, log_id, rows, open, steps: vec![], not_raised: 0 }
    }

    /// The rows, what is to happen, how many alarms are open then, and how many were not raised.
    pub(super) fn into_parts(self) -> (OfDevices, Vec<Step>, usize, u64) {
        (self.rows, self.steps, self.open, self.not_raised)
    }

    /// Takes in a fact about a device under a rule.
    pub(super) fn take(&mut self, rule: &Arc<Rule>, uid: &Uid, subject: &str, fact: Fact) {
        let condition = &rule.definition.condition;
        let rows = if let Some(rows) = self.rows.get_mut(uid) {
            rows
        } else {
            self.rows.entry(uid.clone()).or_default()
        };
        let found = rows.iter().position(|row| {
            row.epoch == rule.epoch
                && row.rule == rule.name.as_str()
                && row.subject == subject
                && row.change != Change::Remove
        });
        let at = found.unwrap_or_else(|| {
            rows.push(blank(rule, subject));
            rows.len() - 1
        });
        let Some(row) = rows.get_mut(at) else { return };
        let verdict = row.standing.take(condition, fact);
        row.change = Change::Write;
        row.due_at = match (row.standing.due(condition), row.due_at) {
            (None, _) => None,
            // The clock is asked then, and finds that it is early.
            (Some(due), Some(asked)) if asked <= due && !matches!(fact, Fact::Clock(_)) => Some(asked),
            (due, _) => due,
        };
        match verdict {
            Some(Verdict::Raise { since, value }) => {
                if self.open >= MAX_OPEN {
                    self.not_raised += 1;
                    return;
                }
                let step = raise(self.tenant, self.log_id, rule, uid, subject, (since, value));
                row.alarm_id = Some(step.alarm_id);
                self.open += 1;
                self.steps.push(step);
            }
            Some(Verdict::Clear { by, value }) => {
                // A person may have cleared it before.
                let Some(alarm_id) = row.alarm_id.take() else { return };
                self.open = self.open.saturating_sub(1);
                let cause = (self.log_id, by.position);
                self.steps.push(clear(alarm_id, Some(rule), Why::Condition, value, Some(cause)));
            }
            None => {}
        }
    }

    /// The rules that a device has rows of, each once.
    pub(super) fn rules_of(&self, uid: &Uid) -> Vec<Arc<Rule>> {
        let rows = self.rows.get(uid).into_iter().flatten();
        let current = rows.filter_map(|row| {
            self.rulebook
                .find(&row.rule)
                .filter(|rule| rule.epoch == row.epoch && row.change != Change::Remove)
        });
        let mut rules: Vec<Arc<Rule>> = current.cloned().collect();
        rules.dedup_by(|one, other| one.name == other.name);
        rules
    }

    /// The subjects of a device's rows of a rule.
    pub(super) fn subjects(&self, uid: &Uid, rule: &Rule) -> Vec<String> {
        let rows = self.rows.get(uid).into_iter().flatten();
        let of_rule = rows.filter(|row| row.rule == rule.name.as_str() && row.epoch == rule.epoch);
        of_rule.map(|row| row.subject.clone()).collect()
    }

    /// Removes the rows of a device that `which` selects, and clears their alarms.
    pub(super) fn remove(
        &mut self,
        uid: &Uid,
        why: Why,
        cause: Option<(LogId, Position)>,
        which: impl Fn(&Stood) -> bool,
    ) {
        for row in self.rows.get_mut(uid).into_iter().flatten().filter(|row| which(row)) {
            row.change = Change::Remove;
            if let Some(alarm_id) = row.alarm_id.take() {
                self.open = self.open.saturating_sub(1);
                self.steps.push(clear(alarm_id, self.rulebook.find(&row.rule), why, None, cause));
            }
        }
    }

    /// Notes that a person has cleared an alarm.
    pub(super) fn forget(&mut self, uid: &Uid, alarm_id: Uuid) {
        for row in self.rows.get_mut(uid).into_iter().flatten().filter(|row| row.alarm_id == Some(alarm_id)) {
            row.alarm_id = None;
            row.change = Change::Write;
            self.open = self.open.saturating_sub(1);
        }
    }
}

fn blank(rule: &Rule, subject: &str) -> Stood {
    Stood {
        rule: rule.name.as_str().to_owned(),
        epoch: rule.epoch,
        subject: subject.to_owned(),
        standing: Standing::default(),
        alarm_id: None,
        due_at: None,
        change: Change::Nothing,
    }
}

/// The alarm of a rule about a device that began with an event.
pub(super) fn raise(
    tenant: &Tenant,
    log_id: LogId,
    rule: &Arc<Rule>,
    uid: &Uid,
    subject: &str,
    (since, value): (Since, Option<f64>),
) -> Step {
    let cause = format!("{log_id}:{}", since.position);
    let alarm_id = alarm::id(tenant, &rule.name, rule.epoch, uid.as_str(), subject, &cause);
    let condition = &rule.definition.condition;
    let is_of_commands = matches!(condition, Condition::CommandFailed { .. });
    let severity = rule.definition.severity;
    let raised = Raised {
        about: About { rule: rule.name.clone(), severity, device_uid: uid.clone() },
        rule_version: rule.version,
        title: rule.definition.title.clone(),
        condition: condition.kind().to_owned(),
        metric: condition.metric().map(str::to_owned),
        cmd: is_of_commands.then(|| subject.to_owned()),
        value,
        since: if condition.silence_s().is_some() { since.recorded_at } else { since.at },
        cause,
    };
    Step {
        alarm_id,
        input: Input::Raise(raised),
        rule: Some(Arc::clone(rule)),
        cause: Some((log_id, since.position)),
    }
}

/// The end of an alarm.
pub(super) fn clear(
    alarm_id: Uuid,
    rule: Option<&Arc<Rule>>,
    why: Why,
    value: Option<f64>,
    cause: Option<(LogId, Position)>,
) -> Step {
    let place = cause.map(|(log_id, position)| format!("{log_id}:{position}"));
    Step {
        alarm_id,
        input: Input::Clear(Clearing { why, by: None, note: None, value, cause: place }),
        rule: rule.cloned(),
        cause,
    }
}

/// Rows with the devices that they are about.
type Rows<'r> = Vec<(&'r Uid, &'r Stood)>;

/// The rows that are to be written, and those that are to be removed.
pub(super) fn changed(rows: &OfDevices) -> (Rows<'_>, Rows<'_>) {
    let of = |change: Change| {
        let rows = rows.iter().flat_map(|(uid, rows)| rows.iter().map(move |row| (uid, row)));
        let mut rows: Vec<_> = rows.filter(|(_, row)| row.change == change).collect();
        // Every writer locks the rows in this order, so that two never wait for each other.
        rows.sort_unstable_by(|(uid, row), (other_uid, other)| {
            (uid, &row.rule, row.epoch, &row.subject).cmp(&(
                other_uid,
                &other.rule,
                other.epoch,
                &other.subject,
            ))
        });
        rows
    };
    (of(Change::Write), of(Change::Remove))
}

/// The rows as they are once they are written.
pub(super) fn written(rows: OfDevices) -> HashMap<Uid, Vec<Stood>> {
    let mut rows = rows;
    for rows in rows.values_mut() {
        rows.retain(|row| row.change != Change::Remove);
        for row in rows.iter_mut() {
            row.change = Change::Nothing;
        }
    }
    rows
}

#[cfg(test)]
#[path = "board/tests.rs"]
mod tests;
