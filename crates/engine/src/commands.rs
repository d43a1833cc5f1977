//! Commands as people and programs request them: checked, appended once, cancelled. REST, GraphQL and batches share
//! this code.
//!
//! What happens to a command after that is up to the [`dispatcher`](crate::dispatch), which follows the log as its
//! outbox. The modules:
//!
//! - [`idempotency`]: the same request twice is one command
//! - [`batch`]: one command for many devices

pub mod batch;
pub mod idempotency;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::command::{self, Command, Input, Request};
use fleetlog_aggregates::command_type::{self, CommandType, Definition};
use fleetlog_aggregates::device::{self, Device};
use fleetlog_aggregates::identity::{CommandName, StreamId, Uid};
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{Committed, ExecuteError, Metadata, Record};
use fleetlog_event_log::crash;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use idempotency::{InFlight, Key};

/// How long an attempt waits for its ack by default, in seconds.
pub const TIMEOUT_S: u32 = 30;
/// How many attempts a command has by default.
pub const MAX_ATTEMPTS: u32 = 3;
/// How long after its request a command may be sent by default.
pub const LIFE: TimeDelta = TimeDelta::hours(24);
/// The largest `params`, as JSON, in bytes.
pub const MAX_PARAMS: usize = 32 << 10;
/// The types of the events that a request appends to a command's stream.
const REQUEST: &[&str] = &["CommandRequested"];

/// A requested command. An absent field has a default.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewCommand {
    /// The device that the command is for.
    pub device_uid: Uid,
    /// The command type.
    pub cmd: String,
    /// The parameters; `None` means `{}`.
    pub params: Option<Value>,
    /// How long an attempt waits for the ack, in seconds: 1 to 86,400, by default [`TIMEOUT_S`].
    pub timeout_s: Option<u32>,
    /// The most attempts: 1 to 10, by default what the command type says, or else [`MAX_ATTEMPTS`].
    pub max_attempts: Option<u32>,
    /// The time after which the command is not sent any more: at most 30 days away, by default [`LIFE`] from now.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The result of an accepted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The id of the command or the batch.
    pub id: Uuid,
    /// The position of the last event that the request appended.
    pub at: Committed,
    /// Whether an earlier request with the same idempotency key appended it.
    pub repeated: bool,
}

