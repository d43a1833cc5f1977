//! The writes of REST, with the same checks. The writes of one question run one after the other. One that fails is null,
//! so that its answer hides none of the others, which are on the record.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use fleetlog_access::Action;
use fleetlog_aggregates::device::{
    Change, Command as DeviceCommand, Device as Aggregate, Labels, OnlineWithin,
};
use fleetlog_engine::alarms::people;
use fleetlog_engine::commands::idempotency::Key;
use fleetlog_engine::commands::{Accepted, NewCommand};
use fleetlog_event_log::control::Committed;
use fleetlog_projections::alarms;
use fleetlog_projections::commands;
use fleetlog_projections::devices::Device;
use fleetlog_projections::rebuild::{KEEP_S, Request};
use uuid::Uuid;

use super::alarm::Alarm;
use super::asker::Asker;
use super::command::Command;
use super::query::moment;
use super::rebuild::{Rebuild, Steer};
use super::scalars::Json;
use crate::resource::{Resource, uuid};
use crate::rest::Error;
use crate::rest::extract::parse;
use crate::rest::parameters::LogPosition;
use crate::rest::rate_limits::take_command;

/// The writes that a caller can make.
pub(super) struct Mutation;

/// A command to put on the record.
#[derive(InputObject)]
struct SendCommandInput {
    /// The uid of the device.
    device_uid: String,
    /// The name of the command: one of the tenant's command types.
    cmd: String,
    /// The command's parameters: JSON that fits the command type's schema, at most 32 KiB. Without it: `{}`.
    params: Option<Json>,
    /// How long an attempt waits for the device, in seconds: 1 to 86,400, by default 30.
    timeout_s: Option<u32>,
    /// The most attempts that the command may have: 1 to 10, by default what the command type says, or else 3.
    max_attempts: Option<u32>,
    /// The moment after which the command is not sent any more: at most 30 days from now. Without it: a day from now.
    expires_at: Option<DateTime<Utc>>,
    /// A repeat with the same key and input returns the same command: 1 to 255 visible ASCII characters.
    idempotency_key: Option<String>,
}

impl SendCommandInput {
    fn command(self) -> Result<NewCommand, Error> {
        // The scalar holds valid JSON only, so parsing it does not fail.
        let params = self.params.and_then(|Json(params)| serde_json::from_str(&params.0).ok());
        Ok(NewCommand {
            device_uid: Device::id(&self.device_uid).ok_or_else(Error::missing::<Device>)?,
            cmd: self.cmd,
            params,
            timeout_s: self.timeout_s,
            max_attempts: self.max_attempts,
            expires_at: moment("expires_at", self.expires_at)?.map(|at| at.0),
        })
    }
}

/// What to change of a device; absent fields stay as they are.
#[derive(InputObject)]
struct DeviceChangeInput {
    /// A name for people: 1 to 200 characters.
    name: Option<String>,
    /// All of the device's labels, as an object of texts; they replace the ones it has.
    labels: Option<Json>,
    /// After how many seconds without a sign of life the device counts as offline: 1 to 604,800, which is a week. With null, after
    /// as many as the service's setting says.
    online_within_s: MaybeUndefined<i64>,
}

impl DeviceChangeInput {
    fn change(self) -> Result<Change, Error> {
        let labels = self.labels.map(|Json(labels)| serde_json::from_str::<Labels>(&labels.0)).transpose();
        let labels =
            labels.map_err(|_| Error::field("labels", "expected an object whose values are texts"))?;
        let online_within = match self.online_within_s {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(OnlineWithin::Usual),
            MaybeUndefined::Value(seconds) => {
                let within = OnlineWithin::try_from(seconds);
                Some(within.map_err(|expected| Error::field("online_within_s", expected))?)
            }
        };
        Ok(Change { name: self.name, labels, online_within })
    }
}

