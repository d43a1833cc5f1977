//! Commands as people and programs ask for them: checked, put on the record once, cancelled. For REST, GraphQL and
//! batches alike.
//!
//! What happens to a command after that is the [`dispatcher`](crate::dispatch)'s: it follows the log, which is its
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
use fleetlog_aggregates::identity::{CommandName, Uid, aggregate_id};
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{Committed, ExecuteError, Metadata, Record};
use fleetlog_event_log::crash;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use idempotency::{InFlight, Key};

/// How long an attempt waits for its device, unless the requester says otherwise, in seconds.
pub const TIMEOUT_S: u32 = 30;
/// How many attempts there are, unless the requester says otherwise.
pub const MAX_ATTEMPTS: u32 = 3;
/// How long a command is sent at all, unless the requester says otherwise.
pub const LIFE: TimeDelta = TimeDelta::hours(24);
/// The largest `params`, as JSON, in bytes.
pub const MAX_PARAMS: usize = 32 << 10;
/// The events that a request puts on a command's record.
const REQUEST: &[&str] = &["CommandRequested"];

/// A command as it is asked for; what is absent has a default.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewCommand {
    /// For which device.
    pub device_uid: Uid,
    /// What to do.
    pub cmd: String,
    /// With what; nothing is `{}`.
    pub params: Option<Value>,
    /// How long an attempt waits for the device, in seconds: 1 to 86,400, by default [`TIMEOUT_S`].
    pub timeout_s: Option<u32>,
    /// How many attempts there may be: 1 to 10, by default [`MAX_ATTEMPTS`].
    pub max_attempts: Option<u32>,
    /// After this it is not sent any more: at most 30 days away, by default [`LIFE`].
    pub expires_at: Option<DateTime<Utc>>,
}

/// What was put on the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The command's, or the batch's, id.
    pub id: Uuid,
    /// Where it is on the record.
    pub at: Committed,
    /// Whether an earlier request with the same idempotency key had put it there.
    pub repeated: bool,
}