/// Why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such device.
    #[error("there is no such device")]
    UnknownDevice,
    /// The device is out of service.
    #[error("the device is out of service")]
    Decommissioned,
    /// The command is not on the tenant's list of command types.
    #[error("cmd: {0:?} is not one of the tenant's command types")]
    UnknownType(String),
    /// The parameters do not fit the command type's schema.
    #[error("params: {0}")]
    BadParams(String),
    /// The command's aggregate refuses the request.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// The command type's aggregate refuses the change.
    #[error(transparent)]
    Type(#[from] command_type::Error),
    /// The batch's aggregate refuses the request.
    #[error(transparent)]
    Batch(#[from] fleetlog_aggregates::command_batch::Error),
    /// The selector matches no device, or names one that does not exist.
    #[error("selector: {0}")]
    Selector(String),
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// Another request with the same idempotency key is still running.
    #[error("another request with the same idempotency key is being worked on")]
    KeyInFlight,
    /// A policy denies the request for one of the devices.
    #[error(transparent)]
    Forbidden(#[from] fleetlog_access::Forbidden),
    /// The append kept conflicting with others to the same stream.
    #[error("append to a stream that others keep changing")]
    Conflict,
    /// The database failed.
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
}

impl<E: std::error::Error + Into<Error>> From<ExecuteError<E>> for Error {
    fn from(error: ExecuteError<E>) -> Self {
        match error {
            ExecuteError::Refused(refusal) => refusal.into(),
            ExecuteError::Conflict => Self::Conflict,
            ExecuteError::Log(error) => Self::Log(error),
        }
    }
}

impl From<device::Error> for Error {
    fn from(_: device::Error) -> Self {
        // Reading a device decides nothing, so its aggregate refuses nothing.
        Self::UnknownDevice
    }
}

impl From<fleetlog_projections::commands::Error> for Error {
    fn from(error: fleetlog_projections::commands::Error) -> Self {
        match error {
            fleetlog_projections::commands::Error::Database(error) => Self::Log(error),
            fleetlog_projections::commands::Error::Corrupt(why) => {
                Self::Log(sqlx::Error::Decode(why.into()).into())
            }
        }
    }
}

/// Accepts the commands of all tenants. Cheap to clone; clones share which idempotency keys are in flight.
#[derive(Clone, Default)]
pub struct Commands {
    in_flight: Arc<InFlight>,
}

impl Commands {
    /// Appends the request for a command. When this returns, the request is committed and the dispatcher will send the
    /// command.
    pub async fn send(
        &self,
        log: &TenantLog,
        command: NewCommand,
        key: Option<&Key>,
        metadata: Metadata,
    ) -> Result<Accepted, Error> {
        let actor = metadata.actor.to_string();
        let id = key.map_or_else(Uuid::now_v7, |key| key.id(log.tenant(), &actor, "command"));
        let digest = key.map(|_| idempotency::digest(&command));
        let _guard = key.map(|_| self.in_flight.enter(id)).transpose()?;
        let stream = log.stream(id);
        if let Some(digest) = &digest
            && let Some(first) = log.load::<Command>(&stream).await?.request()
        {
            return self
                .repeated::<Command>(log, id, &stream, REQUEST, first.request_digest.as_ref() == Some(digest))
                .await;
        }
        let (params, attempts) =
            self.check(log, &command.cmd, command.params, Some(&command.device_uid)).await?;
        let now = log.now();
        let request = Request {
            device_uid: command.device_uid,
            cmd: command.cmd,
            params,
            requested_by: actor,
            timeout_s: command.timeout_s.unwrap_or(TIMEOUT_S),
            max_attempts: command.max_attempts.unwrap_or(attempts),
            expires_at: command.expires_at.unwrap_or(now + LIFE),
            batch_id: None,
            request_digest: digest,
        };
        let input = Input::Request(request, now);
        // A new id most likely has no events yet.
        let record = Some(Record::<Command>::default());
        let requested = log.execute_on(&stream, record, input, metadata).await;
        crash::point("command.requested");
        match requested {
            Ok(Some(at)) => Ok(Accepted { id, at, repeated: false }),
            // Another node was faster with the same idempotency key.
            Err(ExecuteError::Refused(command::Error::AlreadyRequested)) => {
                self.repeated::<Command>(log, id, &stream, REQUEST, true).await
            }
            Err(ExecuteError::Refused(command::Error::OtherRequest)) => Err(Error::KeyReused),
            Ok(None) => Err(Error::Conflict),
            Err(error) => Err(error.into()),
        }
    }

    /// The answer that the first request with the same idempotency key got: the position of the last event that it
    /// appended, whose type is one of `request`.
    async fn repeated<A: cqrs_es::Aggregate>(
        &self,
        log: &TenantLog,
        id: Uuid,
        stream: &StreamId,
        request: &[&str],
        same: bool,
    ) -> Result<Accepted, Error> {
        if !same {
            return Err(Error::KeyReused);
        }
        let events = log.streams::<A>(std::slice::from_ref(stream)).await?;
        let last = events.iter().rfind(|event| request.contains(&&*event.event_type));
        let last = last.ok_or(Error::Conflict)?;
        Ok(Accepted { id, at: Committed { log_id: last.log_id, position: last.position }, repeated: true })
    }

    /// Checks that the device may get commands, if a device is given, and that the command type allows the parameters.
    /// Returns the parameters, and how many attempts a command of the type has.
    async fn check(
        &self,
        log: &TenantLog,
        cmd: &str,
        params: Option<Value>,
        device_uid: Option<&Uid>,
    ) -> Result<(Value, u32), Error> {
        let name: CommandName = cmd.parse().map_err(|_| Error::UnknownType(cmd.to_owned()))?;
        let definition = match device_uid {
            None => self.type_of(log, &name).await?,
            Some(uid) => {
                let streams = (&log.stream(uid), &log.stream(&name));
                let (device, command_type) = log.load_both::<Device, CommandType>(streams).await?;
                match device.status() {
                    device::Status::Registered => {}
                    device::Status::Unknown => return Err(Error::UnknownDevice),
                    device::Status::Decommissioned => return Err(Error::Decommissioned),
                }
                command_type.definition().cloned()
            }
        };
        let definition = definition.ok_or_else(|| Error::UnknownType(cmd.to_owned()))?;
        let params = params.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        if params.to_string().len() > MAX_PARAMS {
            return Err(Error::BadParams(format!("expected at most {MAX_PARAMS} bytes of JSON")));
        }
        definition.check(&params).map_err(Error::BadParams)?;
        Ok((params, definition.max_attempts.unwrap_or(MAX_ATTEMPTS)))
    }

    /// Cancels a command that has not ended. The device may still carry it out, if it was sent before.
    pub async fn cancel(
        &self,
        log: &TenantLog,
        cmd_id: Uuid,
        reason: Option<String>,
        metadata: Metadata,
    ) -> Result<Accepted, Error> {
        let by = metadata.actor.to_string();
        let stream = log.stream(cmd_id);
        let at = log.execute::<Command>(&stream, Input::Cancel { by, reason }, metadata).await?;
        let at = at.ok_or(Error::Conflict)?;
        Ok(Accepted { id: cmd_id, at, repeated: false })
    }

    /// The definition of a command type. `None` if it is not on the tenant's list.
    pub async fn type_of(&self, log: &TenantLog, name: &CommandName) -> Result<Option<Definition>, Error> {
        let command_type = log.load::<CommandType>(&log.stream(name)).await?;
        Ok(command_type.definition().cloned())
    }

    /// Adds a command type to the tenant's list, or changes it. `None` if nothing changed.
    pub async fn define_type(
        &self,
        log: &TenantLog,
        name: &CommandName,
        definition: Definition,
        metadata: Metadata,
    ) -> Result<Option<Committed>, Error> {
        let input = command_type::Input::Define(definition);
        Ok(log.execute::<CommandType>(&log.stream(name), input, metadata).await?)
    }

    /// Removes a command type from the tenant's list. Commands that were requested before are still sent.
    pub async fn remove_type(
        &self,
        log: &TenantLog,
        name: &CommandName,
        metadata: Metadata,
    ) -> Result<Option<Committed>, Error> {
        let input = command_type::Input::Remove;
        Ok(log.execute::<CommandType>(&log.stream(name), input, metadata).await?)
    }
}