/// The change of a device that a write left on the record.
#[derive(SimpleObject)]
#[graphql(name = "DeviceWritten")]
struct Changed {
    /// The uid of the device.
    uid: String,
    /// The position of this write on the record: `<log>:<position>`. Null if there was nothing to change.
    position: Option<String>,
}

/// The command that a write left on the record.
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

    /// The position of this write on the record: `<log>:<position>`.
    async fn position(&self) -> String {
        LogPosition::from(self.accepted.at).to_string()
    }

    /// Whether an earlier request with the same idempotency key had put the command on the record.
    async fn replayed(&self) -> bool {
        self.accepted.repeated
    }
}

/// The alarm that a write left on the record.
#[derive(SimpleObject)]
#[graphql(name = "AlarmWritten")]
struct AlarmChanged {
    /// The alarm, as it is now.
    alarm: Alarm,
    /// The position of this write on the record: `<log>:<position>`.
    position: String,
}

#[Object]
impl Mutation {
    /// Acknowledges an alarm: somebody has seen it. It stays open until it is cleared. Null if it fails.
    async fn acknowledge_alarm(
        &self,
        context: &Context<'_>,
        id: ID,
        note: Option<String>,
    ) -> Result<Option<AlarmChanged>> {
        let (asker, alarm_id) = (context.data::<Asker>()?, uuid(&id));
        asker.may_alarm(Action::AlarmsAcknowledge, alarm_id).await?;
        let alarm_id = alarm_id.ok_or_else(Error::missing::<alarms::Alarm>)?;
        let at = people::acknowledge(asker.log(), alarm_id, note, asker.metadata()).await;
        Ok(Some(alarm_changed(asker, alarm_id, at.map_err(Error::from)?).await?))
    }

    /// Clears an alarm. It is not raised again until its condition has ended and holds again. Null if it fails.
    async fn clear_alarm(
        &self,
        context: &Context<'_>,
        id: ID,
        note: Option<String>,
    ) -> Result<Option<AlarmChanged>> {
        let (asker, alarm_id) = (context.data::<Asker>()?, uuid(&id));
        asker.may_alarm(Action::AlarmsAcknowledge, alarm_id).await?;
        let alarm_id = alarm_id.ok_or_else(Error::missing::<alarms::Alarm>)?;
        let at = people::clear(asker.log(), alarm_id, note, asker.metadata()).await;
        Ok(Some(alarm_changed(asker, alarm_id, at.map_err(Error::from)?).await?))
    }

    /// Puts a command on the record, to be sent to a device. Null if it fails.
    async fn send_command(&self, context: &Context<'_>, input: SendCommandInput) -> Result<Option<Written>> {
        let asker = context.data::<Asker>()?;
        let uid = Device::id(&input.device_uid);
        asker.may_named(Action::CommandsWrite, Some(&input.cmd), uid.as_ref()).await?;
        take_command(&asker.door.app, &asker.caller()).await?;
        let key: Option<Key> = parse("idempotency_key", input.idempotency_key.as_deref())?;
        let command = input.command()?;
        let sent = asker.door.app.commands.send(asker.log(), command, key.as_ref(), asker.metadata()).await;
        Ok(Some(written(asker, sent.map_err(Error::from)?).await?))
    }

    /// Changes a device's name, its labels or its threshold for being online. Null if it fails.
    async fn change_device(
        &self,
        context: &Context<'_>,
        uid: String,
        input: DeviceChangeInput,
    ) -> Result<Option<Changed>> {
        let asker = context.data::<Asker>()?;
        let (uid, change) = (Device::id(&uid), input.change());
        let labels = change.as_ref().ok().and_then(|change| change.labels.as_ref());
        asker.may_write(uid.as_ref(), labels).await?;
        let (uid, change) = (uid.ok_or_else(Error::missing::<Device>)?, change?);
        if change == Change::default() {
            return Err(Error::field("input", "expected name, labels or onlineWithinS").into());
        }
        let (stream, command) = (asker.log().stream(&uid), DeviceCommand::Update(change));
        let at = asker.log().execute::<Aggregate>(&stream, command, asker.metadata()).await;
        let at = at.map_err(Error::from)?;
        Ok(Some(Changed { uid: uid.into(), position: at.map(|at| LogPosition::from(at).to_string()) }))
    }

