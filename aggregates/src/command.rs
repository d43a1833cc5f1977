//! The `Command` aggregate, stream `tenant/cmd_id`: one command, from the request to its outcome.
//!
//! Exactly one terminal event ends a command, whatever races. An acknowledgement that arrives later is recorded as
//! late, once, and changes nothing. Read top to bottom: commands, events, errors, state, `decide`, `apply`, tests.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::identity::Uid;
use crate::json_text::JsonText;
use crate::words;

/// How long an attempt may wait for the device's answer, in seconds.
pub const TIMEOUT_S: std::ops::RangeInclusive<u32> = 1..=86_400;
/// How many attempts a command may have.
pub const MAX_ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=10;
/// The longest time from a command's request to its expiry.
pub const MAX_LIFE: TimeDelta = TimeDelta::days(30);
/// The longest reason of a cancellation, in characters.
pub const MAX_REASON: usize = 500;
/// The pause after the first attempt. It doubles with each further attempt, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(1);
const LONGEST_PAUSE: TimeDelta = TimeDelta::seconds(60);

/// What the `Command` aggregate decides on.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Request the command at this time.
    Request(Request, DateTime<Utc>),
    /// Record that the broker has taken over an attempt.
    MarkSent {
        /// The attempt's number: one more than the last.
        attempt: u32,
        /// When the broker took it over.
        at: DateTime<Utc>,
    },
    /// Record the device's answer.
    Acknowledge {
        /// The device that answered.
        device_uid: Uid,
        /// The device's answer.
        ack: Ack,
        /// When the answer arrived.
        at: DateTime<Utc>,
    },
    /// The device sent an answer that cannot be read, and that names the command.
    AcknowledgeUnreadably {
        /// The device that answered.
        device_uid: Uid,
        /// Why the answer cannot be read, for people.
        why: String,
        /// When the answer came.
        at: DateTime<Utc>,
    },
    /// End the command at this time, because no attempt, or no time, is left.
    TimeOut(DateTime<Utc>),
    /// Fail the command, because it cannot be delivered to its device, for this reason.
    GiveUp(&'static str),
    /// Cancel the command.
    Cancel {
        /// The principal who cancels it: a user's id, or `key:` and an API key's id.
        by: String,
        /// The reason, for people.
        reason: Option<String>,
    },
}

/// A command as requested. The caller has checked `cmd` and `params` against the command type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The device that the command is for.
    pub device_uid: Uid,
    /// The name of the command type.
    pub cmd: String,
    /// The command's parameters.
    pub params: Value,
    /// The principal who requested the command: a user's id, or `key:` and an API key's id.
    pub requested_by: String,
    /// How long an attempt waits for the device's answer, in seconds.
    pub timeout_s: u32,
    /// How many attempts the command may have.
    pub max_attempts: u32,
    /// The command is not sent after this time.
    pub expires_at: DateTime<Utc>,
    /// The batch that the command is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// A digest of the request, if it came with an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
}

/// A device's answer, with the result or the error as the device wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case", from = "Answer")]
pub enum Ack {
    /// The device did the command.
    Ack {
        /// The result, as the device reports it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<JsonText>,
    },
    /// The device could not do the command, or refused to.
    Failed {
        /// The error, as the device reports it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<JsonText>,
    },
}

