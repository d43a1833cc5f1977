//! The reads that a caller can make.

use async_graphql::connection::{Connection, Edge};
use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use fleetlog_access::Action;
use fleetlog_projections::alarms;
use fleetlog_projections::devices::as_of::Listed;
use fleetlog_projections::devices::{self, Cursor, Sort, SortBy};
use fleetlog_projections::read_model::ReadModel;

use super::alarm::{self, Alarm, AlarmFilter, AlarmRule, AlarmTotal, Sort as AlarmSort};
use super::as_of::{moment_of, of_page, snapshot};
use super::asker::Asker;
use super::audit::LogProof;
use super::command::{self, Command, CommandFilter, CommandTotal};
use super::device::{Device, Status};
use super::loaders::{AlarmLifeOf, DeviceOf, LifeOf, Loaders};
use super::log::Log;
use super::price::DEFAULT_FIRST;
use super::projection::Projection;
use super::rebuild::Rebuild;
use super::scalars::Long;
use super::source::Source;
use super::subscription::words;
use super::webhook::Webhook;
use crate::door::guard;
use crate::live::follow::Words;
use crate::resource::{Resource, uuid};
use crate::rest::as_of::Snapshot;
use crate::rest::parameters::{Limit, Moment};
use crate::rest::telemetry::shown_since;
use crate::rest::{Error, audit, logs, projections};

/// The reads that a caller can make.
pub(super) struct Query;

/// Filters for a list of devices; without any, all devices in service are listed.
#[derive(InputObject)]
struct DeviceFilter {
    /// Part of the uid or the name, in any case.
    q: Option<String>,
    /// Only devices with all of these labels, such as `site=hanoi`: 1 to 100.
    label: Option<Vec<String>>,
    /// Only devices in this state. Without it: all devices in service.
    status: Option<Status>,
}

/// The order of devices.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum DeviceSort {
    /// By uid, in ascending order.
    Uid,
    /// By uid, in descending order.
    UidDesc,
    /// The longest silent device comes first, after those that never sent a message.
    LastSeenAt,
    /// The device with the newest message comes first.
    LastSeenAtDesc,
    /// The first registered device comes first.
    RegisteredAt,
    /// The last registered device comes first.
    RegisteredAtDesc,
}

impl From<DeviceSort> for Sort {
    fn from(sort: DeviceSort) -> Self {
        let (by, descending) = match sort {
            DeviceSort::Uid => (SortBy::Uid, false),
            DeviceSort::UidDesc => (SortBy::Uid, true),
            DeviceSort::LastSeenAt => (SortBy::LastSeenAt, false),
            DeviceSort::LastSeenAtDesc => (SortBy::LastSeenAt, true),
            DeviceSort::RegisteredAt => (SortBy::RegisteredAt, false),
            DeviceSort::RegisteredAtDesc => (SortBy::RegisteredAt, true),
        };
        Self { by, descending }
    }
}

