//! Folds events into changes to alarms and rules. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::alarm::Alarm;
use fleetlog_aggregates::alarm_rule::{AlarmRule, Definition, Event as RuleEvent};
use fleetlog_aggregates::identity::StreamId;
use fleetlog_event_log::{Event, Position};
use serde::Serialize;
use uuid::Uuid;

use super::draft::{Draft, key};
use crate::read_model::Poison;

/// What a page of events changes. Ordered, so that two writers lock rows in the same order.
#[derive(Debug, Default, PartialEq)]
pub struct Fold {
    pub(super) alarms: BTreeMap<(String, Uuid), Draft>,
    /// Rules, by tenant and name.
    pub(super) rules: BTreeMap<(String, String), RuleDraft>,
    bytes: usize,
}

/// What events say about a rule: its last definition, and whether it was removed after that.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RuleDraft {
    pub(super) defined: Option<Defined>,
    pub(super) removed_at: Option<DateTime<Utc>>,
    pub(super) last_position: Position,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Defined {
    pub(super) version: u32,
    pub(super) definition: Definition,
    pub(super) devices: String,
    pub(super) condition: String,
    pub(super) at: DateTime<Utc>,
}

impl Fold {
    /// Adds an event. On an error nothing has changed.
    pub(super) fn add(&mut self, event: &Event) -> Result<(), Poison> {
        match &*event.aggregate_type {
            Alarm::TYPE => {
                let key = key(event)?;
                let mut draft = self.alarms.get(&key).cloned().unwrap_or_default();
                draft.add(event)?;
                self.alarms.insert(key, draft);
            }
            AlarmRule::TYPE => self.add_to_rule(event)?,
            _ => return Ok(()),
        }
        self.bytes += event.payload.0.len();
        Ok(())
    }

    fn add_to_rule(&mut self, event: &Event) -> Result<(), Poison> {
        let (at, last_position) = (event.occurred_at, event.position);
        let stream: Result<StreamId, _> = event.aggregate_id.parse();
        let StreamId { tenant, id: name } =
            stream.map_err(|_| Poison::new("the stream's id is not made of a tenant and a name"))?;
        match event.decode()? {
            RuleEvent::AlarmRuleDefined { version, definition } => {
                let (devices, condition) = (text(&definition.devices)?, text(&definition.condition)?);
                let defined = Some(Defined { version, definition, devices, condition, at });
                let draft = RuleDraft { defined, removed_at: None, last_position };
                self.rules.insert((tenant.into(), name), draft);
            }
            RuleEvent::AlarmRuleRemoved {} => {
                let draft = self.rules.entry((tenant.into(), name)).or_default();
                (draft.removed_at, draft.last_position) = (Some(at), last_position);
            }
        }
        Ok(())
    }

    pub(super) fn size(&self) -> usize {
        /// The bytes of a row's fixed columns, and of its place in a map.
        const ROW: usize = 1024;
        2 * self.bytes + ROW * (self.alarms.len() + self.rules.len())
    }
}

fn text(value: &impl Serialize) -> Result<String, Poison> {
    serde_json::to_string(value).map_err(Poison::new)
}

#[cfg(test)]
mod tests {
    use fleetlog_aggregates::alarm::{Status, Why};

    use super::super::Model;
    use super::*;
    use crate::given::{at, event, given};

    const ID: &str = "019a0000-0000-7000-8000-00000000000a";
    const RAISED: &str = r#"{"AlarmRaised":{"rule":"hot","severity":"major","device_uid":"dev-01","rule_version":1,
        "title":"Hot","condition":"threshold","metric":"t","value":81.0,"since":"2026-03-01T12:00:00Z","cause":"2:7"}}"#;

    fn alarm(event_type: &str, time: &str, payload: &str) -> Event {
        event("Alarm", ID, event_type, time, payload)
    }

    fn raised() -> Event {
        alarm("AlarmRaised", "12:00:05", RAISED)
    }

    fn acknowledged() -> Event {
        let payload =
            r#"{"AlarmAcknowledged":{"rule":"hot","severity":"major","device_uid":"dev-01","by":"user:1"}}"#;
        alarm("AlarmAcknowledged", "12:01:00", payload)
    }

    fn cleared() -> Event {
        let payload = r#"{"AlarmCleared":{"rule":"hot","severity":"major","device_uid":"dev-01","why":"condition","value":70.0}}"#;
        alarm("AlarmCleared", "12:02:00", payload)
    }

    fn draft(events: impl IntoIterator<Item = Event>) -> Draft {
        let (mut fold, results) = given::<Model>(events);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        fold.alarms.pop_first().expect("an alarm").1
    }

    #[test]
    fn an_alarm_is_what_its_events_add_up_to() {
        let alarm = draft([raised(), acknowledged(), cleared()]).into_alarm(Uuid::nil()).expect("raised");
        assert_eq!((alarm.status, alarm.position, alarm.last_position), (Status::Cleared, 1, 3));
        assert_eq!((alarm.raised_at, alarm.since), (at("12:00:05"), at("12:00:00")));
        assert_eq!(alarm.acknowledged_by.as_deref(), Some("user:1"));
        assert_eq!((alarm.cleared_because, alarm.clear_value), (Some(Why::Condition), Some(70.0)));
    }

    #[test]
    fn what_a_page_does_not_say_stays() {
        let draft = draft([cleared()]);
        assert_eq!((draft.status, draft.raised, draft.acknowledged), (Some(Status::Cleared), None, None));
    }

    #[test]
    fn a_rule_that_is_removed_in_the_page_that_defines_it_keeps_its_definition() {
        let defined = r#"{"AlarmRuleDefined":{"version":3,"title":"Hot","severity":"major","devices":"all",
            "condition":{"kind":"silent","for_s":60}}}"#;
        let (fold, results) = given::<Model>([
            event("AlarmRule", "hot", "AlarmRuleDefined", "12:00:00", defined),
            event("AlarmRule", "hot", "AlarmRuleRemoved", "12:00:01", r#"{"AlarmRuleRemoved":{}}"#),
        ]);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let draft = fold.rules.values().next().expect("a rule");
        assert_eq!(draft.defined.as_ref().map(|defined| defined.version), Some(3));
        assert_eq!((draft.removed_at, draft.last_position), (Some(at("12:00:01")), 2));
    }

    #[test]
    fn an_event_that_makes_no_sense_is_poison_and_changes_nothing() {
        for poison in [
            alarm("AlarmCleared", "12:00:00", RAISED),
            event("Alarm", "not-a-uuid", "AlarmRaised", "12:00:00", RAISED),
            event("AlarmRule", "hot", "AlarmRuleDefined", "12:00:00", "{}"),
        ] {
            let (fold, results) = given::<Model>([poison.clone()]);
            assert!(results[0].is_err(), "{poison:?}");
            assert_eq!(fold, Fold::default(), "{poison:?}");
        }
    }
}
