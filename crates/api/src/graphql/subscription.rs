//! What can be followed: each subscription is a live stream, whose events and windows it gives the form of other answers.
//!
//! - [`following`]: a live stream as a stream of messages, and how it ends
//! - [`messages`]: the messages, each with the position to go on from
//! - [`windows`]: the messages about the minutes that readings change

pub(super) mod following;
mod messages;
mod windows;

use async_graphql::{Context, ID, Result, Subscription as Root};
use fleetlog_access::Action;
use fleetlog_aggregates::device::EventType;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::Lane;
use futures::Stream;
use uuid::Uuid;

use self::following::Following;
use self::messages::{
    AlarmMessage, Alarms, CommandMessage, Commands, DeviceMessage, Devices, EventMessage, Events, Readings,
    TelemetryMessage, WindowMessage,
};
use super::asker::Asker;
use crate::live::follow::{Follow, From, MaxRate, Windows, Words};
use crate::resource::uuid;
use crate::rest::Error;

/// The type of the streams that hold commands.
const COMMAND: &str = "Command";
/// The type of the streams that hold alarms.
const ALARM: &str = "Alarm";

/// What a caller can follow.
///
/// Every message has `at`, the position to go on from: with `after: at`, on any node, a subscription goes on without a gap and
/// without a repeat. The first message has nothing but `at`: where the subscription begins. So has one that comes after 15 s in
/// which nothing else did. An error ends a subscription: its extensions have a `code` and, once there is one, the position `at`.
pub(super) struct Subscription;

#[Root]
impl Subscription {
    /// Follows the events that the caller may see, in the order of their logs. Several filters select what all of
    /// them let through: `device` and `label` (such as `site=hanoi`) by device, `metric` only among readings, `type` and
    /// `aggregateType` by name, `actor` also the events of the commands that it requested. `log` is `control` or `telemetry`;
    /// without it, both are followed. `maxRate` is the most readings of a device in a second. `after` is the `at` of the last
    /// message; without it, `from` says where to begin: `now`, `start`, or a time.
    #[expect(clippy::too_many_arguments, reason = "they are the field's")]
    async fn events<'c>(
        &self,
        context: &Context<'c>,
        device: Option<Vec<String>>,
        label: Option<Vec<String>>,
        metric: Option<Vec<String>>,
        r#type: Option<Vec<String>>,
        aggregate_type: Option<Vec<String>>,
        log: Option<String>,
        actor: Option<String>,
        cmd_id: Option<ID>,
        batch_id: Option<ID>,
        max_rate: Option<f64>,
        after: Option<String>,
        from: Option<String>,
    ) -> Result<impl Stream<Item = EventMessage> + use<'c>> {
        let follow = Follow {
            device: words("device", device)?,
            label: words("label", label)?,
            metric: words("metric", metric)?,
            r#type: words("type", r#type)?,
            aggregate_type: words("aggregate_type", aggregate_type)?,
            log,
            actor,
            cmd_id: id("cmd_id", cmd_id)?,
            batch_id: id("batch_id", batch_id)?,
            max_rate: rate(max_rate)?,
            windows: None,
            after,
            from: begin(from)?,
            ticket: None,
        };
        let following = Following::open(context, &follow).await?;
        Ok(following.messages(Events))
    }

    /// Follows readings: of one device, or of all that the caller may see; with `metrics`, those that have one of them.
    /// `maxRate` is the most readings of a device in a second, 0.001 to 1000, by the times at which they were recorded; how
    /// many were left out is told. `after` is the `at` of the last message; without it, `from` says where to begin: `now`,
    /// `start`, or a time.
    async fn telemetry<'c>(
        &self,
        context: &Context<'c>,
        device_uid: Option<String>,
        metrics: Option<Vec<String>>,
        max_rate: Option<f64>,
        after: Option<String>,
        from: Option<String>,
    ) -> Result<impl Stream<Item = TelemetryMessage> + use<'c>> {
        may(context, Action::TelemetryRead, device_uid.as_deref()).await?;
        let follow = Follow {
            device: of_device(device_uid)?,
            metric: words("metrics", metrics)?,
            log: Some(Lane::Telemetry.as_str().to_owned()),
            max_rate: rate(max_rate)?,
            after,
            from: begin(from)?,
            ..Follow::default()
        };
        let following = Following::open(context, &follow).await?;
        Ok(following.messages(Readings))
    }

    /// Follows commands: every event of each, with the command as that event left it. `deviceUid`, `cmdId`, `batchId` and
    /// `actor`, who requested it or caused the event, select which. `after` is the `at` of the last message; without it,
    /// `from` says where to begin: `now`, `start`, or a time.
    #[expect(clippy::too_many_arguments, reason = "they are the field's")]
    async fn command_changed<'c>(
        &self,
        context: &Context<'c>,
        device_uid: Option<String>,
        cmd_id: Option<ID>,
        batch_id: Option<ID>,
        actor: Option<String>,
        after: Option<String>,
        from: Option<String>,
    ) -> Result<impl Stream<Item = CommandMessage> + use<'c>> {
        may(context, Action::CommandsRead, device_uid.as_deref()).await?;
        let follow = Follow {
            device: of_device(device_uid)?,
            aggregate_type: words("aggregate_type", Some(vec![COMMAND.to_owned()]))?,
            actor,
            cmd_id: id("cmd_id", cmd_id)?,
            batch_id: id("batch_id", batch_id)?,
            after,
            from: begin(from)?,
            ..Follow::default()
        };
        let following = Following::open(context, &follow).await?;
        let (app, log) = (context.data::<Asker>()?.door.app.clone(), following.log().clone());
        Ok(following.messages(Commands(app, log)))
    }

    /// Follows alarms: every event of each, with the alarm as that event left it. `after` is the `at` of the last message;
    /// without it, `from` says where to begin: `now`, `start`, or a time.
    async fn alarm_changed<'c>(
        &self,
        context: &Context<'c>,
        device_uid: Option<String>,
        after: Option<String>,
        from: Option<String>,
    ) -> Result<impl Stream<Item = AlarmMessage> + use<'c>> {
        may(context, Action::AlarmsRead, device_uid.as_deref()).await?;
        let follow = Follow {
            device: of_device(device_uid)?,
            aggregate_type: words("aggregate_type", Some(vec![ALARM.to_owned()]))?,
            after,
            from: begin(from)?,
            ..Follow::default()
        };
        let following = Following::open(context, &follow).await?;
        let (app, log) = (context.data::<Asker>()?.door.app.clone(), following.log().clone());
        Ok(following.messages(Alarms(app, log)))
    }

    /// Follows devices: each registration, change of name or labels, and decommissioning, with the device as that event left it.
    /// What the device says of its readings is as of the moment of the message. `after` is the `at` of the last message;
    /// without it, `from` says where to begin: `now`, `start`, or a time.
    async fn device_changed<'c>(
        &self,
        context: &Context<'c>,
        device_uid: Option<String>,
        after: Option<String>,
        from: Option<String>,
    ) -> Result<impl Stream<Item = DeviceMessage> + use<'c>> {
        may(context, Action::DevicesRead, device_uid.as_deref()).await?;
        let shown = EventType::that_are_shown().into_iter().map(str::to_owned).collect();
        let follow = Follow {
            device: of_device(device_uid)?,
            r#type: words("type", Some(shown))?,
            after,
            from: begin(from)?,
            ..Follow::default()
        };
        let following = Following::open(context, &follow).await?;
        let (app, log) = (context.data::<Asker>()?.door.app.clone(), following.log().clone());
        Ok(following.messages(Devices(app, log)))
    }

    /// Follows the minutes of a device's metrics, or of one metric: each as it is once readings have changed it, at most once a
    /// second, and soon after `windows` has them. A minute is sent again with each change, so the last message of a minute is
    /// the one that holds. `after` is the `at` of the last message: minutes that have changed since are sent. Without it,
    /// `from` says where to begin: `now`, `start`, or a time.
    async fn window_changed<'c>(
        &self,
        context: &Context<'c>,
        device_uid: String,
        metric: Option<String>,
        after: Option<String>,
        from: Option<String>,
    ) -> Result<impl Stream<Item = WindowMessage> + use<'c>> {
        may(context, Action::TelemetryRead, Some(&device_uid)).await?;
        let follow = Follow {
            device: of_device(Some(device_uid))?,
            metric: words("metric", metric.map(|metric| vec![metric]))?,
            log: Some(Lane::Telemetry.as_str().to_owned()),
            windows: Some(Windows::Minute),
            after,
            from: begin(from)?,
            ..Follow::default()
        };
        let following = Following::open(context, &follow).await?;
        Ok(windows::follow(following))
    }
}

