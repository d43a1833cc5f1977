//! Turns of the control log: a page of changes up to the next rule, or one rule.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fleetlog_aggregates::alarm_rule::Event as RuleEvent;
use fleetlog_aggregates::identity::{RuleName, StreamId};
use fleetlog_event_log::page::PAGE_BYTES;
use fleetlog_event_log::{Event, Position};

use super::board::Board;
use super::changes::{self, What};
use super::rulebook::Rule;
use super::standings::{self, OfDevices};
use super::tenant::{CHANGES, Moved, State, TenantWorker};
use super::turn::{Error, Turn};

impl TenantWorker {
    /// One page of the control log.
    pub(super) async fn changes(&mut self, state: &mut State, head: Position) -> Result<Moved, Error> {
        if state.rulebook.is_empty() && state.stale.is_empty() {
            // Nothing matters before the next rule.
            let first = self.first_rule(state.control).await?;
            state.control = first.map_or(head, |first| first - 1);
            if first.is_none() {
                return Ok(Moved::Nothing);
            }
        }
        let events = self.shared.log.page(self.control, state.control, CHANGES, PAGE_BYTES).await?;
        let means: Vec<(Option<What>, &Event)> =
            events.iter().map(|event| (changes::what(event), event)).collect();
        let first_rule = means.iter().position(|(what, _)| matches!(what, Some(What::Rule(..))));
        if first_rule == Some(0)
            && let Some((Some(What::Rule(name, event)), at)) = means.into_iter().next()
        {
            self.rule(state, name, event, at.position).await?;
            return Ok(Moved::On);
        }
        let until = first_rule.unwrap_or(events.len());
        let Some(last) = until.checked_sub(1).and_then(|last| events.get(last)) else {
            return Ok(Moved::Nothing);
        };
        let to = last.position;
        let facts: Vec<(What, &Event)> =
            events.iter().take(until).filter_map(|event| Some((changes::what(event)?, event))).collect();
        self.take_changes(state, &facts, to).await?;
        Ok(Moved::On)
    }

    async fn take_changes(
        &mut self,
        state: &mut State,
        facts: &[(What, &Event)],
        to: Position,
    ) -> Result<(), Error> {
        let (mut uids, mut ended) = (HashSet::new(), HashSet::new());
        for (what, event) in facts {
            match what {
                What::Relabelled(uid, _) | What::Decommissioned(uid) | What::Cleared(uid, _) => {
                    uids.insert(uid.clone());
                }
                What::Ended { .. } if state.rulebook.about_commands().next().is_some() => {
                    ended.extend(event.aggregate_id.parse::<StreamId>().ok());
                }
                What::Ended { .. } | What::Registered(_) | What::Rule(..) => {}
            }
        }
        let commands = changes::commands(&self.shared.log, &ended).await?;
        uids.extend(commands.values().map(|(uid, _)| uid.clone()));
        let known =
            if state.rulebook.wants_labels() { state.labels.of(uids.iter()).await? } else { HashMap::new() };
        let rows = self.rows(state, &uids).await?;
        let mut board = Board::new((&self.tenant, &state.rulebook), self.control, rows, state.open);
        changes::evaluate(&state.rulebook, (&mut state.labels, &commands), &known, facts, &mut board);
        let (control, telemetry) = (to, state.telemetry);
        let turn = Turn { control, telemetry, ..self.turn(state.number) };
        self.write(state, board.into_parts(), turn).await
    }

    /// A rule is defined or removed.
    async fn rule(
        &mut self,
        state: &mut State,
        name: RuleName,
        event: RuleEvent,
        to: Position,
    ) -> Result<(), Error> {
        let before = state.rulebook.find(name.as_str()).cloned();
        let mut rulebook = state.rulebook.clone();
        rulebook.apply(name.clone(), event);
        let after = rulebook.find(name.as_str()).cloned();
        let silence = |rule: &Arc<Rule>| rule.definition.condition.silence_s();
        let carried = match (&before, &after) {
            (Some(before), Some(after)) if before.epoch != after.epoch && silence(before).is_some() => {
                silence(after).map(|for_s| (name.to_string(), (before.epoch, after.epoch), for_s))
            }
            _ => None,
        };
        let mut telemetry = state.telemetry;
        if rulebook.wants_readings() && !state.rulebook.wants_readings() {
            let heads = self.shared.log.heads_after_appends(&[self.telemetry]).await?;
            telemetry = heads.get(&self.telemetry).copied().unwrap_or(telemetry).max(telemetry);
        }
        let is_carried = carried.is_some();
        let turn = Turn { control: to, telemetry, carried, ..self.turn(state.number) };
        self.write(state, (OfDevices::new(), vec![], state.open, 0), turn).await?;
        state.rulebook = rulebook;
        state.remembered.clear();
        if let Some(before) = before.filter(|before| after.is_none_or(|after| after.epoch != before.epoch)) {
            state.stale.push((before.name.to_string(), before.epoch));
        }
        if is_carried {
            state.next_due = standings::next_due(self.shared.log.pool(), &self.tenant).await?;
        }
        Ok(())
    }
}
