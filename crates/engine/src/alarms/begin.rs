//! Where a worker begins: how far the logs are evaluated, the rules as of there, and what is to be swept away.

use std::sync::Arc;

use fleetlog_aggregates::alarm_rule::Event as RuleEvent;
use fleetlog_aggregates::identity::RuleName;
use fleetlog_event_log::read::Filter;
use fleetlog_event_log::{Event, Position};
use tokio::time::Instant;

use super::changes::{self, What};
use super::labels::AllLabels;
use super::mails;
use super::remembered::Remembered;
use super::rulebook::Rulebook;
use super::standings;
use super::tenant::{CHANGES, State, TenantWorker};
use super::turn::Error;

impl TenantWorker {
    /// Reads how far the logs are evaluated, and the rules as of there. `None`: the tenant never had a rule. A log without
    /// events is not asked for one: there may be thousands.
    pub(super) async fn begin(&mut self) -> Result<Option<State>, Error> {
        let head = self.shared.log.heads().log(self.control).map_or(0, |log| log.head);
        if head == 0 {
            return Ok(None);
        }
        let _turn = Arc::clone(&self.shared.turns).acquire_owned().await;
        let pool = self.shared.log.pool();
        let progress = sqlx::query_as(
            "SELECT turn, control_position, telemetry_position FROM alarm_progress WHERE tenant = $1",
        );
        let progress: Option<(i64, Position, Position)> =
            progress.bind(self.tenant.as_str()).fetch_optional(pool).await?;
        let Some((number, control, telemetry)) = progress else {
            return self.look_for_a_rule(head).await.map(|()| None);
        };
        let mut rulebook = Rulebook::default();
        for (name, event) in self.rules_until(control).await? {
            rulebook.apply(name, event);
        }
        let is_stale =
            |(rule, epoch): &(String, u32)| rulebook.find(rule).is_none_or(|rule| rule.epoch != *epoch);
        let epochs = standings::epochs(pool, &self.tenant).await?;
        let (now, turned) = (self.shared.log.now(), Instant::now());
        Ok(Some(State {
            number,
            control,
            telemetry,
            known: (0, 0),
            remembered: Remembered::new(Arc::clone(&self.shared.remembered)),
            labels: AllLabels::new(self.shared.log.clone(), self.tenant.clone()),
            open: standings::open(pool, &self.tenant).await?,
            next_due: standings::next_due(pool, &self.tenant).await?,
            next_summary: mails::next_summary(pool, &self.tenant).await?,
            stale: epochs.into_iter().filter(is_stale).collect(),
            rulebook,
            steady_since: now,
            turned,
            rests_until: turned,
        }))
    }

    /// Looks for the tenant's first rule up to the head, and begins to evaluate there.
    async fn look_for_a_rule(&mut self, head: Position) -> Result<(), Error> {
        let Some(first) = self.first_rule(self.without_rules).await? else {
            self.without_rules = head;
            return Ok(());
        };
        let telemetry = self.shared.log.heads_after_appends(&[self.telemetry]).await?;
        sqlx::query(
            "INSERT INTO alarm_progress (tenant, control_position, telemetry_position) VALUES ($1, $2, $3)
             ON CONFLICT ON CONSTRAINT alarm_progress_key DO NOTHING",
        )
        .bind(self.tenant.as_str())
        .bind(first - 1)
        .bind(telemetry.get(&self.telemetry).copied().unwrap_or(0))
        .execute(self.shared.log.pool())
        .await?;
        Ok(())
    }

    /// The position of the first definition of a rule after a position.
    pub(super) async fn first_rule(&self, after: Position) -> Result<Option<Position>, Error> {
        let defined = Filter { event_type: Some("AlarmRuleDefined".to_owned()), ..Filter::default() };
        let found = self.shared.log.read(self.control, after, 1, &defined).await?;
        Ok(found.first().map(|event| event.position))
    }

    /// The events of rules up to a position, in order.
    async fn rules_until(&self, until: Position) -> Result<Vec<(RuleName, RuleEvent)>, Error> {
        let mut found: Vec<Event> = vec![];
        for event_type in ["AlarmRuleDefined", "AlarmRuleRemoved"] {
            let of_type = Filter { event_type: Some(event_type.to_owned()), ..Filter::default() };
            let mut after = 0;
            loop {
                let events = self.shared.log.read(self.control, after, CHANGES, &of_type).await?;
                let is_last = (events.len() as i64) < CHANGES;
                after = events.last().map_or(after, |event| event.position);
                found.extend(events.into_iter().filter(|event| event.position <= until));
                if is_last || after > until {
                    break;
                }
            }
        }
        found.sort_unstable_by_key(|event| event.position);
        let rules = found.iter().filter_map(|event| match changes::what(event) {
            Some(What::Rule(name, event)) => Some((name, event)),
            _ => None,
        });
        Ok(rules.collect())
    }
}