#[Object]
impl Query {
    /// Lists the tenant's devices. With `asOf`, as they were at that moment, by which the filter and the order then go;
    /// `asOfPosition` names the moment by a position in one of the tenant's logs, such as `1:42`.
    #[expect(clippy::too_many_arguments, reason = "they are the field's")]
    async fn devices(
        &self,
        context: &Context<'_>,
        filter: Option<DeviceFilter>,
        sort: Option<DeviceSort>,
        first: Option<i32>,
        after: Option<String>,
        as_of: Option<DateTime<Utc>>,
        as_of_position: Option<String>,
    ) -> Result<Connection<String, Device, Total>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::DevicesRead)?;
        let filter = filter.unwrap_or(DeviceFilter { q: None, label: None, status: None });
        let sort = sort.map(Sort::from).unwrap_or_default();
        let as_of = moment_of(as_of, as_of_position.as_deref())?;
        let (snapshot, after) = of_page(asker, as_of, after.as_deref()).await?;
        let status = filter.status.map(devices::Status::from);
        let labels = words("label", filter.label)?.as_ref().map(Words::labels).transpose()?;
        let limit = page_size(first)?;
        let query = devices::Query { q: filter.q, labels, status, sort, after, limit };
        let listed = match snapshot {
            None => list_now(asker, query).await,
            Some(snapshot) => list_then(asker, query, snapshot).await,
        };
        // REST's name of the argument.
        Ok(listed.map_err(|error| error.renamed("cursor", "after"))?)
    }

    /// One device, in service or not. With `asOf`, as it was at that moment; `asOfPosition` names the moment by a position in
    /// one of the tenant's logs, such as `1:42`. Null if no device has this uid.
    async fn device(
        &self,
        context: &Context<'_>,
        uid: String,
        as_of: Option<DateTime<Utc>>,
        as_of_position: Option<String>,
    ) -> Result<Option<Device>> {
        let (asker, uid) = (context.data::<Asker>()?, devices::Device::id(&uid));
        asker.may_named(Action::DevicesRead, None, uid.as_ref()).await?;
        let snapshot = snapshot(asker, as_of, as_of_position.as_deref()).await?;
        let Some(uid) = uid else { return Ok(None) };
        let found = context.data::<Loaders>()?.load_one(DeviceOf { uid, snapshot }).await?;
        Ok(found.map(|row| Device { row, snapshot }))
    }

    /// Lists the tenant's commands, newest first. With `asOf`, as they were at that moment, by which the filter's status then
    /// goes; `asOfPosition` names the moment by a position in one of the tenant's logs, such as `1:42`.
    async fn commands(
        &self,
        context: &Context<'_>,
        filter: Option<CommandFilter>,
        first: Option<i32>,
        after: Option<String>,
        as_of: Option<DateTime<Utc>>,
        as_of_position: Option<String>,
    ) -> Result<Connection<String, Command, CommandTotal>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::CommandsRead)?;
        let as_of = moment_of(as_of, as_of_position.as_deref())?;
        Ok(command::list(asker, filter.unwrap_or_default(), first, after.as_deref(), as_of).await?)
    }

    /// One command, read from the log itself, so never behind. With `asOf`, as it was at that moment; `asOfPosition` names
    /// the moment by a position in one of the tenant's logs, such as `1:42`. Null if there is none.
    async fn command(
        &self,
        context: &Context<'_>,
        id: ID,
        as_of: Option<DateTime<Utc>>,
        as_of_position: Option<String>,
    ) -> Result<Option<Command>> {
        let (asker, cmd_id) = (context.data::<Asker>()?, uuid(&id));
        asker.may_recorded(Action::CommandsRead, cmd_id).await?;
        let snapshot = snapshot(asker, as_of, as_of_position.as_deref()).await?;
        let Some(cmd_id) = cmd_id else { return Ok(None) };
        let until = snapshot.map(|snapshot| snapshot.control());
        let life = context.data::<Loaders>()?.load_one(LifeOf { cmd_id, until }).await?;
        Ok(life.map(|life| Command::with_steps(life, snapshot)))
    }

    /// Lists the tenant's alarms, newest first, or those that are open first.
    async fn alarms(
        &self,
        context: &Context<'_>,
        filter: Option<AlarmFilter>,
        sort: Option<AlarmSort>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Alarm, AlarmTotal>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::AlarmsRead)?;
        Ok(alarm::list(asker, filter.unwrap_or_default(), sort, first, after.as_deref()).await?)
    }

    /// One alarm, from the log itself, so never behind. Null if there is no such alarm.
    async fn alarm(&self, context: &Context<'_>, id: ID) -> Result<Option<Alarm>> {
        let (asker, alarm_id) = (context.data::<Asker>()?, uuid(&id));
        asker.may_alarm(Action::AlarmsRead, alarm_id).await?;
        let Some(alarm_id) = alarm_id else { return Ok(None) };
        let life = context.data::<Loaders>()?.load_one(AlarmLifeOf(alarm_id)).await?;
        Ok(life.map(Alarm::with_steps))
    }

    /// Lists the tenant's alarm rules, by name.
    async fn alarm_rules(&self, context: &Context<'_>) -> Result<Vec<AlarmRule>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::AlarmRulesRead)?;
        let rules = alarms::rules(asker.log()).await.map_err(Error::from)?;
        Ok(rules.into_iter().map(AlarmRule).collect())
    }

    /// Lists the tenant's sources, by name, the retired ones too. From the log itself, so never behind.
    async fn sources(&self, context: &Context<'_>) -> Result<Vec<Source>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::SourcesRead)?;
        let sources = asker.log().sources_now(asker.log().tenant()).await.map_err(Error::from)?;
        Ok(sources.all().cloned().map(Source).collect())
    }

    /// Lists the tenant's logs.
    #[expect(clippy::unused_async, reason = "the library wants every resolver so")]
    async fn logs(&self, context: &Context<'_>) -> Result<Vec<Log>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::LogsRead)?;
        Ok(logs::of(asker.log()).into_iter().map(Log).collect())
    }

    /// Lists the tenant's logs, with how far the proof of each is.
    async fn audit(&self, context: &Context<'_>) -> Result<Vec<LogProof>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::EventsRead)?;
        Ok(audit::of(asker.log()).await?.into_iter().map(LogProof).collect())
    }

    /// Lists every projection, with its progress in the tenant's logs.
    async fn projections(&self, context: &Context<'_>) -> Result<Vec<Projection>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::ProjectionsRead)?;
        let statuses = projections::of(&asker.door.app, &asker.caller(), asker.log()).await?;
        Ok(statuses.into_iter().map(Projection).collect())
    }

    /// Lists the tenant's webhooks, newest first, each with how far it has come.
    async fn webhooks(&self, context: &Context<'_>) -> Result<Vec<Webhook>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::WebhooksRead)?;
        let webhooks = fleetlog_webhooks::store::list(asker.log()).await.map_err(Error::from)?;
        Ok(webhooks.into_iter().map(Webhook).collect())
    }

    /// The last rebuild or rollback of a projection, for the people of the platform's tenant. Null if there has been none.
    async fn rebuild(&self, context: &Context<'_>, projection: String) -> Result<Option<Rebuild>> {
        let asker = context.data::<Asker>()?;
        asker.may_platform(Action::ProjectionsRead)?;
        let last = asker.door.app.projections.last_rebuild(&projection).await.map_err(Error::from)?;
        Ok(last.map(Rebuild))
    }
}

