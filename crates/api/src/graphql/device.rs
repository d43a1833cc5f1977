//! Devices: their types and fields.

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{Context, Enum, Object, Result};
use chrono::{DateTime, Utc};
use fleetlog_access::Action;
use fleetlog_aggregates::device::Via;
use fleetlog_event_log::Lane;
use fleetlog_event_log::event::Json as StoredJson;
use fleetlog_projections::alarms;
use fleetlog_projections::devices;
use fleetlog_projections::paging::Page;
use fleetlog_projections::read_model::ReadModel;
use fleetlog_projections::telemetry_windows::{Cursor, Metric};

use super::alarm::{self, Alarm, OfDevice as AlarmsOfDevice, State};
use super::as_of::argument;
use super::asker::Asker;
use super::command::{Command, OfDevice, edge};
use super::loaders::{
    AlarmsOf, AlarmsPage, CommandsOf, CommandsPage, Loaders, MetricsOf, MetricsPage, ReadingsOf,
    ReadingsPage, WindowsOf, WindowsPage,
};
use super::log::EventPosition;
use super::metric::DeviceMetric;
use super::query::{moment, page_size};
use super::scalars::{Json, Long};
use super::telemetry::{Reading, ReadingsTotal};
use super::windows::Windows;
use crate::rest::Error;
use crate::rest::as_of::Snapshot;
use crate::rest::extract::parse;
use crate::rest::logs::in_lane;
use crate::rest::parameters::{Fill, MAX_LIMIT, Order, Step, Zone, check_span};
use crate::rest::telemetry::{Place, shown_since, sought};
use crate::rest::windows::query;

/// A device as the log left it, or as it was at a moment of the past.
pub(super) struct Device {
    pub(super) row: devices::Device,
    pub(super) snapshot: Option<Snapshot>,
}

impl Device {
    /// Checks that the caller may do `action` to the device, by the labels that it has now.
    async fn may(&self, asker: &Asker, action: Action) -> Result<(), Error> {
        match self.snapshot {
            None => asker.may_device(action, &self.row),
            Some(_) => asker.may_named(action, None, Some(&self.row.uid)).await,
        }
    }

    /// Refuses what is not answered as of moments of the past.
    fn must_be_now(&self) -> Result<(), Error> {
        let Some(snapshot) = self.snapshot else { return Ok(()) };
        let why = "readings, metrics and windows are shown as they are now only: ask the device for them as it is now";
        Err(Error::field(argument(snapshot.moment()), why))
    }
}

/// The state of a device.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "DeviceStatus", remote = "devices::Status")]
pub(super) enum Status {
    /// In service, and has given a sign of life lately.
    Online,
    /// In service, and has given no sign of life lately, or has said since that it is offline.
    Offline,
    /// Out of service.
    Decommissioned,
}

/// How a device was registered.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "RegisteredVia", remote = "Via")]
enum RegisteredVia {
    /// By the device's own first message.
    Telemetry,
    /// By a request over REST or from the command line.
    Api,
}

#[Object]
impl Device {
    /// The device's name within the tenant.
    async fn uid(&self) -> &str {
        self.row.uid.as_str()
    }

    /// The device's name for people.
    async fn name(&self) -> Option<&str> {
        self.row.name.as_deref()
    }

    /// The device's labels, which policies can refer to.
    async fn labels(&self) -> Json {
        Json(StoredJson(serde_json::json!(self.row.labels).to_string()))
    }

    /// The device's state now, or at the moment of `asOf`.
    async fn status(&self) -> Status {
        self.row.status.into()
    }

    /// When the device was registered; after a decommissioning, when it was put back into service.
    async fn registered_at(&self) -> DateTime<Utc> {
        self.row.registered_at
    }

    /// How the device was registered.
    async fn registered_via(&self) -> RegisteredVia {
        self.row.registered_via.into()
    }

    /// When the device was taken out of service.
    async fn decommissioned_at(&self) -> Option<DateTime<Utc>> {
        self.row.decommissioned_at
    }

    /// When the device's newest message arrived that is a sign of life, by the server's clock: a reading, an answer to a command, or
    /// that it is online. A connection is a sign of life too, and does not count here: `connectedAt` tells of it.
    async fn last_seen_at(&self) -> Option<DateTime<Utc>> {
        self.row.last_seen_at
    }

    /// Since when the device is connected to the MQTT endpoint. Null if it is not; null with a broker of one's own, which does
    /// not tell.
    async fn connected_at(&self) -> Option<DateTime<Utc>> {
        self.row.connected_at
    }