/// An [`Ack`] as it is read. Serde would read the values of a tagged enum before it keeps them, and lose their text.
#[derive(Deserialize)]
struct Answer {
    status: AnswerStatus,
    #[serde(default)]
    result: Option<JsonText>,
    #[serde(default)]
    error: Option<JsonText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnswerStatus {
    Ack,
    Failed,
}

impl From<Answer> for Ack {
    fn from(Answer { status, result, error }: Answer) -> Self {
        match status {
            AnswerStatus::Ack => Self::Ack { result },
            AnswerStatus::Failed => Self::Failed { error },
        }
    }
}

/// What has happened to a command. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The command is to be sent.
    CommandRequested(Request),
    /// The broker has taken over an attempt.
    CommandSent {
        /// The attempt's number, from 1.
        attempt: u32,
        /// The time until which the device may answer the attempt.
        deadline: DateTime<Utc>,
    },
    /// The device did the command.
    CommandAcknowledged {
        /// The result, as the device reported it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<JsonText>,
    },
    /// The device reported that the command failed, or the command cannot be delivered to it.
    CommandFailed {
        /// The error, as the device reported it; or a text that says why the command cannot be delivered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<JsonText>,
    },
    /// No attempt, or no time, was left.
    CommandTimedOut {
        /// How many attempts there were.
        attempts: u32,
    },
    /// The command was cancelled. The device may have done it anyway, if an attempt was sent.
    CommandCancelled {
        /// The principal who cancelled it: a user's id, or `key:` and an API key's id.
        by: String,
        /// The reason, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The device answered after the command had timed out or was cancelled.
    LateAckRecorded(Ack),
    /// The device's answer to an attempt cannot be read. It is in quarantine, and the attempt goes on as one without an answer.
    UnreadableAckRecorded {
        /// Why it cannot be read, for people.
        why: String,
    },
}

impl Event {
    /// The names of the events that a device's answer becomes. One of them may also say that a command cannot be delivered:
    /// the event's actor tells.
    pub const ANSWERS: [&'static str; 3] = ["CommandAcknowledged", "CommandFailed", "LateAckRecorded"];
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::CommandRequested(_) => "CommandRequested",
            Self::CommandSent { .. } => "CommandSent",
            Self::CommandAcknowledged { .. } => "CommandAcknowledged",
            Self::CommandFailed { .. } => "CommandFailed",
            Self::CommandTimedOut { .. } => "CommandTimedOut",
            Self::CommandCancelled { .. } => "CommandCancelled",
            Self::LateAckRecorded(_) => "LateAckRecorded",
            Self::UnreadableAckRecorded { .. } => "UnreadableAckRecorded",
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
    /// There is no such command.
    #[error("there is no such command")]
    Unknown,
    /// The same request is on the record already.
    #[error("the command was requested already")]
    AlreadyRequested,
    /// The command's id was used for a different request.
    #[error("the command was requested already, in other words")]
    OtherRequest,
    /// A field is out of bounds.
    #[error("{field}: {why}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// What the field should be.
        why: &'static str,
    },
    /// The command has ended.
    #[error("the command has ended: {}", .0.as_str())]
    Ended(Status),
    /// The attempt is not the next one: attempts are counted one by one.
    #[error("attempt {0} is not the next one")]
    NotNext(u32),
    /// The command still has time, so it cannot time out yet.
    #[error("the command is not due")]
    NotDue,
    /// The answer comes from a device that the command is not for.
    #[error("the command is another device's")]
    OtherDevice,
    /// The same answer is on the record.
    #[error("the answer is on the record already")]
    AlreadyAnswered,
    /// Another answer is on the record.
    #[error("another answer is on the record already")]
    OtherAnswer,
}

/// Where a command is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The command is on the record, but no broker has taken it over yet.
    Requested,
    /// The broker has taken over at least one attempt.
    Sent,
    /// The device did the command.
    Acked,
    /// The device reported that the command failed, or the command cannot be delivered to it.
    Failed,
    /// The device did not answer in time.
    TimedOut,
    /// The command was cancelled.
    Cancelled,
}

words! { Status {
    Requested = "requested",
    Sent = "sent",
    Acked = "acked",
    Failed = "failed",
    TimedOut = "timed_out",
    Cancelled = "cancelled",
} }

impl Status {
    /// Whether the command has ended: only a late answer can follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Requested | Self::Sent)
    }
}

/// A command's next step, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Publish this attempt as soon as the device can be reached; [`Next::TimeOut`] follows at `or_time_out`.
    Send {
        /// The attempt's number.
        attempt: u32,
        /// The earliest time to publish.
        at: DateTime<Utc>,
        /// When the command times out if the attempt could not be published because the device is absent.
        or_time_out: DateTime<Utc>,
    },
    /// Record the timeout: no attempt, or no time, is left.
    TimeOut {
        /// The earliest time of the timeout.
        at: DateTime<Utc>,
    },
}

/// A command's state, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Command {
    request: Option<Request>,
    status: Option<Status>,
    attempts: u32,
    deadline: Option<DateTime<Utc>>,
    answer: Option<Ack>,
    /// The last attempt that was answered with something that cannot be read.
    #[serde(default)]
    unreadable: u32,
}