async fn list_now(asker: &Asker, query: devices::Query) -> Result<Connection<String, Device, Total>, Error> {
    let page = devices::list(asker.log(), &query, asker.door.app.online()).await?;
    let (has_previous, sort, shown) = (query.after.is_some(), query.sort, shown_since(asker.log()));
    let total = Total { query, then: None };
    let mut connection = Connection::with_additional_fields(has_previous, page.has_more, total);
    connection.edges.extend(page.items.into_iter().map(|device| {
        let cursor = Cursor::of(&device, sort).to_string();
        Edge::new(cursor, Device { row: device.shown_since(shown), snapshot: None })
    }));
    guard::retain_devices(&asker.caller(), &mut connection.edges, |edge| &edge.node.row).await?;
    Ok(connection)
}

async fn list_then(
    asker: &Asker,
    query: devices::Query,
    snapshot: Snapshot,
) -> Result<Connection<String, Device, Total>, Error> {
    let fold = snapshot.list_devices(&asker.door.app, asker.log(), &query);
    let Listed { page, total } = asker.folding.fold(snapshot.moment(), fold).await?;
    let (has_previous, sort) = (query.after.is_some(), query.sort);
    let total = Total { query, then: Some((snapshot, total)) };
    let mut connection = Connection::with_additional_fields(has_previous, page.has_more, total);
    connection.edges.extend(page.items.into_iter().map(|row| {
        let cursor = snapshot.cursor(&Cursor::of(&row, sort));
        Edge::new(cursor, Device { row, snapshot: Some(snapshot) })
    }));
    let (caller, edges) = (&asker.caller(), &mut connection.edges);
    guard::retain_by_device(caller, asker.log(), Action::DevicesRead, edges, |edge| &edge.node.row.uid)
        .await?;
    Ok(connection)
}

/// Checks a moment that an argument gives.
pub(super) fn moment(field: &'static str, moment: Option<DateTime<Utc>>) -> Result<Option<Moment>, Error> {
    moment.map(|moment| Moment::try_from(moment).map_err(|bad| Error::field(field, bad))).transpose()
}

/// Returns how many items a page of a connection has.
pub(super) fn page_size(first: Option<i32>) -> Result<usize, Error> {
    let limit = Limit::try_from(i64::from(first.unwrap_or(DEFAULT_FIRST)));
    limit.map(|limit| limit.0).map_err(|bad| Error::field("first", bad))
}

/// Counts the devices, only when `totalCount` is asked for.
pub(super) struct Total {
    query: devices::Query,
    /// As of which moment, and how many there were.
    then: Option<(Snapshot, i64)>,
}

#[Object]
impl Total {
    /// With `asOf`: the position of each log up to which the answer speaks, such as `1:42`. Null as of now.
    async fn as_of(&self) -> Option<Vec<String>> {
        let (snapshot, _) = self.then?;
        Some(snapshot.positions(devices::Model::LANES))
    }

    /// The number of items on all pages. Null if policies hide some items from the caller.
    async fn total_count(&self, context: &Context<'_>) -> Result<Option<Long>> {
        let asker = context.data::<Asker>()?;
        if asker.caller().is_ruled(Action::DevicesRead) {
            return Ok(None);
        }
        if let Some((_, total)) = self.then {
            return Ok(Some(Long(total)));
        }
        let count = devices::count(asker.log(), &self.query, asker.door.app.online()).await;
        Ok(Some(Long(count.map_err(Error::from)?)))
    }
}
