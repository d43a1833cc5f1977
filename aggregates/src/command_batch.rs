//! The `CommandBatch` aggregate, stream `tenant/batch_id`: one command for many devices, at a rate, until all have it or
//! too many fail.
//!
//! The devices are chosen when the batch is requested, and stay. Each gets a `Command` of its own, whose id follows from
//! the batch and the device: whoever goes on with a batch after a crash cannot send anything twice. Read top to bottom:
//! commands, events, errors, state, `decide`, `apply`, tests.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command::{MAX_LIFE, OutOfBounds, check_attempts, check_reason};
use crate::identity::Uid;
use crate::words;

/// How many devices a batch has at most.
pub const MAX_DEVICES: usize = 100_000;
/// How many of them one event names.
const CHUNK: usize = 1000;
/// Commands a second.
pub const RATE_PER_S: std::ops::RangeInclusive<u32> = 1..=1000;

/// What may be asked of a batch's record.
#[expect(clippy::large_enum_variant, reason = "it lives for one decision")]
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Put it on the record, to be sent to these devices.
    Request(Request, Vec<Uid>, DateTime<Utc>),
    /// Every command has ended.
    Complete,
    /// Too many commands have failed.
    Abort {
        /// How many.
        failures: u32,
    },
    /// Somebody does not want the rest of it.
    Cancel {
        /// Who.
        by: String,
        /// Why, for people.
        reason: Option<String>,
    },
}

/// A batch as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// How the devices were chosen, in the requester's words.
    pub selector: Value,
    /// What to do.
    pub cmd: String,
    /// With what.
    pub params: Value,
    /// Who wants it.
    pub requested_by: String,
    /// How long an attempt waits for its device, in seconds.
    pub timeout_s: u32,
    /// How many attempts each command may have.
    pub max_attempts: u32,
    /// After this nothing is sent any more.
    pub expires_at: DateTime<Utc>,
    /// How many commands are requested a second.
    pub rate_per_s: u32,
    /// So many commands that failed or timed out end the batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_after_failures: Option<u32>,
    /// What the requester's words hashed to, where an idempotency key came with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
}

/// What has happened to a batch. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// It is to be sent.
    CommandBatchRequested(Request),
    /// To these devices, after those named before.
    CommandBatchTargeted {
        /// At most 1,000 of them.
        devices: Vec<Uid>,
    },
    /// Every command has ended.
    CommandBatchCompleted {},
    /// Too many commands failed; no more are requested.
    CommandBatchAborted {
        /// How many had failed.
        failures: u32,
    },
    /// Somebody did not want the rest of it.
    CommandBatchCancelled {
        /// Who.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::CommandBatchRequested(_) => "CommandBatchRequested",
            Self::CommandBatchTargeted { .. } => "CommandBatchTargeted",
            Self::CommandBatchCompleted {} => "CommandBatchCompleted",
            Self::CommandBatchAborted { .. } => "CommandBatchAborted",
            Self::CommandBatchCancelled { .. } => "CommandBatchCancelled",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

/// Why an input was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such batch.
    #[error("there is no such batch")]
    Unknown,
    /// It was asked for already, in the same words.
    #[error("the batch was requested already")]
    AlreadyRequested,
    /// Its id was used for other words.
    #[error("the batch was requested already, in other words")]
    OtherRequest,
    /// A bound is not kept.
    #[error("{field}: {why}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What it should be.
        why: &'static str,
    },
    /// It has ended.
    #[error("the batch has ended: {}", .0.as_str())]
    Ended(Status),
}

/// Where a batch is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Commands are being requested, or have not all ended.
    Running,
    /// Every command has ended.
    Completed,
    /// Too many failed.
    Aborted,
    /// Somebody did not want the rest of it.
    Cancelled,
}

words! { Status { Running = "running", Completed = "completed", Aborted = "aborted", Cancelled = "cancelled" } }

/// A batch as its events left it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandBatch {
    request: Option<Request>,
    devices: Vec<Uid>,
    status: Option<Status>,
}

