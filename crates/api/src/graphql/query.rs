//! The reads that a caller can make.

use async_graphql::connection::{Connection, Edge};
use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use fleetlog_access::Action;
use fleetlog_projections::devices::{self, Cursor, Sort, SortBy};

use super::command::{self, Command, CommandFilter, CommandTotal};
use super::device::{Device, Status};
use super::loaders::{DeviceOf, LifeOf, Loaders};
use super::log::Log;
use super::price::DEFAULT_FIRST;
use super::projection::Projection;
use super::rebuild::Rebuild;
use super::request::Asker;
use super::scalars::Long;
use crate::door::guard;
use crate::resource::{Resource, uuid};
use crate::rest::extract::parse;
use crate::rest::parameters::{Limit, Moment};
use crate::rest::telemetry::shown_since;
use crate::rest::{Error, logs, projections};

/// The reads that a caller can make.
pub(super) struct Query;

/// Filters for a list of devices; without any, all devices in service are listed.
#[derive(InputObject)]
struct DeviceFilter {
    /// Part of the uid or the name, in any case.
    q: Option<String>,
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
    /// Lists the tenant's devices.
    async fn devices(
        &self,
        context: &Context<'_>,
        filter: Option<DeviceFilter>,
        sort: Option<DeviceSort>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Device, Total>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::DevicesRead)?;
        let filter = filter.unwrap_or(DeviceFilter { q: None, status: None });
        let sort = sort.map(Sort::from).unwrap_or_default();
        let query = devices::Query {
            q: filter.q,
            status: filter.status.map(devices::Status::from),
            sort,
            after: parse("after", after.as_deref())?,
            limit: page_size(first)?,
        };
        let page =
            devices::list(asker.log(), &query, asker.door.app.online_since()).await.map_err(Error::from)?;
        let (after, shown) = (query.after.is_some(), shown_since(asker.log()));
        let mut connection = Connection::with_additional_fields(after, page.has_more, Total(query));
        connection.edges.extend(page.items.into_iter().map(|device| {
            let cursor = Cursor::of(&device, sort).to_string();
            Edge::new(cursor, Device(device.shown_since(shown)))
        }));
        guard::retain_devices(&asker.door.caller, &mut connection.edges, |edge| &edge.node.0).await?;
        Ok(connection)
    }

    /// One device, in service or not. Null if no device has this uid.
    async fn device(&self, context: &Context<'_>, uid: String) -> Result<Option<Device>> {
        let uid = devices::Device::id(&uid);
        context.data::<Asker>()?.may_named(Action::DevicesRead, None, uid.as_ref()).await?;
        let Some(uid) = uid else { return Ok(None) };
        Ok(context.data::<Loaders>()?.load_one(DeviceOf(uid)).await?.map(Device))
    }

    /// Lists the tenant's commands, newest first.
    async fn commands(
        &self,
        context: &Context<'_>,
        filter: Option<CommandFilter>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Command, CommandTotal>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::CommandsRead)?;
        Ok(command::list(asker, filter.unwrap_or_default(), first, after.as_deref()).await?)
    }

    /// One command, read from the log itself, so never behind; with `asOf`, as it was at that moment. Null if there is
    /// none.
    async fn command(
        &self,
        context: &Context<'_>,
        id: ID,
        as_of: Option<DateTime<Utc>>,
    ) -> Result<Option<Command>> {
        let cmd_id = uuid(&id);
        context.data::<Asker>()?.may_recorded(Action::CommandsRead, cmd_id).await?;
        let before = moment("as_of", as_of)?.map(|at| at.0);
        let Some(cmd_id) = cmd_id else { return Ok(None) };
        let life = context.data::<Loaders>()?.load_one(LifeOf { cmd_id, before }).await?;
        Ok(life.map(Command::from))
    }

    /// Lists the tenant's logs.
    #[expect(clippy::unused_async, reason = "the library wants every resolver so")]
    async fn logs(&self, context: &Context<'_>) -> Result<Vec<Log>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::LogsRead)?;
        Ok(logs::of(asker.log()).into_iter().map(Log).collect())
    }

    /// Lists every projection, with its progress in the tenant's logs.
    async fn projections(&self, context: &Context<'_>) -> Result<Vec<Projection>> {
        let asker = context.data::<Asker>()?;
        asker.may(Action::ProjectionsRead)?;
        let statuses = projections::of(&asker.door.caller, asker.log()).await?;
        Ok(statuses.into_iter().map(Projection).collect())
    }

    /// The last rebuild or rollback of a projection, for the platform's administrators and analysts. Null if there has
    /// been none.
    async fn rebuild(&self, context: &Context<'_>, projection: String) -> Result<Option<Rebuild>> {
        let asker = context.data::<Asker>()?;
        asker.may_platform(Action::ProjectionsWrite)?;
        let last = asker.door.app.projections.last_rebuild(&projection).await.map_err(Error::from)?;
        Ok(last.map(Rebuild))
    }
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
pub(super) struct Total(devices::Query);

#[Object]
impl Total {
    /// The number of items on all pages. Null if policies hide some items from the caller.
    async fn total_count(&self, context: &Context<'_>) -> Result<Option<Long>> {
        let asker = context.data::<Asker>()?;
        if asker.door.caller.is_ruled(Action::DevicesRead) {
            return Ok(None);
        }
        let count = devices::count(asker.log(), &self.0, asker.door.app.online_since()).await;
        Ok(Some(Long(count.map_err(Error::from)?)))
    }
}
