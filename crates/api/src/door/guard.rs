//! Decides whether a caller may do something to a device, a command, a batch or an alarm. The decision may depend on the device's
//! labels: they are read from the log itself, and only where the tenant's own policies apply.
//!
//! REST and GraphQL both call it. [`authorize()`] makes the decision itself. Only `note` and `Refused::noted` put a
//! refusal on the record: a list that leaves out what its caller may not see refuses nothing.

use std::collections::HashSet;

use fleetlog_access::{Action, Device, Forbidden, Principal, Resource, authorize};
use fleetlog_aggregates::alarm::Alarm;
use fleetlog_aggregates::command::Command;
use fleetlog_aggregates::command_batch::CommandBatch;
use fleetlog_aggregates::device::{Device as Aggregate, Labels, Status};
use fleetlog_aggregates::identity::Uid;
use fleetlog_engine::alarms::people;
use fleetlog_engine::commands;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::ExecuteError;
use fleetlog_projections::commands::Batch;
use fleetlog_projections::devices;
use uuid::Uuid;

use crate::app::App;
use crate::rest::Error;

/// Why a door stays shut.
#[derive(Debug)]
pub enum Refused {
    /// The caller may not do that.
    Forbidden(Forbidden),
    /// The decision could not be made, because a look-up failed.
    Failed(Error),
}

impl From<Forbidden> for Refused {
    fn from(forbidden: Forbidden) -> Self {
        Self::Forbidden(forbidden)
    }
}

