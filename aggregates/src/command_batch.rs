//! The `CommandBatch` aggregate, stream `tenant/batch_id`: one command for many devices, sent at a rate until every
//! command has ended or too many have failed.
//!
//! The devices are chosen when the batch is requested and do not change. Each gets a `Command` of its own, whose id
//! is derived from the batch and the device: resuming a batch after a crash sends nothing twice. Read top to bottom:
//! commands, events, errors, state, `decide`, `apply`, tests.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command::{MAX_LIFE, OutOfBounds, check_attempts, check_reason};
use crate::identity::Uid;
use crate::words;

/// The most devices a batch may have.
pub const MAX_DEVICES: usize = 100_000;
/// The most devices that one event names.
const CHUNK: usize = 1000;
/// How many commands a batch may request per second.
pub const RATE_PER_S: std::ops::RangeInclusive<u32> = 1..=1000;

/// What the `CommandBatch` aggregate decides on.
#[expect(clippy::large_enum_variant, reason = "it lives for one decision")]
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Request the batch for these devices, at this time.
    Request(Request, Vec<Uid>, DateTime<Utc>),
    /// Record that every command has ended.
    Complete,
    /// End the batch because too many commands have failed.
    Abort {
        /// How many commands failed or timed out.
        failures: u32,
    },
    /// Request no more commands until the batch goes on.
    Pause {
        /// The principal who pauses it: a user's id, or `key:` and an API key's id.
        by: String,
    },
    /// Go on with a paused batch.
    Resume {
        /// The principal who resumes it: a user's id, or `key:` and an API key's id.
        by: String,
    },
    /// Cancel the rest of the batch.
    Cancel {
        /// The principal who cancels it: a user's id, or `key:` and an API key's id.
        by: String,
        /// The reason, for people.
        reason: Option<String>,
    },
}

/// A batch as requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// How the devices were chosen: the selector as the requester wrote it.
    pub selector: Value,
    /// The name of the command type.
    pub cmd: String,
    /// The parameters of every command.
    pub params: Value,
    /// The principal who requested the batch: a user's id, or `key:` and an API key's id.
    pub requested_by: String,
    /// How long an attempt waits for its device's answer, in seconds.
    pub timeout_s: u32,
    /// How many attempts each command may have.
    pub max_attempts: u32,
    /// No command is sent after this time.
    pub expires_at: DateTime<Utc>,
    /// How many commands are requested per second.
    pub rate_per_s: u32,
    /// The batch ends once this many commands have failed or timed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_after_failures: Option<u32>,
    /// A digest of the request, if it came with an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
}

/// What has happened to a batch. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The batch is to be sent.
    CommandBatchRequested(Request),
    /// The batch is for these devices too, after those of earlier events.
    CommandBatchTargeted {
        /// At most 1,000 devices.
        devices: Vec<Uid>,
    },
    /// Every command has ended.
    CommandBatchCompleted {},
    /// Too many commands failed; no more are requested.
    CommandBatchAborted {
        /// How many commands had failed or timed out.
        failures: u32,
    },
    /// No more commands are requested until the batch goes on. Those that were requested run to their end.
    CommandBatchPaused {
        /// The principal who paused it: a user's id, or `key:` and an API key's id.
        by: String,
    },
    /// The batch goes on.
    CommandBatchResumed {
        /// The principal who resumed it: a user's id, or `key:` and an API key's id.
        by: String,
    },
    /// The rest of the batch was cancelled.
    CommandBatchCancelled {
        /// The principal who cancelled it: a user's id, or `key:` and an API key's id.
        by: String,
        /// The reason, for people.
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
            Self::CommandBatchPaused { .. } => "CommandBatchPaused",
            Self::CommandBatchResumed { .. } => "CommandBatchResumed",
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
    /// The same request is on the record already.
    #[error("the batch was requested already")]
    AlreadyRequested,
    /// The batch's id was used for a different request.
    #[error("the batch was requested already, in other words")]
    OtherRequest,
    /// A field is out of bounds.
    #[error("{field}: {why}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// What the field should be.
        why: &'static str,
    },
    /// The batch has ended.
    #[error("the batch has ended: {}", .0.as_str())]
    Ended(Status),
    /// The batch is paused already.
    #[error("the batch is paused already")]
    Paused,
    /// The batch is not paused.
    #[error("the batch is not paused")]
    NotPaused,
}