impl CommandBatch {
    /// Where it is in its life. `None` if there is no such batch.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// What was asked for.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// Its devices, in the order in which they get the command.
    #[must_use]
    pub fn devices(&self) -> &[Uid] {
        &self.devices
    }

    /// What follows from an input. Pure: the same state and input always give the same answer.
    pub fn decide(&self, input: Input) -> Result<Vec<Event>, Error> {
        let Some((request, status)) = self.request.as_ref().zip(self.status) else {
            let Input::Request(mut request, devices, at) = input else { return Err(Error::Unknown) };
            check(&request, &devices, at)?;
            request.expires_at = request.expires_at.trunc_subsecs(6);
            let targeted = devices.chunks(CHUNK);
            let targeted = targeted.map(|devices| Event::CommandBatchTargeted { devices: devices.to_vec() });
            return Ok(std::iter::once(Event::CommandBatchRequested(request)).chain(targeted).collect());
        };
        match (input, status) {
            (Input::Request(again, ..), _) => match (&request.request_digest, &again.request_digest) {
                (Some(first), Some(second)) if first != second => Err(Error::OtherRequest),
                _ => Err(Error::AlreadyRequested),
            },
            (Input::Complete, Status::Running) => Ok(vec![Event::CommandBatchCompleted {}]),
            (Input::Abort { failures }, Status::Running) => Ok(vec![Event::CommandBatchAborted { failures }]),
            (Input::Cancel { by, reason }, Status::Running) => {
                check_reason(reason.as_deref()).map_err(invalid)?;
                Ok(vec![Event::CommandBatchCancelled { by, reason }])
            }
            (Input::Complete | Input::Abort { .. } | Input::Cancel { .. }, _) => Err(Error::Ended(status)),
        }
    }
}

fn check(request: &Request, devices: &[Uid], at: DateTime<Utc>) -> Result<(), Error> {
    if devices.is_empty() || devices.len() > MAX_DEVICES {
        return Err(invalid(("selector", "expected to choose 1 to 100000 devices")));
    }
    check_attempts(request.timeout_s, request.max_attempts).map_err(invalid)?;
    if !RATE_PER_S.contains(&request.rate_per_s) {
        return Err(invalid(("rate_per_s", "expected 1 to 1000")));
    }
    if request.abort_after_failures.is_some_and(|failures| !(1..=MAX_DEVICES as u32).contains(&failures)) {
        return Err(invalid(("abort_after_failures", "expected 1 to 100000")));
    }
    // Commands are requested one after the other; the last of them must still have time.
    let takes = TimeDelta::seconds(devices.len() as i64 / i64::from(request.rate_per_s));
    if request.expires_at <= at + takes || request.expires_at > at + MAX_LIFE {
        return Err(invalid((
            "expires_at",
            "expected a time after the last command's request, at most 30 days away",
        )));
    }
    Ok(())
}

fn invalid((field, why): OutOfBounds) -> Error {
    Error::Invalid { field, why }
}