impl From<fleetlog_event_log::Error> for Refused {
    fn from(error: fleetlog_event_log::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ExecuteError<fleetlog_aggregates::device::Error>> for Refused {
    fn from(error: ExecuteError<fleetlog_aggregates::device::Error>) -> Self {
        Self::Failed(error.into())
    }
}

impl From<commands::Error> for Refused {
    fn from(error: commands::Error) -> Self {
        match error {
            commands::Error::Forbidden(forbidden) => Self::Forbidden(forbidden),
            error => Self::Failed(error.into()),
        }
    }
}

impl From<people::Error> for Refused {
    fn from(error: people::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Refused {
    /// Returns the error that the caller is told, and puts a refusal on the record.
    pub(crate) fn noted(self, app: &App, caller: &Principal) -> Error {
        match self {
            Self::Forbidden(forbidden) => {
                note(app, caller, forbidden);
                forbidden.into()
            }
            Self::Failed(error) => error,
        }
    }
}

/// Puts a refusal on the record.
pub(crate) fn note(app: &App, caller: &Principal, Forbidden(action): Forbidden) {
    app.access.denials.note(caller, action);
}

/// Decides whether the caller may do `action` to the tenant's things.
pub(crate) fn tenant(caller: &Principal, action: Action, cmd: Option<&str>) -> Result<(), Forbidden> {
    let tenant = &caller.tenant;
    let resource = cmd.map_or(Resource::Tenant(tenant), |cmd| Resource::Command(tenant, cmd, None));
    authorize(caller, action, &resource)
}

/// Decides whether the caller may do `action` to a device whose labels are known.
pub fn known(
    caller: &Principal,
    action: Action,
    cmd: Option<&str>,
    uid: &Uid,
    labels: &Labels,
) -> Result<(), Forbidden> {
    let (tenant, device) = (&caller.tenant, Device { uid, labels });
    let resource =
        cmd.map_or(Resource::Device(tenant, device), |cmd| Resource::Command(tenant, cmd, Some(device)));
    authorize(caller, action, &resource)
}

/// Decides whether the caller may do `action` to one device. A device that does not exist counts as one without labels.
pub async fn device(caller: &Principal, log: &TenantLog, action: Action, uid: &Uid) -> Result<(), Refused> {
    command(caller, log, action, None, uid).await
}

/// Decides whether the caller may do `action` to one device with the command `cmd`.
pub async fn command(
    caller: &Principal,
    log: &TenantLog,
    action: Action,
    cmd: Option<&str>,
    uid: &Uid,
) -> Result<(), Refused> {
    if !caller.is_ruled(action) {
        return Ok(tenant(caller, action, cmd)?);
    }
    let device = log.load::<Aggregate>(&log.stream(uid)).await?;
    Ok(known(caller, action, cmd, uid, device.labels())?)
}

/// Decides whether the caller may write a device: with the labels that it has, if it exists, and with the labels that
/// it is to have. Otherwise a caller who may change one site's devices could move other sites' devices there.
pub async fn written(
    caller: &Principal,
    log: &TenantLog,
    action: Action,
    uid: &Uid,
    labels: Option<&Labels>,
) -> Result<(), Refused> {
    if !caller.is_ruled(action) {
        return Ok(tenant(caller, action, None)?);
    }
    let device = log.load::<Aggregate>(&log.stream(uid)).await?;
    if labels.is_none() || device.status() != Status::Unknown {
        known(caller, action, None, uid, device.labels())?;
    }
    Ok(labels.map_or(Ok(()), |labels| known(caller, action, None, uid, labels))?)
}

/// Decides whether the caller may do `action` to a command that is on the record.
pub async fn recorded(
    caller: &Principal,
    log: &TenantLog,
    action: Action,
    cmd_id: Uuid,
) -> Result<(), Refused> {
    if !caller.is_ruled(action) {
        return Ok(tenant(caller, action, None)?);
    }
    let recorded = log.load::<Command>(&log.stream(cmd_id)).await;
    let recorded = recorded.map_err(commands::Error::from)?;
    let Some(request) = recorded.request() else { return Ok(tenant(caller, action, None)?) };
    let cmd = (action == Action::CommandsWrite).then_some(request.cmd.as_str());
    command(caller, log, action, cmd, &request.device_uid).await
}

/// Decides whether the caller may do `action` to an alarm that is on the record: by its device.
pub async fn alarm(
    caller: &Principal,
    log: &TenantLog,
    action: Action,
    alarm_id: Uuid,
) -> Result<(), Refused> {
    if !caller.is_ruled(action) {
        return Ok(tenant(caller, action, None)?);
    }
    let alarm = log.load::<Alarm>(&log.stream(alarm_id)).await.map_err(people::Error::from)?;
    let Some(raised) = alarm.raised() else { return Ok(tenant(caller, action, None)?) };
    device(caller, log, action, &raised.about.device_uid).await
}

/// Those of these devices to which the caller may do `action`.
pub async fn those(
    caller: &Principal,
    log: &TenantLog,
    action: Action,
    uids: Vec<Uid>,
) -> Result<Vec<Uid>, fleetlog_event_log::Error> {
    if !caller.is_ruled(action) {
        return Ok(uids);
    }
    permitted(caller, log, action, None, &uids).await
}

/// Decides whether the caller may do `action` to a batch that is on the record: to the tenant's batches, and to each
/// device of this batch.
pub async fn batch(
    caller: &Principal,
    log: &TenantLog,
    action: Action,
    batch_id: Uuid,
) -> Result<(), Refused> {
    if !caller.is_ruled(action) {
        return Ok(tenant(caller, action, None)?);
    }
    let recorded = log.load::<CommandBatch>(&log.stream(batch_id)).await;
    let recorded = recorded.map_err(commands::Error::from)?;
    let cmd = recorded.request().map(|request| request.cmd.as_str());
    let cmd = cmd.filter(|_| action == Action::CommandsWrite);
    tenant(caller, action, cmd)?;
    Ok(all(caller, log, action, cmd, recorded.devices().to_vec()).await.map(drop)?)
}

/// How many devices' labels are read at once.
const SOME: usize = 1000;

/// Checks that the caller may do `action` to each of these devices, by their labels in the read model. Returns the
/// devices.
pub async fn all(
    caller: &Principal,
    log: &TenantLog,
    action: Action,
    cmd: Option<&str>,
    uids: Vec<Uid>,
) -> Result<Vec<Uid>, commands::Error> {
    if !caller.is_ruled(action) {
        tenant(caller, action, cmd)?;
        return Ok(uids);
    }
    for some in uids.chunks(SOME) {
        let permitted = permitted(caller, log, action, cmd, some).await?;
        if permitted.len() < some.len() {
            return Err(Forbidden(action).into());
        }
    }
    Ok(uids)
}

/// Those of these devices to which the caller may do `action`, by their labels in the read model, in the same order.
async fn permitted(
    caller: &Principal,
    log: &TenantLog,
    action: Action,
    cmd: Option<&str>,
    uids: &[Uid],
) -> Result<Vec<Uid>, fleetlog_event_log::Error> {
    let mut labels = devices::labels(log, uids).await?;
    // A device that does not exist counts as one without labels.
    let devices = uids.iter().map(|uid| (uid.clone(), labels.remove(uid).unwrap_or_default()));
    caller.permitted(action, cmd, devices.collect()).await
}

/// Keeps the devices that the caller may see.
pub async fn retain_devices<T>(
    caller: &Principal,
    items: &mut Vec<T>,
    device: impl Fn(&T) -> &devices::Device,
) -> Result<(), Error> {
    let action = Action::DevicesRead;
    if !caller.is_ruled(action) {
        return Ok(());
    }
    let devices = items.iter().map(&device);
    let devices = devices.map(|device| (device.uid.clone(), device.labels.clone())).collect();
    let permitted = caller.permitted(action, None, devices).await?;
    let permitted: HashSet<Uid> = permitted.into_iter().collect();
    items.retain(|item| permitted.contains(&device(item).uid));
    Ok(())
}

/// Keeps the items to whose devices the caller may do `action`, by the labels that the devices have in the read model now.
pub async fn retain_by_device<T>(
    caller: &Principal,
    log: &TenantLog,
    action: Action,
    items: &mut Vec<T>,
    device_uid: impl Fn(&T) -> &Uid,
) -> Result<(), Error> {
    if !caller.is_ruled(action) {
        return Ok(());
    }
    let mut uids: Vec<Uid> = items.iter().map(|item| device_uid(item).clone()).collect();
    uids.sort_unstable();
    uids.dedup();
    let uids = permitted(caller, log, action, None, &uids).await?;
    items.retain(|item| uids.binary_search(device_uid(item)).is_ok());
    Ok(())
}

/// Keeps the batches that the caller may see: those where the caller may see every device.
pub async fn retain_batches(
    caller: &Principal,
    log: &TenantLog,
    items: &mut Vec<Batch>,
) -> Result<(), Error> {
    if !caller.is_ruled(Action::CommandsRead) {
        return Ok(());
    }
    let mut seen = vec![];
    for item in items.drain(..) {
        match batch(caller, log, Action::CommandsRead, item.batch_id).await {
            Ok(()) => seen.push(item),
            Err(Refused::Forbidden(_)) => {}
            Err(Refused::Failed(error)) => return Err(error),
        }
    }
    *items = seen;
    Ok(())
}