    /// Begins to fold a projection anew from position 1, beside the live version. If no row differs then, it takes the live
    /// one's place. Null if it fails. For the platform's administrators and analysts.
    async fn rebuild_projection(
        &self,
        context: &Context<'_>,
        projection: String,
        #[graphql(
            desc = "The version that the new one is made like and compared with. Without it: the live one."
        )]
        from_version: Option<i32>,
        #[graphql(desc = "How many seconds the version that was live before is kept: by default a day.")]
        keep_s: Option<i32>,
        #[graphql(desc = "Whether the new version goes live even if it differs: by default not.")]
        accept: Option<bool>,
    ) -> Result<Option<Rebuild>> {
        let asker = context.data::<Asker>()?;
        asker.may_platform(Action::ProjectionsWrite)?;
        let request = Request {
            from_version,
            keep_s: keep_s.unwrap_or(KEEP_S),
            accept: accept.unwrap_or(false),
            requested_by: asker.caller().actor().to_string(),
        };
        let begun = asker.door.app.projections.rebuild(&projection, request, asker.metadata()).await;
        Ok(Some(Rebuild(begun.map_err(Error::from)?)))
    }

    /// Pauses, resumes, cancels or accepts the rebuild of a projection that is under way. For the platform's
    /// administrators and analysts. Null if it fails.
    async fn steer_rebuild(
        &self,
        context: &Context<'_>,
        projection: String,
        how: Steer,
    ) -> Result<Option<Rebuild>> {
        let asker = context.data::<Asker>()?;
        asker.may_platform(Action::ProjectionsWrite)?;
        let steered = asker.door.app.projections.steer(&projection, how.into(), asker.metadata()).await;
        Ok(Some(Rebuild(steered.map_err(Error::from)?)))
    }

    /// Brings the version of a projection back that was live before the present one. For the platform's administrators
    /// and analysts. Null if it fails.
    async fn roll_back_projection(
        &self,
        context: &Context<'_>,
        projection: String,
    ) -> Result<Option<Rebuild>> {
        let asker = context.data::<Asker>()?;
        asker.may_platform(Action::ProjectionsWrite)?;
        let by = asker.caller().actor().to_string();
        let begun = asker.door.app.projections.roll_back(&projection, by, asker.metadata()).await;
        Ok(Some(Rebuild(begun.map_err(Error::from)?)))
    }

    /// Cancels a command. If it was already sent, the device may still carry it out. Null if it fails.
    async fn cancel_command(
        &self,
        context: &Context<'_>,
        id: ID,
        reason: Option<String>,
    ) -> Result<Option<Written>> {
        let asker = context.data::<Asker>()?;
        let id = uuid(&id);
        asker.may_recorded(Action::CommandsWrite, id).await?;
        let id = id.ok_or_else(Error::missing::<commands::Command>)?;
        let cancelled = asker.door.app.commands.cancel(asker.log(), id, reason, asker.metadata()).await;
        Ok(Some(written(asker, cancelled.map_err(Error::from)?).await?))
    }
}

async fn alarm_changed(asker: &Asker, alarm_id: Uuid, at: Committed) -> Result<AlarmChanged, Error> {
    let found = alarms::history(asker.log(), alarm_id).await?;
    let alarm = Alarm::written(found.ok_or_else(Error::missing::<alarms::Alarm>)?);
    Ok(AlarmChanged { alarm, position: LogPosition::from(at).to_string() })
}

async fn written(asker: &Asker, accepted: Accepted) -> Result<Written, Error> {
    let found = commands::history(asker.log(), accepted.id, None).await?;
    let command = Command::written(found.ok_or_else(Error::missing::<commands::Command>)?);
    Ok(Written { command, accepted })
}
