//! Folds events into changes to commands, batches and types. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::command::Command;
use fleetlog_aggregates::command_batch::{self, CommandBatch};
use fleetlog_aggregates::command_type::{self, CommandType};
use fleetlog_aggregates::identity::StreamId;
use fleetlog_event_log::{Event, Position};
use uuid::Uuid;

use super::draft::{Draft, key, text};
use crate::read_model::Poison;

type Key = (String, Uuid);

/// What a page of events changes. Ordered, so that two writers lock rows in the same order.
#[derive(Debug, Default, PartialEq)]
pub struct Fold {
    pub(super) commands: BTreeMap<Key, Draft>,
    pub(super) batches: BTreeMap<Key, BatchDraft>,
    /// Command types, by tenant and name.
    pub(super) types: BTreeMap<(String, String), TypeDraft>,
    bytes: usize,
}

/// What events say about a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct BatchDraft {
    pub(super) requested: Option<BatchRequested>,
    /// How many devices this page's events name.
    pub(super) devices: i32,
    pub(super) status: Option<command_batch::Status>,
    pub(super) ended_at: Option<DateTime<Utc>>,
    pub(super) cancelled_by: Option<String>,
    pub(super) cancel_reason: Option<String>,
    pub(super) last_position: Position,
}

impl BatchDraft {
    fn end(&mut self, status: command_batch::Status, at: DateTime<Utc>) {
        (self.status, self.ended_at) = (Some(status), Some(at));
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchRequested {
    pub(super) request: command_batch::Request,
    pub(super) selector: String,
    pub(super) params: String,
    pub(super) at: DateTime<Utc>,
    pub(super) position: Position,
}

/// What events say about a command type: its last definition, and whether it was removed after that.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TypeDraft {
    pub(super) defined: Option<Defined>,
    pub(super) removed_at: Option<DateTime<Utc>>,
    pub(super) last_position: Position,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Defined {
    pub(super) description: Option<String>,
    pub(super) params: String,
    pub(super) max_attempts: Option<i32>,
    pub(super) at: DateTime<Utc>,
}

impl Fold {
    /// Adds an event. On an error nothing has changed.
    pub(super) fn add(&mut self, event: &Event) -> Result<(), Poison> {
        match &*event.aggregate_type {
            Command::TYPE => {
                let key = key(event)?;
                let mut draft = self.commands.get(&key).cloned().unwrap_or_default();
                draft.add(event)?;
                self.commands.insert(key, draft);
            }
            CommandBatch::TYPE => self.add_to_batch(event)?,
            CommandType::TYPE => self.add_to_type(event)?,
            _ => return Ok(()),
        }
        self.bytes += event.payload.0.len();
        Ok(())
    }

    fn add_to_batch(&mut self, event: &Event) -> Result<(), Poison> {
        let (key, at) = (key(event)?, event.occurred_at);
        let parsed: command_batch::Event = event.decode()?;
        let mut draft = self.batches.get(&key).cloned().unwrap_or_default();
        match parsed {
            command_batch::Event::CommandBatchRequested(request) => {
                draft.status = Some(command_batch::Status::Running);
                draft.requested = Some(BatchRequested {
                    selector: text(&request.selector)?,
                    params: text(&request.params)?,
                    at,
                    position: event.position,
                    request,
                });
            }
            command_batch::Event::CommandBatchTargeted { devices } => draft.devices += devices.len() as i32,
            command_batch::Event::CommandBatchPaused { .. } => {
                draft.status = Some(command_batch::Status::Paused);
            }
            command_batch::Event::CommandBatchResumed { .. } => {
                draft.status = Some(command_batch::Status::Running);
            }
            command_batch::Event::CommandBatchCompleted {} => draft.end(command_batch::Status::Completed, at),
            command_batch::Event::CommandBatchAborted { .. } => draft.end(command_batch::Status::Aborted, at),
            command_batch::Event::CommandBatchCancelled { by, reason } => {
                draft.end(command_batch::Status::Cancelled, at);
                draft.cancelled_by = Some(by);
                draft.cancel_reason = reason;
            }
        }
        draft.last_position = event.position;
        self.batches.insert(key, draft);
        Ok(())
    }

    fn add_to_type(&mut self, event: &Event) -> Result<(), Poison> {
        let (at, last_position) = (event.occurred_at, event.position);
        let stream: Result<StreamId, _> = event.aggregate_id.parse();
        let StreamId { tenant, id: name } =
            stream.map_err(|_| Poison::new("the stream's id is not made of a tenant and a name"))?;
        match event.decode()? {
            command_type::Event::CommandTypeDefined(definition) => {
                let params = text(&definition.params)?;
                let max_attempts = definition.max_attempts.map(|attempts| attempts as i32);
                let defined = Some(Defined { description: definition.description, params, max_attempts, at });
                let draft = TypeDraft { defined, removed_at: None, last_position };
                self.types.insert((tenant.into(), name), draft);
            }
            command_type::Event::CommandTypeRemoved {} => {
                let draft = self.types.entry((tenant.into(), name)).or_default();
                (draft.removed_at, draft.last_position) = (Some(at), last_position);
            }
        }
        Ok(())
    }

    pub(super) fn size(&self) -> usize {
        /// The bytes of a row's fixed columns, and of its place in a map.
        const ROW: usize = 1024;
        2 * self.bytes + ROW * (self.commands.len() + self.batches.len() + self.types.len())
    }
}

#[cfg(test)]
mod tests {
    use fleetlog_aggregates::command::Status;

    use super::*;
    use crate::commands::Model;
    use crate::given::{at, event, given};

    const ID: &str = "019a0000-0000-7000-8000-000000000001";
    const REQUEST: &str = r#"{"CommandRequested":{"device_uid":"dev-01","cmd":"ping","params":{"a":1},"requested_by":"user:1","timeout_s":10,"max_attempts":2,"expires_at":"2026-03-02T12:00:00Z"}}"#;

    fn command(event_type: &str, time: &str, payload: &str) -> Event {
        event("Command", ID, event_type, time, payload)
    }

    fn requested() -> Event {
        command("CommandRequested", "12:00:00", REQUEST)
    }

    fn draft(events: impl IntoIterator<Item = Event>) -> Draft {
        let (mut fold, results) = given::<Model>(events);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        fold.commands.pop_first().expect("a command").1
    }

    #[test]
    fn a_command_is_what_its_events_add_up_to() {
        let sent = r#"{"CommandSent":{"attempt":1,"deadline":"2026-03-01T12:00:11Z"}}"#;
        let events = [
            requested(),
            command("CommandSent", "12:00:01", sent),
            command("CommandAcknowledged", "12:00:02", r#"{"CommandAcknowledged":{"result":[1]}}"#),
        ];
        let command = draft(events).into_command(Uuid::nil()).expect("requested");
        assert_eq!((command.status, command.attempts, command.position), (Status::Acked, 1, 1));
        assert_eq!((command.sent_at, command.ended_at), (Some(at("12:00:01")), Some(at("12:00:02"))));
        assert_eq!(command.last_position, Some(3));
        assert_eq!(
            (command.params.0.as_str(), command.result.expect("a result").0.as_str()),
            (r#"{"a":1}"#, "[1]")
        );
    }

    #[test]
    fn a_late_answer_changes_nothing_but_itself() {
        let events = [
            command("CommandTimedOut", "12:00:30", r#"{"CommandTimedOut":{"attempts":2}}"#),
            command("LateAckRecorded", "12:01:00", r#"{"LateAckRecorded":{"status":"ack"}}"#),
        ];
        let draft = draft(events);
        assert_eq!((draft.status, draft.ended_at), (Some(Status::TimedOut), Some(at("12:00:30"))));
        assert_eq!(draft.late_ack.as_deref(), Some(r#"{"status":"ack"}"#));
        assert_eq!((draft.requested, draft.result), (None, None), "what was not said stays");
    }

    #[test]
    fn a_type_that_is_removed_in_the_page_that_defines_it_keeps_its_definition() {
        let defined = r#"{"CommandTypeDefined":{"description":"Beeps.","params":{}}}"#;
        let (fold, results) = given::<Model>([
            event("CommandType", "beep", "CommandTypeDefined", "12:00:00", defined),
            event("CommandType", "beep", "CommandTypeRemoved", "12:00:01", r#"{"CommandTypeRemoved":{}}"#),
        ]);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let draft = fold.types.values().next().expect("a type");
        assert_eq!(draft.defined.as_ref().and_then(|defined| defined.description.as_deref()), Some("Beeps."));
        assert_eq!((draft.removed_at, draft.last_position), (Some(at("12:00:01")), 2));
    }

    #[test]
    fn an_event_that_makes_no_sense_is_poison_and_changes_nothing() {
        for poison in [
            command("CommandSent", "12:00:00", REQUEST),
            command("CommandExploded", "12:00:00", "{}"),
            event("Command", "not-a-uuid", "CommandRequested", "12:00:00", REQUEST),
            event("CommandType", "ping", "CommandTypeDefined", "12:00:00", "{}"),
            event("CommandBatch", ID, "CommandBatchCompleted", "12:00:00", "[]"),
        ] {
            let (fold, results) = given::<Model>([poison.clone()]);
            assert!(results[0].is_err(), "{poison:?}");
            assert_eq!(fold, Fold::default(), "{poison:?}");
        }
    }
}
