//! The `Command` aggregate, stream `tenant/cmd_id`: one command's life on the record, from the request to its outcome.
//!
//! Exactly one terminal event ends it, whatever races. An acknowledgement that comes after that is recorded as late,
//! once, and changes nothing. Read top to bottom: commands, events, errors, state, `decide`, `apply`, tests.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::identity::Uid;
use crate::words;

/// How long an attempt may wait for the device, in seconds.
pub const TIMEOUT_S: std::ops::RangeInclusive<u32> = 1..=86_400;
/// How many attempts there may be.
pub const MAX_ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=10;
/// The longest a command may wait for its device.
pub const MAX_LIFE: TimeDelta = TimeDelta::days(30);
/// The longest reason of a cancellation, in characters.
pub const MAX_REASON: usize = 500;
/// The pause after the first attempt; it doubles with each, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(1);
const LONGEST_PAUSE: TimeDelta = TimeDelta::seconds(60);

/// What may be asked of a command's record.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Put it on the record, to be sent.
    Request(Request, DateTime<Utc>),
    /// The broker has taken over an attempt.
    MarkSent {
        /// Which attempt: one more than before.
        attempt: u32,
        /// When.
        at: DateTime<Utc>,
    },
    /// The device has answered.
    Acknowledge {
        /// Which device.
        device_uid: Uid,
        /// What it said.
        ack: Ack,
        /// When.
        at: DateTime<Utc>,
    },
    /// No attempt, or no time, is left.
    TimeOut(DateTime<Utc>),
    /// Somebody does not want it any more.
    Cancel {
        /// Who.
        by: String,
        /// Why, for people.
        reason: Option<String>,
    },
}

/// A command as it was asked for. What the command's type demands of `cmd` and `params` has been checked before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// For which device.
    pub device_uid: Uid,
    /// What to do.
    pub cmd: String,
    /// With what.
    pub params: Value,
    /// Who wants it.
    pub requested_by: String,
    /// How long an attempt waits for the device, in seconds.
    pub timeout_s: u32,
    /// How many attempts there may be.
    pub max_attempts: u32,
    /// After this it is not sent any more.
    pub expires_at: DateTime<Utc>,
    /// The batch that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// What the requester's words hashed to, where an idempotency key came with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
}

/// A device's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Ack {
    /// It did what it was told.
    Ack {
        /// What came of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
    },
    /// It could not, or would not.
    Failed {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Value>,
    },
}

/// What has happened to a command. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// It is to be sent.
    CommandRequested(Request),
    /// The broker has taken over an attempt.
    CommandSent {
        /// Which attempt: 1, 2, 3 …
        attempt: u32,
        /// Until when the device may answer it.
        deadline: DateTime<Utc>,
    },
    /// The device did it.
    CommandAcknowledged {
        /// What came of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
    },
    /// The device says that it failed.
    CommandFailed {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Value>,
    },
    /// No attempt, or no time, was left.
    CommandTimedOut {
        /// How many attempts there were.
        attempts: u32,
    },
    /// Somebody did not want it any more. The device may have done it all the same, if it was sent.
    CommandCancelled {
        /// Who.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The device answered after the command had timed out or was cancelled.
    LateAckRecorded(Ack),
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
    /// It was asked for already, in the same words.
    #[error("the command was requested already")]
    AlreadyRequested,
    /// Its id was used for other words.
    #[error("the command was requested already, in other words")]
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
    #[error("the command has ended: {}", .0.as_str())]
    Ended(Status),
    /// Attempts are counted one by one.
    #[error("attempt {0} is not the next one")]
    NotNext(u32),
    /// There is still time.
    #[error("the command is not due")]
    NotDue,
    /// Another device answers.
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
    /// On the record, and not yet with a broker.
    Requested,
    /// The broker has taken over at least one attempt.
    Sent,
    /// The device did it.
    Acked,
    /// The device says that it failed.
    Failed,
    /// The device did not answer in time.
    TimedOut,
    /// Somebody did not want it any more.
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
    /// Whether nothing but a late answer can follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Requested | Self::Sent)
    }
}

/// What is to happen next, and not before when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Publish this attempt, as soon as the device is there; [`Next::TimeOut`] follows at `or_time_out`.
    Send {
        /// Which attempt.
        attempt: u32,
        /// Not before this.
        at: DateTime<Utc>,
        /// When there is no time left for it.
        or_time_out: DateTime<Utc>,
    },
    /// Give up.
    TimeOut {
        /// When.
        at: DateTime<Utc>,
    },
}

/// A command as its events left it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Command {
    request: Option<Request>,
    status: Option<Status>,
    attempts: u32,
    deadline: Option<DateTime<Utc>>,
    answer: Option<Ack>,
}

impl Command {
    /// Where it is in its life. `None` if there is no such command.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// What was asked for.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// How many attempts the broker has taken over.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What is to happen next. `None` once it has ended.
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
                    Some(Next::Send { attempt, at: again, or_time_out: request.expires_at })
                } else {
                    Some(Next::TimeOut { at: deadline })
                }
            }
            _ => None,
        }
    }

    /// What follows from an input. Pure: the same state and input always give the same answer.
    pub fn decide(&self, input: Input) -> Result<Vec<Event>, Error> {
        let Some((request, status)) = self.request.as_ref().zip(self.status) else {
            return match input {
                Input::Request(mut request, at) => {
                    check(&request, at)?;
                    // As precise as the database is, so that log and read model say the same.
                    request.expires_at = request.expires_at.trunc_subsecs(6);
                    Ok(vec![Event::CommandRequested(request)])
                }
                _ => Err(Error::Unknown),
            };
        };
        match (input, status) {
            (Input::Request(again, _), _) => Err(repeated(request, &again)),
            (Input::Acknowledge { device_uid, .. }, _) if device_uid != request.device_uid => {
                Err(Error::OtherDevice)
            }
            (Input::MarkSent { attempt, at }, Status::Requested | Status::Sent) => {
                if attempt != self.attempts + 1 || attempt > request.max_attempts {
                    return Err(Error::NotNext(attempt));
                }
                Ok(vec![sent(request, attempt, at)])
            }
            // The device has it, so the broker took it over: whoever published was interrupted before saying so.
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
            (Input::Cancel { by, reason }, Status::Requested | Status::Sent) => {
                check_reason(reason.as_deref()).map_err(invalid)?;
                Ok(vec![Event::CommandCancelled { by, reason }])
            }
            (Input::MarkSent { .. } | Input::TimeOut(_) | Input::Cancel { .. }, _) => {
                Err(Error::Ended(status))
            }
        }
    }
}

/// The pause between the end of an attempt's time and the next attempt.
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

/// Why a request for a command that exists is refused: it is the same one again, or another.
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

/// A field, and what it should be.
pub(crate) type OutOfBounds = (&'static str, &'static str);

/// Whether attempts are within their bounds: a command's, and those of a batch's commands.
pub(crate) fn check_attempts(timeout_s: u32, max_attempts: u32) -> Result<(), OutOfBounds> {
    if !TIMEOUT_S.contains(&timeout_s) {
        return Err(("timeout_s", "expected 1 to 86400 seconds"));
    }
    if !MAX_ATTEMPTS.contains(&max_attempts) {
        return Err(("max_attempts", "expected 1 to 10"));
    }
    Ok(())
}

/// Whether the reason of a cancellation can be shown.
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
        }
    }
}

#[cfg(test)]
#[path = "command/tests.rs"]
mod tests;