/// Why a command was not put on the record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such device.
    #[error("there is no such device")]
    UnknownDevice,
    /// The device is out of service.
    #[error("the device is out of service")]
    Decommissioned,
    /// The tenant's devices may not be told that.
    #[error("cmd: {0:?} is not one of the tenant's command types")]
    UnknownType(String),
    /// The parameters do not fit the command type's schema.
    #[error("params: {0}")]
    BadParams(String),
    /// The command's record refuses it.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// The command type's record refuses it.
    #[error(transparent)]
    Type(#[from] command_type::Error),
    /// The batch's record refuses it.
    #[error(transparent)]
    Batch(#[from] fleetlog_aggregates::command_batch::Error),
    /// The selector chooses nothing, or what is not there.
    #[error("selector: {0}")]
    Selector(String),
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// Another request with the same idempotency key is being worked on.
    #[error("another request with the same idempotency key is being worked on")]
    KeyInFlight,
    /// Policies do not allow it for one of the devices.
    #[error(transparent)]
    Forbidden(#[from] fleetlog_access::Forbidden),
    /// Others keep changing the same thing.
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
        // Reading a device decides nothing, so nothing is refused.
        Self::UnknownDevice
    }
}

impl From<fleetlog_projections::commands::Error> for Error {
    fn from(error: fleetlog_projections::commands::Error) -> Self {
        match error {
            fleetlog_projections::commands::Error::Database(error) => Self::Log(error),
            fleetlog_projections::commands::Error::Corrupt(why) => {
                Self::Log(fleetlog_event_log::Error::Database(sqlx::Error::Decode(why.into())))
            }
        }
    }
}

/// Puts the commands of all tenants on the record. Cheap to clone; clones share which idempotency keys are in flight.
#[derive(Clone, Default)]
pub struct Commands {
    in_flight: Arc<InFlight>,
}

impl Commands {
    /// Puts a command on the record. It is committed when this returns, and will be sent.
    pub async fn send(
        &self,
        log: &TenantLog,
        command: NewCommand,
        key: Option<&Key>,
        metadata: Metadata,
    ) -> Result<Accepted, Error> {
        let actor = metadata.get("actor").cloned().unwrap_or_default();
        let id = key.map_or_else(Uuid::now_v7, |key| key.id(log.tenant(), &actor, "command"));
        let digest = key.map(|_| idempotency::digest(&command));
        let _guard = key.map(|_| self.in_flight.enter(id)).transpose()?;
        let stream = format!("{}/{id}", log.tenant());
        if let Some(digest) = &digest
            && let Some(first) = log.load::<Command>(&stream).await?.request()
        {
            return self
                .repeated::<Command>(log, id, &stream, REQUEST, first.request_digest.as_ref() == Some(digest))
                .await;
        }
        let params = self.check(log, &command.cmd, command.params, Some(&command.device_uid)).await?;
        let now = Utc::now();
        let request = Request {
            device_uid: command.device_uid,
            cmd: command.cmd,
            params,
            requested_by: actor,
            timeout_s: command.timeout_s.unwrap_or(TIMEOUT_S),
            max_attempts: command.max_attempts.unwrap_or(MAX_ATTEMPTS),
            expires_at: command.expires_at.unwrap_or(now + LIFE),
            batch_id: None,
            request_digest: digest,
        };
        let input = Input::Request(request, now);
        // As far as is known, nothing is on its record.
        let record = Some(Record::<Command>::default());
        let requested = log.execute_on(&stream, record, input, metadata).await;
        crash::point("command.requested");
        match requested {
            Ok(Some(at)) => Ok(Accepted { id, at, repeated: false }),
            // Another node was faster with the same key.
            Err(ExecuteError::Refused(command::Error::AlreadyRequested)) => {
                self.repeated::<Command>(log, id, &stream, REQUEST, true).await
            }
            Err(ExecuteError::Refused(command::Error::OtherRequest)) => Err(Error::KeyReused),
            Ok(None) => Err(Error::Conflict),
            Err(error) => Err(error.into()),
        }
    }

    /// The answer that the first request with the same idempotency key got: the position of the last event that it
    /// put on the record, which is one of `request`.
    async fn repeated<A: cqrs_es::Aggregate>(
        &self,
        log: &TenantLog,
        id: Uuid,
        stream: &str,
        request: &[&str],
        same: bool,
    ) -> Result<Accepted, Error> {
        if !same {
            return Err(Error::KeyReused);
        }
        let events = log.streams(A::TYPE, &[stream.to_owned()]).await?;
        let last = events.iter().rfind(|event| request.contains(&&*event.event_type));
        let last = last.ok_or(Error::Conflict)?;
        Ok(Accepted { id, at: Committed { log_id: last.log_id, position: last.position }, repeated: true })
    }

    /// Whether the device, if it is one device's command, and the command's type allow it. Returns the parameters.
    async fn check(
        &self,
        log: &TenantLog,
        cmd: &str,
        params: Option<Value>,
        device_uid: Option<&Uid>,
    ) -> Result<Value, Error> {
        let name: CommandName = cmd.parse().map_err(|_| Error::UnknownType(cmd.to_owned()))?;
        let definition = match device_uid {
            None => self.type_of(log, &name).await?,
            Some(uid) => {
                let streams = (&*aggregate_id(log.tenant(), uid), &*format!("{}/{name}", log.tenant()));
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
        Ok(params)
    }

    /// Gives a command up, if it has not ended. The device may have done it all the same, if it was sent.
    pub async fn cancel(
        &self,
        log: &TenantLog,
        cmd_id: Uuid,
        reason: Option<String>,
        metadata: Metadata,
    ) -> Result<Accepted, Error> {
        let by = metadata.get("actor").cloned().unwrap_or_default();
        let stream = format!("{}/{cmd_id}", log.tenant());
        let at = log.execute::<Command>(&stream, Input::Cancel { by, reason }, metadata).await?;
        let at = at.ok_or(Error::Conflict)?;
        Ok(Accepted { id: cmd_id, at, repeated: false })
    }

    /// What a command type says. `None` if it is not on the tenant's list.
    pub async fn type_of(&self, log: &TenantLog, name: &CommandName) -> Result<Option<Definition>, Error> {
        let command_type = log.load::<CommandType>(&format!("{}/{name}", log.tenant())).await?;
        Ok(command_type.definition().cloned())
    }

    /// Puts a command type on the tenant's list, or changes it. `None` if there was nothing to change.
    pub async fn define_type(
        &self,
        log: &TenantLog,
        name: &CommandName,
        definition: Definition,
        metadata: Metadata,
    ) -> Result<Option<Committed>, Error> {
        let input = command_type::Input::Define(definition);
        Ok(log.execute::<CommandType>(&format!("{}/{name}", log.tenant()), input, metadata).await?)
    }

    /// Takes a command type off the tenant's list. Commands that were requested before are still sent.
    pub async fn remove_type(
        &self,
        log: &TenantLog,
        name: &CommandName,
        metadata: Metadata,
    ) -> Result<Option<Committed>, Error> {
        let input = command_type::Input::Remove;
        Ok(log.execute::<CommandType>(&format!("{}/{name}", log.tenant()), input, metadata).await?)
    }
}
