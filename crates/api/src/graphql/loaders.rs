//! Fetches the data of many fields of one question together: fields that ask the same of several devices share a query.

use std::collections::HashMap;
use std::time::Duration;

use async_graphql::Error;
use async_graphql::dataloader::{DataLoader, Loader};
use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::read::{Reading, Span};
use fleetlog_event_log::{Lane, Position, TenantLog};
use fleetlog_projections::alarms::{self, Alarm};
use fleetlog_projections::commands::{self, Command, Cursor, Step};
use fleetlog_projections::devices::{self, Device};
use fleetlog_projections::paging::Page;
use fleetlog_projections::telemetry_windows::{
    self, Cursor as MetricCursor, Metric, SeriesPage, WindowsQuery,
};
use tracing::Instrument;
use uuid::Uuid;

use super::folding::Folding;
use crate::app::App;
use crate::rest::Error as HttpError;
use crate::rest::as_of::Snapshot;
use crate::rest::logs::in_lane;
use crate::rest::telemetry::shown_since;

/// How long a loader waits for more keys before it runs its query. All keys of one step of a question arrive at once;
/// with the library's default of 1 ms every question of two steps would take 2 ms.
const GATHER: Duration = Duration::from_micros(200);

/// Fetches data for one question of one tenant.
pub(super) struct Fetch {
    app: App,
    log: TenantLog,
    folding: Folding,
}

/// The loader that resolvers find in their context.
pub(super) type Loaders = DataLoader<Fetch>;

/// Makes the loader for one question.
pub(super) fn loaders(app: App, log: TenantLog, folding: Folding) -> Loaders {
    // The loader's tasks run in the request's span, so that failures are logged with the request's id.
    let loaders = DataLoader::new(Fetch { app, log, folding }, |task| tokio::spawn(task.in_current_span()));
    loaders.delay(GATHER)
}

/// One device, by its uid, now or as of a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DeviceOf {
    pub(super) uid: Uid,
    pub(super) snapshot: Option<Snapshot>,
}

impl Loader<DeviceOf> for Fetch {
    type Value = Device;
    type Error = Error;

    async fn load(&self, wanted: &[DeviceOf]) -> Result<HashMap<DeviceOf, Device>, Error> {
        let mut found = HashMap::new();
        for (snapshot, uids) in by(wanted, |wanted| wanted.snapshot, |wanted| &wanted.uid) {
            let devices = match snapshot {
                None => self.devices_now(&uids).await?,
                Some(then) => {
                    self.folding.fold(then.moment(), then.devices(&self.app, &self.log, &uids)).await?
                }
            };
            let of = |device: Device| (DeviceOf { uid: device.uid.clone(), snapshot }, device);
            found.extend(devices.into_iter().map(of));
        }
        Ok(found)
    }
}

impl Fetch {
    async fn devices_now(&self, uids: &[Uid]) -> Result<Vec<Device>, HttpError> {
        let found = devices::get(&self.log, uids, self.app.online()).await?;
        let shown = shown_since(&self.log);
        Ok(found.into_iter().map(|device| device.shown_since(shown)).collect())
    }
}

/// A page of one device's readings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ReadingsOf {
    pub(super) uid: Uid,
    pub(super) page: ReadingsPage,
}

/// The page that is wanted. Devices for which the same page is wanted share a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ReadingsPage {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
    pub(super) ascending: bool,
    pub(super) beyond: Option<(DateTime<Utc>, i64)>,
    pub(super) limit: usize,
}

impl ReadingsPage {
    /// The page's span, from a moment on.
    pub(super) fn span(self, from: Option<DateTime<Utc>>) -> Span {
        let Self { to, ascending, beyond, .. } = self;
        Span { from, to, ascending, beyond }
    }
}

impl Loader<ReadingsOf> for Fetch {
    type Value = Page<Reading>;
    type Error = Error;

    async fn load(&self, wanted: &[ReadingsOf]) -> Result<HashMap<ReadingsOf, Page<Reading>>, Error> {
        let log_id = in_lane(&self.log, Lane::Telemetry)?;
        let mut found = HashMap::new();
        for (page, uids) in by(wanted, |wanted| wanted.page, |wanted| &wanted.uid) {
            // `None` sorts below every moment, so `max` keeps the given one.
            let span = page.span(page.from.max(shown_since(&self.log)));
            let readings =
                self.log.readings(log_id, &uids, span, page.limit).await.map_err(HttpError::from)?;
            found.extend(readings.into_iter().map(|(uid, readings)| (ReadingsOf { uid, page }, readings)));
        }
        Ok(found)
    }
}

/// A page of one device's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MetricsOf {
    pub(super) uid: Uid,
    pub(super) page: MetricsPage,
}

/// The page that is wanted. Devices for which the same page is wanted share a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MetricsPage {
    pub(super) after: Option<MetricCursor>,
    pub(super) limit: usize,
}

impl Loader<MetricsOf> for Fetch {
    type Value = Page<Metric>;
    type Error = Error;

    async fn load(&self, wanted: &[MetricsOf]) -> Result<HashMap<MetricsOf, Page<Metric>>, Error> {
        let (log_id, since) = (in_lane(&self.log, Lane::Telemetry)?, shown_since(&self.log));
        let mut found = HashMap::new();
        for (page, uids) in by(wanted, |wanted| wanted.page.clone(), |wanted| &wanted.uid) {
            let (after, limit) = (page.after.as_ref(), page.limit);
            let metrics = telemetry_windows::metrics(&self.log, log_id, &uids, since, after, limit).await;
            let metrics = metrics.map_err(HttpError::from)?.into_iter();
            found.extend(metrics.map(|(uid, metrics)| (MetricsOf { uid, page: page.clone() }, metrics)));
        }
        Ok(found)
    }
}