/// Refuses a caller who may do that to no device, or not to this one.
async fn may(context: &Context<'_>, action: Action, uid: Option<&str>) -> Result<(), Error> {
    let asker = context.data::<Asker>().map_err(|_| Error::internal("a subscription without a caller"))?;
    match uid {
        Some(uid) => asker.may_named(action, None, uid.parse().ok().as_ref()).await,
        // With policies of its own, a tenant may allow for some devices what it allows for none in general.
        None if asker.caller().is_ruled(action) => Ok(()),
        None => asker.may(action),
    }
}

/// A list of words, as an argument gives it.
pub(super) fn words(field: &'static str, words: Option<Vec<String>>) -> Result<Option<Words>, Error> {
    words.map(|words| Words::try_from(words).map_err(|bad| Error::field(field, bad))).transpose()
}

fn of_device(uid: Option<String>) -> Result<Option<Words>, Error> {
    let Some(uid) = uid else { return Ok(None) };
    uid.parse::<Uid>().map_err(|error| Error::field("device_uid", error))?;
    words("device_uid", Some(vec![uid]))
}

fn id(field: &'static str, id: Option<ID>) -> Result<Option<Uuid>, Error> {
    let id = id.map(|id| uuid(&id).ok_or_else(|| Error::field(field, "expected an id")));
    id.transpose()
}

fn rate(rate: Option<f64>) -> Result<Option<MaxRate>, Error> {
    rate.map(|rate| MaxRate::try_from(rate).map_err(|bad| Error::field("max_rate", bad))).transpose()
}

fn begin(from: Option<String>) -> Result<Option<From>, Error> {
    from.map(|from| From::try_from(from).map_err(|bad| Error::field("from", bad))).transpose()
}