impl Command {
    /// The command's status. `None` if the command does not exist.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// The command as requested. `None` if the command does not exist.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// How many attempts the broker has taken over.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The command's next step. `None` if the command has ended or does not exist.
    #[must_use]
    pub fn next(&self) -> Option<Next> {
        let request = self.request.as_ref()?;
        match (self.status?, self.deadline) {
            (Status::Requested, _) => {
                Some(Next::Send { attempt: 1, at: DateTime::<Utc>::MIN_UTC, or_time_out: request.expires_at })
            }
            (Status::Sent, Some(deadline)) => {
                let again = deadline + pause(self.attempts);
                if self.attempts < request.max_attempts && again < request.expires_at {
                    let attempt = self.attempts + 1;
                    let or_time_out = self.last_deadline(request, deadline).min(request.expires_at);
                    Some(Next::Send { attempt, at: again, or_time_out })
                } else {
                    Some(Next::TimeOut { at: deadline })
                }
            }
            _ => None,
        }
    }

    /// When the last attempt ends if each of those that are left is sent at its time. A command whose device went away after
    /// an attempt ends then too: only one that was never sent waits for the device until it expires.
    fn last_deadline(&self, request: &Request, deadline: DateTime<Utc>) -> DateTime<Utc> {
        let timeout = TimeDelta::seconds(i64::from(request.timeout_s));
        (self.attempts..request.max_attempts).fold(deadline, |end, attempt| end + pause(attempt) + timeout)
    }

    /// The events that follow from an input. Pure: the same state and input always give the same answer.
    pub fn decide(&self, input: Input) -> Result<Vec<Event>, Error> {
        let Some((request, status)) = self.request.as_ref().zip(self.status) else {
            return match input {
                Input::Request(mut request, at) => {
                    check(&request, at)?;
                    // Cut to the database's precision, microseconds, so that log and read model show the same time.
                    request.expires_at = request.expires_at.trunc_subsecs(6);
                    Ok(vec![Event::CommandRequested(request)])
                }
                _ => Err(Error::Unknown),
            };
        };
        match (input, status) {
            (Input::Request(again, _), _) => Err(repeated(request, &again)),
            (Input::Acknowledge { device_uid, .. } | Input::AcknowledgeUnreadably { device_uid, .. }, _)
                if device_uid != request.device_uid =>
            {
                Err(Error::OtherDevice)
            }
            // The broker took it over, as with an answer that can be read.
            (Input::AcknowledgeUnreadably { why, at, .. }, Status::Requested) => {
                Ok(vec![sent(request, self.attempts + 1, at), unreadable(&why)])
            }
            // Once an attempt: a device may repeat itself, and the record is for ever.
            (Input::AcknowledgeUnreadably { why, .. }, Status::Sent) if self.unreadable < self.attempts => {
                Ok(vec![unreadable(&why)])
            }
            (Input::AcknowledgeUnreadably { .. }, _) => Ok(vec![]),
            (Input::MarkSent { attempt, at }, Status::Requested | Status::Sent) => {
                if attempt != self.attempts + 1 || attempt > request.max_attempts {
                    return Err(Error::NotNext(attempt));
                }
                Ok(vec![sent(request, attempt, at)])
            }
            // The device has the command, so the broker took it over: the publisher was interrupted before recording
            // it.
            (Input::Acknowledge { ack, at, .. }, Status::Requested) => {
                Ok(vec![sent(request, self.attempts + 1, at), answered(ack)])
            }
            (Input::Acknowledge { ack, .. }, Status::Sent) => Ok(vec![answered(ack)]),
            (Input::Acknowledge { ack, .. }, _) => match &self.answer {
                None => Ok(vec![Event::LateAckRecorded(ack)]),
                Some(answer) if *answer == ack => Err(Error::AlreadyAnswered),
                Some(_) => Err(Error::OtherAnswer),
            },
            (Input::TimeOut(at), Status::Requested | Status::Sent) => {
                let due = match self.next() {
                    Some(Next::Send { or_time_out, .. }) => or_time_out,
                    Some(Next::TimeOut { at }) => at,
                    None => return Err(Error::Ended(status)),
                };
                if at < due {
                    return Err(Error::NotDue);
                }
                Ok(vec![Event::CommandTimedOut { attempts: self.attempts }])
            }
            (Input::GiveUp(why), Status::Requested | Status::Sent) => {
                Ok(vec![Event::CommandFailed { error: Some(Value::from(why).into()) }])
            }
            (Input::Cancel { by, reason }, Status::Requested | Status::Sent) => {
                check_reason(reason.as_deref()).map_err(invalid)?;
                Ok(vec![Event::CommandCancelled { by, reason }])
            }
            (Input::MarkSent { .. } | Input::TimeOut(_) | Input::GiveUp(_) | Input::Cancel { .. }, _) => {
                Err(Error::Ended(status))
            }
        }
    }
}