impl Aggregate for CommandBatch {
    const TYPE: &'static str = "CommandBatch";
    type Command = Input;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, input: Input, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        for event in self.decide(input)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::CommandBatchRequested(request) => {
                *self = Self { request: Some(request), devices: vec![], status: Some(Status::Running) };
            }
            Event::CommandBatchTargeted { devices } => self.devices.extend(devices),
            Event::CommandBatchCompleted {} => self.status = Some(Status::Completed),
            Event::CommandBatchAborted { .. } => self.status = Some(Status::Aborted),
            Event::CommandBatchCancelled { .. } => self.status = Some(Status::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_366_400 + seconds, 0).expect("in range")
    }

    fn request() -> Request {
        Request {
            selector: json!({"labels": {"site": "a"}}),
            cmd: "ping".into(),
            params: json!({}),
            requested_by: "user:1".into(),
            timeout_s: 10,
            max_attempts: 1,
            expires_at: at(1000),
            rate_per_s: 10,
            abort_after_failures: Some(3),
            request_digest: None,
        }
    }

    fn devices(count: usize) -> Vec<Uid> {
        (0..count).map(|n| format!("dev-{n}").parse().expect("a uid")).collect()
    }

    fn given(events: impl IntoIterator<Item = Event>) -> CommandBatch {
        let mut batch = CommandBatch::default();
        events.into_iter().for_each(|event| batch.apply(event));
        batch
    }

    fn running() -> Vec<Event> {
        given([]).decide(Input::Request(request(), devices(2), at(0))).expect("accepted")
    }

    fn cancel() -> Input {
        Input::Cancel { by: "user:2".into(), reason: None }
    }

    #[test]
    fn a_batch_keeps_its_devices_in_their_order() {
        let events = given([]).decide(Input::Request(request(), devices(2500), at(0))).expect("accepted");
        assert_eq!(events.len(), 4, "one request, and three events of at most 1,000 devices");
        assert_eq!(given(events).devices(), devices(2500));
    }

    #[test]
    fn a_running_batch_ends_once() {
        for (input, status) in [
            (Input::Complete, Status::Completed),
            (Input::Abort { failures: 3 }, Status::Aborted),
            (cancel(), Status::Cancelled),
        ] {
            assert_eq!(given([]).decide(input.clone()), Err(Error::Unknown));
            let ended = given(running().into_iter().chain(given(running()).decide(input).expect("running")));
            assert_eq!(ended.status(), Some(status));
            for again in [Input::Complete, Input::Abort { failures: 9 }, cancel()] {
                assert_eq!(ended.decide(again), Err(Error::Ended(status)));
            }
        }
    }

    #[test]
    fn a_batch_is_requested_once() {
        let again = Input::Request(request(), devices(1), at(5));
        assert_eq!(given(running()).decide(again), Err(Error::AlreadyRequested));
    }

    #[test]
    fn a_request_keeps_its_bounds() {
        let with = |count, change: fn(&mut Request)| {
            let mut request = request();
            change(&mut request);
            match given([]).decide(Input::Request(request, devices(count), at(0))) {
                Err(Error::Invalid { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(with(0, |_| ()), "selector");
        assert_eq!(with(MAX_DEVICES + 1, |_| ()), "selector");
        assert_eq!(with(1, |request| request.rate_per_s = 0), "rate_per_s");
        assert_eq!(with(1, |request| request.abort_after_failures = Some(0)), "abort_after_failures");
        assert_eq!(with(1, |request| request.abort_after_failures = Some(u32::MAX)), "abort_after_failures");
        assert_eq!(with(1, |request| request.timeout_s = 0), "timeout_s");
        assert_eq!(with(1, |request| request.max_attempts = 0), "max_attempts");
        assert_eq!(with(10_000, |_| ()), "expires_at", "the last would be requested after it");
    }

    #[test]
    fn the_stored_form_of_every_event_stays_readable() {
        for (json, event) in [
            (
                r#"{"CommandBatchRequested":{"selector":{"labels":{"site":"a"}},"cmd":"ping","params":{},"requested_by":"user:1","timeout_s":10,"max_attempts":1,"expires_at":"2026-03-01T12:16:40Z","rate_per_s":10,"abort_after_failures":3}}"#,
                Event::CommandBatchRequested(request()),
            ),
            (
                r#"{"CommandBatchTargeted":{"devices":["dev-0"]}}"#,
                Event::CommandBatchTargeted { devices: devices(1) },
            ),
            (r#"{"CommandBatchCompleted":{}}"#, Event::CommandBatchCompleted {}),
            (r#"{"CommandBatchAborted":{"failures":3}}"#, Event::CommandBatchAborted { failures: 3 }),
            (
                r#"{"CommandBatchCancelled":{"by":"user:2"}}"#,
                Event::CommandBatchCancelled { by: "user:2".into(), reason: None },
            ),
        ] {
            assert_eq!(serde_json::to_string(&event).expect("serializes"), json);
            assert_eq!(serde_json::from_str::<Event>(json).expect("deserializes"), event);
        }
    }
}