/// Where a batch is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Commands are still being requested, or have not all ended.
    Running,
    /// No more commands are requested until it goes on.
    Paused,
    /// Every command has ended.
    Completed,
    /// Too many commands failed.
    Aborted,
    /// The rest of the batch was cancelled.
    Cancelled,
}

impl Status {
    /// Whether anything may still happen to the batch.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

words! { Status { Running = "running", Paused = "paused", Completed = "completed", Aborted = "aborted", Cancelled = "cancelled" } }

/// A batch's state, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandBatch {
    request: Option<Request>,
    devices: Vec<Uid>,
    status: Option<Status>,
}

impl CommandBatch {
    /// The batch's status. `None` if the batch does not exist.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// The batch as requested. `None` if the batch does not exist.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// The batch's devices, in the order in which they get the command.
    #[must_use]
    pub fn devices(&self) -> &[Uid] {
        &self.devices
    }

    /// The events that follow from an input. Pure: the same state and input always give the same answer.
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
            (_, status) if !status.is_open() => Err(Error::Ended(status)),
            // Commands that were requested before a pause run to their end, and may be the last ones.
            (Input::Complete, _) => Ok(vec![Event::CommandBatchCompleted {}]),
            (Input::Abort { failures }, _) => Ok(vec![Event::CommandBatchAborted { failures }]),
            (Input::Cancel { by, reason }, _) => {
                check_reason(reason.as_deref()).map_err(invalid)?;
                Ok(vec![Event::CommandBatchCancelled { by, reason }])
            }
            (Input::Pause { by }, Status::Running) => Ok(vec![Event::CommandBatchPaused { by }]),
            (Input::Pause { .. }, _) => Err(Error::Paused),
            (Input::Resume { by }, Status::Paused) => Ok(vec![Event::CommandBatchResumed { by }]),
            (Input::Resume { .. }, _) => Err(Error::NotPaused),
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
    // Commands are requested at the batch's rate, and the last one must still have time before it expires.
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
            Event::CommandBatchPaused { .. } => self.status = Some(Status::Paused),
            Event::CommandBatchResumed { .. } => self.status = Some(Status::Running),
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
            for again in [Input::Complete, Input::Abort { failures: 9 }, cancel(), pause(), resume()] {
                assert_eq!(ended.decide(again), Err(Error::Ended(status)));
            }
        }
    }

    fn pause() -> Input {
        Input::Pause { by: "user:2".into() }
    }

    fn resume() -> Input {
        Input::Resume { by: "user:2".into() }
    }

    #[test]
    fn a_batch_pauses_and_goes_on_any_number_of_times() {
        let mut batch = given(running());
        for _ in 0..2 {
            assert_eq!(batch.decide(resume()), Err(Error::NotPaused));
            batch.decide(pause()).expect("running").into_iter().for_each(|event| batch.apply(event));
            assert_eq!(batch.status(), Some(Status::Paused));
            assert_eq!(batch.decide(pause()), Err(Error::Paused));
            batch.decide(resume()).expect("paused").into_iter().for_each(|event| batch.apply(event));
            assert_eq!(batch.status(), Some(Status::Running));
        }
        assert_eq!(given([]).decide(pause()), Err(Error::Unknown));
    }

    #[test]
    fn a_paused_batch_can_end() {
        let paused = given(running().into_iter().chain([Event::CommandBatchPaused { by: "user:2".into() }]));
        for (input, status) in [
            (Input::Complete, Status::Completed),
            (Input::Abort { failures: 3 }, Status::Aborted),
            (cancel(), Status::Cancelled),
        ] {
            let mut ended = paused.clone();
            paused.decide(input).expect("open").into_iter().for_each(|event| ended.apply(event));
            assert_eq!(ended.status(), Some(status));
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
            (r#"{"CommandBatchPaused":{"by":"user:2"}}"#, Event::CommandBatchPaused { by: "user:2".into() }),
            (
                r#"{"CommandBatchResumed":{"by":"user:2"}}"#,
                Event::CommandBatchResumed { by: "user:2".into() },
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