/// The pause between an attempt's deadline and the next attempt.
fn pause(attempts: u32) -> TimeDelta {
    (FIRST_PAUSE * 2_i32.saturating_pow(attempts.saturating_sub(1).min(16))).min(LONGEST_PAUSE)
}

fn sent(request: &Request, attempt: u32, at: DateTime<Utc>) -> Event {
    let deadline = at + TimeDelta::seconds(i64::from(request.timeout_s));
    Event::CommandSent { attempt, deadline: deadline.trunc_subsecs(6) }
}

fn answered(ack: Ack) -> Event {
    match ack {
        Ack::Ack { result } => Event::CommandAcknowledged { result },
        Ack::Failed { error } => Event::CommandFailed { error },
    }
}

fn unreadable(why: &str) -> Event {
    Event::UnreadableAckRecorded { why: why.chars().take(MAX_REASON).collect() }
}

/// Why a second request for the same command is refused: it is the same request, or a different one.
fn repeated(request: &Request, again: &Request) -> Error {
    match (&request.request_digest, &again.request_digest) {
        (Some(first), Some(second)) if first != second => Error::OtherRequest,
        _ => Error::AlreadyRequested,
    }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_REASON && !text.chars().any(char::is_control)
}

fn check(request: &Request, at: DateTime<Utc>) -> Result<(), Error> {
    check_attempts(request.timeout_s, request.max_attempts).map_err(invalid)?;
    if request.expires_at <= at || request.expires_at > at + MAX_LIFE {
        return Err(invalid(("expires_at", "expected a time to come, at most 30 days away")));
    }
    Ok(())
}

fn invalid((field, why): OutOfBounds) -> Error {
    Error::Invalid { field, why }
}

/// The name of a field that is out of bounds, and what it should be.
pub(crate) type OutOfBounds = (&'static str, &'static str);

/// Checks the bounds on attempts, for a command and for a batch's commands.
pub(crate) fn check_attempts(timeout_s: u32, max_attempts: u32) -> Result<(), OutOfBounds> {
    if !TIMEOUT_S.contains(&timeout_s) {
        return Err(("timeout_s", "expected 1 to 86400 seconds"));
    }
    if !MAX_ATTEMPTS.contains(&max_attempts) {
        return Err(("max_attempts", "expected 1 to 10"));
    }
    Ok(())
}

/// Checks that the reason of a cancellation can be shown.
pub(crate) fn check_reason(reason: Option<&str>) -> Result<(), OutOfBounds> {
    match reason {
        Some(reason) if !is_text(reason) => {
            Err(("reason", "expected 1 to 500 characters without control characters"))
        }
        _ => Ok(()),
    }
}

impl Aggregate for Command {
    const TYPE: &'static str = "Command";
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
            Event::CommandRequested(request) => {
                *self = Self { request: Some(request), status: Some(Status::Requested), ..Self::default() };
            }
            Event::CommandSent { attempt, deadline } => {
                self.status = Some(Status::Sent);
                self.attempts = attempt;
                self.deadline = Some(deadline);
            }
            Event::CommandAcknowledged { result } => {
                self.status = Some(Status::Acked);
                self.answer = Some(Ack::Ack { result });
            }
            Event::CommandFailed { error } => {
                self.status = Some(Status::Failed);
                self.answer = Some(Ack::Failed { error });
            }
            Event::CommandTimedOut { .. } => self.status = Some(Status::TimedOut),
            Event::CommandCancelled { .. } => self.status = Some(Status::Cancelled),
            Event::LateAckRecorded(ack) => self.answer = Some(ack),
            Event::UnreadableAckRecorded { .. } => self.unreadable = self.attempts,
        }
    }
}

#[cfg(test)]
#[path = "command/tests.rs"]
mod tests;