    /// After how many seconds without a sign of life the device counts as offline. Null: as the service's setting says.
    async fn online_within_s(&self) -> Option<u32> {
        self.row.online_within_s
    }

    /// The device's latest reading by the device's own clock, in whatever order readings arrived.
    async fn last_reading(&self) -> Option<LastReading<'_>> {
        self.row.last_reading.as_ref().map(LastReading)
    }

    /// How many of the device's messages are on the record.
    async fn messages(&self) -> Long {
        Long(self.row.messages)
    }

    /// How many more messages were duplicates, which are not stored. Null with `asOf`: duplicates are not on the record.
    async fn duplicates(&self) -> Option<Long> {
        self.row.duplicates.map(Long)
    }

    /// The last event of the control log that changed the device: its registration, its name or labels, its decommissioning.
    /// Null if it is not known.
    #[expect(clippy::unused_async, reason = "the library wants every resolver so")]
    async fn last_control_event(&self, context: &Context<'_>) -> Result<Option<EventPosition>> {
        EventPosition::of(context, Lane::Control, self.row.control_position)
    }

    /// The last reading that is counted in `messages`, by its place in the log. Null if there is none, or it is not known.
    #[expect(clippy::unused_async, reason = "the library wants every resolver so")]
    async fn last_telemetry_event(&self, context: &Context<'_>) -> Result<Option<EventPosition>> {
        EventPosition::of(context, Lane::Telemetry, self.row.telemetry_position)
    }

    /// With `asOf`: the position of each log up to which the answer speaks, such as `1:42`. Null as of now.
    async fn as_of(&self) -> Option<Vec<String>> {
        Some(self.snapshot?.positions(devices::Model::LANES))
    }

    /// The device's readings, newest first unless `order` says otherwise.
    async fn telemetry(
        &self,
        context: &Context<'_>,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
        order: Option<Order>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Reading, ReadingsTotal>> {
        let asker = context.data::<Asker>()?;
        self.may(asker, Action::TelemetryRead).await?;
        self.must_be_now()?;
        let (from, to) = (moment("from", from)?, moment("to", to)?);
        check_span(from, to).map_err(|bad| Error::field("from", bad))?;
        let page = ReadingsPage {
            from: from.map(|from| from.0),
            to: to.map(|to| to.0),
            ascending: order == Some(Order::Asc),
            beyond: parse("after", after.as_deref())?.map(Place::beyond),
            limit: page_size(first)?,
        };
        let wanted = ReadingsOf { uid: self.row.uid.clone(), page };
        let readings = context.data::<Loaders>()?.load_one(wanted).await?;
        let (span, none) = (page.span(page.from), Page { items: vec![], has_more: false });
        let occurred = sought("", span, readings.as_ref().unwrap_or(&none)).occurred;
        let total = ReadingsTotal {
            uid: self.row.uid.clone(),
            from: page.from,
            to: page.to,
            occurred,
            ascending: page.ascending,
        };
        let has_more = readings.as_ref().is_some_and(|page| page.has_more);
        let mut connection = Connection::with_additional_fields(page.beyond.is_some(), has_more, total);
        let edge = |reading| Edge::new(Place::of(&reading).to_string(), Reading(reading));
        connection.edges.extend(readings.into_iter().flat_map(|page| page.items).map(edge));
        Ok(connection)
    }

    /// The device's commands, newest first.
    async fn commands(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Command, EmptyFields, EmptyFields, OfDevice>> {
        let asker = context.data::<Asker>()?;
        self.may(asker, Action::CommandsRead).await?;
        let limit = page_size(first)?;
        let (snapshot, after) = match self.snapshot {
            None => (None, parse("after", after.as_deref())?),
            Some(snapshot) => {
                let (snapshot, after) = snapshot.of_part(asker.log(), "after", after.as_deref()).await?;
                snapshot.wait_for_commands(&asker.door.app, asker.log()).await?;
                (Some(snapshot), after)
            }
        };
        let page = CommandsPage { after, limit: limit + 1, snapshot };
        let wanted = CommandsOf { device_uid: self.row.uid.clone(), page };
        let mut commands = context.data::<Loaders>()?.load_one(wanted).await?.unwrap_or_default();
        let mut connection = Connection::new(page.after.is_some(), commands.len() > limit);
        commands.truncate(limit);
        let command = |command| edge(Command::from((command, snapshot)));
        connection.edges.extend(commands.into_iter().map(command));
        Ok(connection)
    }

    /// The device's alarms, newest first: in a state, or all of them.
    async fn alarms(
        &self,
        context: &Context<'_>,
        state: Option<State>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Alarm, EmptyFields, EmptyFields, AlarmsOfDevice>> {
        let asker = context.data::<Asker>()?;
        self.may(asker, Action::AlarmsRead).await?;
        let limit = page_size(first)?;
        let after: Option<alarms::Cursor> = parse("after", after.as_deref())?;
        let after = after.map(|after| after.in_order(alarms::Order::Newest)).transpose();
        let after = after.map_err(|bad| Error::field("after", bad))?;
        let page = AlarmsPage { state: state.map(alarms::State::from), after, limit: limit + 1 };
        let wanted = AlarmsOf { device_uid: self.row.uid.clone(), page };
        let mut found = context.data::<Loaders>()?.load_one(wanted).await?.unwrap_or_default();
        let mut connection = Connection::new(page.after.is_some(), found.len() > limit);
        found.truncate(limit);
        connection.edges.extend(found.into_iter().map(|row| alarm::edge(row, alarms::Order::Newest)));
        Ok(connection)
    }

    /// The device's metrics by name, each with its first and last readings and how many there are. A metric whose readings are all
    /// over age is left out, and so is one that came after the device's first 1000.
    async fn metrics(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, DeviceMetric>> {
        let asker = context.data::<Asker>()?;
        self.may(asker, Action::TelemetryRead).await?;
        self.must_be_now()?;
        let page = MetricsPage { after: parse("after", after.as_deref())?, limit: page_size(first)? };
        let goes_on = page.after.is_some();
        let wanted = MetricsOf { uid: self.row.uid.clone(), page };
        let metrics = context.data::<Loaders>()?.load_one(wanted).await?;
        let metrics = metrics.unwrap_or(Page { items: vec![], has_more: false });
        let mut connection = Connection::new(goes_on, metrics.has_more);
        let edge =
            |metric: Metric| Edge::new(Cursor::after(&metric.metric).to_string(), DeviceMetric(metric));
        connection.edges.extend(metrics.items.into_iter().map(edge));
        Ok(connection)
    }

    /// Statistics of the device's metrics for each window of time, by default over the last day. `step` is minutes,
    /// hours or days such as `5m`, or `month`, `quarter` or `year` of the calendar of `tz`; `points` is the most windows to
    /// keep of each metric (LTTB). `fill` adds the windows without readings. `first` is the most metrics on a page, 1000 by
    /// default; a page of one device ends early where it would have more than 20,000 windows, and `pageInfo` of the answer says how
    /// to go on.
    #[expect(clippy::too_many_arguments, reason = "they are the field's")]
    async fn windows(
        &self,
        context: &Context<'_>,
        metric: Option<String>,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
        step: Option<String>,
        tz: Option<String>,
        points: Option<i32>,
        fill: Option<Fill>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Windows> {
        let asker = context.data::<Asker>()?;
        self.may(asker, Action::TelemetryRead).await?;
        self.must_be_now()?;
        let (from, to) = (moment("from", from)?, moment("to", to)?);
        let step: Option<Step> = parse("step", step.as_deref())?;
        let tz: Zone = parse("tz", tz.as_deref())?.unwrap_or_default();
        let points = points.map(usize::try_from).transpose();
        let points = points.map_err(|_| Error::field("points", "expected 2 or more"))?;
        let since = shown_since(asker.log());
        let query = query(metric, (from, to, asker.now()), step, tz, (points, fill), since);
        let limit = first.map_or(Ok(MAX_LIMIT), |first| page_size(Some(first)))?;
        let page = WindowsPage { query, after: parse("after", after.as_deref())?, limit };
        let wanted = WindowsOf { uid: self.row.uid.clone(), page: page.clone() };
        let found = context.data::<Loaders>()?.load_one(wanted).await?.unwrap_or_default();
        let log_id = in_lane(asker.log(), Lane::Telemetry)?;
        Ok(Windows { log_id, page, found })
    }
}

/// A device's latest reading.
struct LastReading<'d>(&'d devices::LastReading);

#[Object]
impl LastReading<'_> {
    /// When the reading was taken, by the device's clock.
    async fn ts(&self) -> DateTime<Utc> {
        self.0.occurred_at
    }

    /// The reading's position in the telemetry log.
    async fn position(&self) -> Long {
        Long(self.0.position)
    }

    /// What the device sent.
    async fn payload(&self) -> Json {
        Json(self.0.payload.clone())
    }
}