/// A page of one device's windows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WindowsOf {
    pub(super) uid: Uid,
    pub(super) page: WindowsPage,
}

/// The page that is wanted. Devices for which the same page is wanted share a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WindowsPage {
    pub(super) query: WindowsQuery,
    pub(super) after: Option<MetricCursor>,
    pub(super) limit: usize,
}

impl Loader<WindowsOf> for Fetch {
    type Value = SeriesPage;
    type Error = Error;

    async fn load(&self, wanted: &[WindowsOf]) -> Result<HashMap<WindowsOf, SeriesPage>, Error> {
        let log_id = in_lane(&self.log, Lane::Telemetry)?;
        let mut found = HashMap::new();
        for (page, uids) in by(wanted, |wanted| wanted.page.clone(), |wanted| &wanted.uid) {
            let WindowsPage { query, after, limit } = &page;
            let series =
                telemetry_windows::windows(&self.log, log_id, &uids, query, after.as_ref(), *limit).await;
            let series = series.map_err(HttpError::from)?.into_iter();
            found.extend(series.map(|(uid, series)| (WindowsOf { uid, page: page.clone() }, series)));
        }
        Ok(found)
    }
}

/// A page of one device's commands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CommandsOf {
    pub(super) device_uid: Uid,
    pub(super) page: CommandsPage,
}

/// The page that is wanted. Devices for which the same page is wanted share a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CommandsPage {
    pub(super) after: Option<Cursor>,
    pub(super) limit: usize,
    /// As of which moment; `None` now.
    pub(super) snapshot: Option<Snapshot>,
}

impl Loader<CommandsOf> for Fetch {
    type Value = Vec<Command>;
    type Error = Error;

    async fn load(&self, wanted: &[CommandsOf]) -> Result<HashMap<CommandsOf, Vec<Command>>, Error> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for (page, uids) in by(wanted, |wanted| wanted.page, |wanted| &wanted.device_uid) {
            let CommandsPage { after, limit, snapshot } = page;
            let commands = match snapshot {
                None => {
                    commands::of_devices(&self.log, &uids, after, limit).await.map_err(HttpError::from)?
                }
                Some(then) => {
                    let folded = commands::as_of::of_devices(&self.log, &uids, after, limit, then.control());
                    self.folding.fold(then.moment(), async { Ok(folded.await?) }).await?
                }
            };
            for command in commands {
                let device_uid = command.device_uid.clone();
                found.entry(CommandsOf { device_uid, page }).or_default().push(command);
            }
        }
        Ok(found)
    }
}

/// One command and its steps, up to a position of the control log or now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LifeOf {
    pub(super) cmd_id: Uuid,
    pub(super) until: Option<Position>,
}

impl Loader<LifeOf> for Fetch {
    type Value = (Command, Vec<Step>);
    type Error = Error;

    async fn load(&self, wanted: &[LifeOf]) -> Result<HashMap<LifeOf, (Command, Vec<Step>)>, Error> {
        let mut found = HashMap::new();
        for (until, cmd_ids) in by(wanted, |wanted| wanted.until, |wanted| &wanted.cmd_id) {
            let lives = commands::histories(&self.log, &cmd_ids, until).await;
            let lives = lives.map_err(HttpError::from)?.into_iter();
            found.extend(lives.map(|(cmd_id, life)| (LifeOf { cmd_id, until }, life)));
        }
        Ok(found)
    }
}

/// A page of one device's alarms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct AlarmsOf {
    pub(super) device_uid: Uid,
    pub(super) page: AlarmsPage,
}

/// The page that is wanted. Devices for which the same page is wanted share a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AlarmsPage {
    pub(super) state: Option<alarms::State>,
    pub(super) after: Option<alarms::Cursor>,
    pub(super) limit: usize,
}

impl Loader<AlarmsOf> for Fetch {
    type Value = Vec<Alarm>;
    type Error = Error;

    async fn load(&self, wanted: &[AlarmsOf]) -> Result<HashMap<AlarmsOf, Vec<Alarm>>, Error> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for (page, uids) in by(wanted, |wanted| wanted.page, |wanted| &wanted.device_uid) {
            let AlarmsPage { state, after, limit } = page;
            let alarms = alarms::of_devices(&self.log, &uids, state, after, limit).await;
            for alarm in alarms.map_err(HttpError::from)? {
                let device_uid = alarm.device_uid.clone();
                found.entry(AlarmsOf { device_uid, page }).or_default().push(alarm);
            }
        }
        Ok(found)
    }
}

/// One alarm and its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AlarmLifeOf(pub(super) Uuid);

impl Loader<AlarmLifeOf> for Fetch {
    type Value = (Alarm, Vec<alarms::Step>);
    type Error = Error;

    async fn load(
        &self,
        wanted: &[AlarmLifeOf],
    ) -> Result<HashMap<AlarmLifeOf, (Alarm, Vec<alarms::Step>)>, Error> {
        let alarm_ids: Vec<Uuid> = wanted.iter().map(|wanted| wanted.0).collect();
        let lives = alarms::histories(&self.log, &alarm_ids).await.map_err(HttpError::from)?;
        Ok(lives.into_iter().map(|(alarm_id, life)| (AlarmLifeOf(alarm_id), life)).collect())
    }
}

/// Groups things by what is wanted of them.
fn by<W, K: Eq + std::hash::Hash, T: Clone>(
    wanted: &[W],
    same: impl Fn(&W) -> K,
    thing: impl Fn(&W) -> &T,
) -> HashMap<K, Vec<T>> {
    let mut groups: HashMap<K, Vec<T>> = HashMap::new();
    for wanted in wanted {
        groups.entry(same(wanted)).or_default().push(thing(wanted).clone());
    }
    groups
}
