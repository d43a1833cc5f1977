//! What can be done: the writes of REST, with the same checks. Those of one question run one after the other.

use async_graphql::{Context, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use fleetlog_access::Action;
use fleetlog_engine::commands::idempotency::Key;
use fleetlog_engine::commands::{Accepted, NewCommand};
use fleetlog_projections::commands;
use fleetlog_projections::devices::Device;

use super::command::Command;
use super::cost::QUERY;
use super::query::moment;
use super::request::Asker;
use super::scalars::Json;
use crate::resource::uuid;
use crate::rest::Error;
use crate::rest::extract::parse;
use crate::rest::parameters::LogPosition;
use crate::rest::rate_limits::take_command;

/// What a write costs: a few statements, and a place in the queue for the log.
const WRITE: usize = 10 * QUERY;

/// What can be done.
pub(super) struct Mutation;

/// A command to put on the record.
#[derive(InputObject)]
struct SendCommandInput {
    /// The uid of the device.
    device_uid: String,
    /// What to do: one of the tenant's command types.
    cmd: String,
    /// With what: JSON that fits the command type's schema, at most 32 KiB of it. Without it: `{}`.
    params: Option<Json>,
    /// How long an attempt waits for the device, in seconds: 1 to 86,400, by default 30.
    timeout_s: Option<u32>,
    /// How many attempts there may be: 1 to 10, by default 3.
    max_attempts: Option<u32>,
    /// After this it is not sent any more: at most 30 days away. Without it: a day away.
    expires_at: Option<DateTime<Utc>>,
    /// The same key and input again is the same command: 1 to 255 visible ASCII characters.
    idempotency_key: Option<String>,
}

impl SendCommandInput {
    fn command(self) -> Result<NewCommand, Error> {
        // What is stored as JSON is JSON, or it would not have been read.
        let params = self.params.and_then(|Json(params)| serde_json::from_str(&params.0).ok());
        Ok(NewCommand {
            device_uid: self.device_uid.parse().map_err(|_| Error::missing::<Device>())?,
            cmd: self.cmd,
            params,
            timeout_s: self.timeout_s,
            max_attempts: self.max_attempts,
            expires_at: moment("expires_at", self.expires_at)?.map(|at| at.0),
        })
    }
}

/// What was put on the record.
struct Written {
    command: Command,
    accepted: Accepted,
}

#[Object(name = "CommandWritten")]
impl Written {
    /// The command, as it is now.
    async fn command(&self) -> &Command {
        &self.command
    }

    /// Where this is on the record: `<log>:<position>`.
    async fn position(&self) -> String {
        LogPosition::from(self.accepted.at).to_string()
    }

    /// Whether an earlier request with the same idempotency key had put it there.
    async fn replayed(&self) -> bool {
        self.accepted.repeated
    }
}

#[Object]
impl Mutation {
    /// Puts a command on the record, to be sent to a device.
    #[graphql(complexity = "WRITE + child_complexity")]
    async fn send_command(&self, context: &Context<'_>, input: SendCommandInput) -> Result<Written> {
        let asker = context.data::<Asker>()?;
        asker.may_named(Action::CommandsWrite, Some(&input.cmd), &input.device_uid).await?;
        take_command(&asker.door.app, &asker.door.caller).await?;
        let key: Option<Key> = parse("idempotency_key", input.idempotency_key.as_deref())?;
        let command = input.command()?;
        let sent = asker.door.app.commands.send(asker.log(), command, key.as_ref(), asker.metadata()).await;
        Ok(written(asker, sent.map_err(Error::from)?).await?)
    }

    /// Gives a command up. The device may have done it all the same, if it was sent.
    #[graphql(complexity = "WRITE + child_complexity")]
    async fn cancel_command(&self, context: &Context<'_>, id: ID, reason: Option<String>) -> Result<Written> {
        let asker = context.data::<Asker>()?;
        let id = uuid(&id);
        asker.may_recorded(Action::CommandsWrite, id).await?;
        let id = id.ok_or_else(Error::missing::<commands::Command>)?;
        let cancelled = asker.door.app.commands.cancel(asker.log(), id, reason, asker.metadata()).await;
        Ok(written(asker, cancelled.map_err(Error::from)?).await?)
    }
}

async fn written(asker: &Asker, accepted: Accepted) -> Result<Written, Error> {
    let found = commands::history(asker.log(), accepted.id, None).await?;
    let command = Command::written(found.ok_or_else(Error::missing::<commands::Command>)?);
    Ok(Written { command, accepted })
}
