//! Devices' acks of commands. Each is decided by its command's record, and becomes an event there or a row in
//! quarantine. Several are decided at a time; two acks of one command take turns at its stream.

use fleetlog_aggregates::command::{Ack, Command, Error as Refusal, Input};
use fleetlog_aggregates::command_ack;
use fleetlog_aggregates::identity::StreamId;
use fleetlog_aggregates::telemetry::Reason;
use fleetlog_aggregates::topic::Topic;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, ExecuteError, Metadata, Record};
use fleetlog_event_log::crash;
use fleetlog_event_log::health::Wait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Fate;
use super::handle::Message;
use super::lane::{SUSPENDED, quarantine, refuse};
use super::retry::{failed, patience, unstored};
use crate::instruments;

/// The most acks that are decided at the same time. Their appends take turns on the control log's row, but the steps
/// before that overlap.
const AT_ONCE: usize = 16;

#[derive(Clone)]
pub(super) struct Acks {
    log: EventLog,
}

/// The outcome of an ack.
enum Decided {
    Recorded(i64),
    Duplicate,
    Refused(Reason, String),
}

impl Acks {
    pub(super) fn new(log: EventLog) -> Self {
        Self { log }
    }

    pub(super) async fn run(self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let mut work = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = work.next() => {}
                message = inbox.recv(), if work.len() < AT_ONCE => match message {
                    Some(message) => work.push(self.judge(message)),
                    None => break,
                },
            }
        }
        while work.next().await.is_some() {}
    }

    async fn judge(&self, message: Message) {
        crash::point("ack.received");
        let wait = &unstored(self.log.health(), message.submitted);
        let topic = Topic::parse(&message.topic);
        let tenant = topic.as_ref().map(|topic| topic.tenant.clone());
        let decided = match (topic, command_ack::decode(&message.payload)) {
            (Some(topic), _) if self.log.terms().of(topic.tenant.as_str()).suspended => {
                Decided::Refused(Reason::TenantSuspended, SUSPENDED.to_owned())
            }
            (Some(topic), Ok((cmd_id, ack))) => self.record(&topic, cmd_id, ack, wait).await,
            (None, _) => Decided::Refused(Reason::BadTopic, "the topic names no device".to_owned()),
            (Some(topic), Err((reason, detail))) => {
                if let Some(cmd_id) = command_ack::named_command(&message.payload) {
                    self.note(&topic, cmd_id, &detail, wait).await;
                }
                Decided::Refused(reason, detail)
            }
        };
        crash::point("ack.recorded");
        let outcome = match decided {
            Decided::Recorded(position) => {
                message.answer(Fate::Recorded(position));
                "recorded"
            }
            Decided::Duplicate => {
                message.answer(Fate::Duplicate);
                "duplicate"
            }
            Decided::Refused(reason, detail) => {
                quarantine(&self.log, wait, vec![refuse(message, tenant, reason, detail)]).await;
                "quarantined"
            }
        };
        instruments::COMMAND_ACKS.with([outcome.into()]).increment(1);
        instruments::IN_FLIGHT.decrement(1.0);
    }

    async fn record(&self, topic: &Topic, cmd_id: Uuid, ack: Ack, wait: &Wait) -> Decided {
        let input =
            || Input::Acknowledge { device_uid: topic.uid.clone(), ack: ack.clone(), at: self.log.now() };
        self.append(topic, cmd_id, input, wait).await
    }

    /// Notes in the command's history that an answer to it cannot be read.
    async fn note(&self, topic: &Topic, cmd_id: Uuid, why: &str, wait: &Wait) {
        let input = || Input::AcknowledgeUnreadably {
            device_uid: topic.uid.clone(),
            why: why.to_owned(),
            at: self.log.now(),
        };
        // Whether the command is the device's own makes no difference to what becomes of the answer.
        self.append(topic, cmd_id, input, wait).await;
    }

    /// Decides on what a device says of a command and appends it, and tries until the database takes it.
    async fn append(&self, topic: &Topic, cmd_id: Uuid, input: impl Fn() -> Input, wait: &Wait) -> Decided {
        let stream = StreamId::new(&topic.tenant, cmd_id);
        let mut backoff = patience();
        loop {
            let input = input();
            let recorded = match self.look(&stream, topic).await {
                Ok((record, metadata)) => self.log.execute_on(&stream, Some(record), input, metadata).await,
                Err(error) => Err(error.into()),
            };
            match recorded {
                Ok(at) => return at.map_or(Decided::Duplicate, |at| Decided::Recorded(at.position)),
                Err(ExecuteError::Refused(refusal)) => return refused(&refusal),
                Err(ExecuteError::Conflict) => {}
                Err(ExecuteError::Log(error)) => failed("record an acknowledgement", wait, &error),
            }
            backoff.wait().await;
        }
    }

    /// Loads the command's record and makes the metadata of the ack: the device as actor, the request's correlation id,
    /// and the position of the command's last event.
    async fn look(
        &self,
        stream: &StreamId,
        topic: &Topic,
    ) -> Result<(Record<Command>, Metadata), fleetlog_event_log::Error> {
        let events = self.log.streams::<Command>(std::slice::from_ref(stream)).await?;
        let metadata = Metadata {
            correlation_id: events.first().and_then(|first| first.metadata.correlation_id()),
            causation: events.last().map(|last| (last.log_id, last.position)),
            ..Metadata::by(Actor::Device(topic.uid.clone()))
        };
        Ok((Record::of(&events)?, metadata))
    }
}

fn refused(refusal: &Refusal) -> Decided {
    let reason = match refusal {
        Refusal::AlreadyAnswered => return Decided::Duplicate,
        Refusal::OtherAnswer => Reason::OtherAnswer,
        // A device gets the same answer for an unknown command as for another device's command.
        _ => Reason::UnknownCommand,
    };
    let detail = match reason {
        Reason::OtherAnswer => "the command has been answered otherwise",
        _ => "no command of that id was sent to this device",
    };
    Decided::Refused(reason, detail.to_owned())
}
