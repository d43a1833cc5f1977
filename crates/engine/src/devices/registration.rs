//! Registers devices, within their tenant's limit.
//!
//! For a tenant without a limit a registration is one statement. With a limit, the registrations of the tenant take
//! turns, over all nodes, from the count to the commit, so that two at once never take the last place.
//!
//! A person registers one device; telemetry may come from thousands of new devices at once, which are registered in one
//! transaction.

use fleetlog_aggregates::device::{self, Device, Event, Labels, Registration, Via};
use fleetlog_aggregates::identity::{StreamId, Tenant, Uid};
use fleetlog_event_log::control::{Actor, Committed, ExecuteError, Metadata};
use fleetlog_event_log::record::Recorder;
use fleetlog_event_log::{EventLog, Lane, LogId, TenantLog};
use fleetlog_projections::devices;
use futures::future::BoxFuture;

/// Why a device was not registered.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The tenant has as many devices in service as it may have.
    #[error("the tenant has as many devices as it may have")]
    Full,
    /// The device's aggregate refuses it, or the log failed.
    #[error(transparent)]
    Execute(#[from] ExecuteError<device::Error>),
}

impl From<fleetlog_event_log::Error> for Refused {
    fn from(error: fleetlog_event_log::Error) -> Self {
        Self::Execute(error.into())
    }
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        fleetlog_event_log::Error::from(error).into()
    }
}

/// Registers a device, if its tenant's limit allows one more.
#[expect(clippy::disallowed_methods, reason = "this function counts the tenant's devices")]
pub async fn register(
    log: &TenantLog,
    uid: &Uid,
    registration: Registration,
    metadata: Metadata,
) -> Result<Option<Committed>, Refused> {
    let (tenant, command) = (log.tenant().clone(), registration.admit());
    if log.terms().of(tenant.as_str()).max_devices.is_none() {
        return Ok(log.execute::<Device>(&log.stream(uid), command, metadata).await?);
    }
    let control = log.heads().of(tenant.as_str(), Lane::Control);
    let uid = uid.clone();
    log.record(move |recorder| -> BoxFuture<'_, _> {
        Box::pin(async move {
            take_turns(recorder, &tenant).await?;
            let decision = recorder.decide::<Device>(StreamId::new(&tenant, &uid), command).await?;
            if let Some(control) = control
                && !decision.events().is_empty()
                && room(recorder, &tenant, control).await? <= 0
            {
                return Err(Refused::Full);
            }
            Ok(recorder.put(&decision, &metadata).await?)
        })
    })
    .await
}

/// The result of [`register_noticed`].
pub(crate) struct Noticed {
    /// The stream ids of the devices that this call registered.
    pub(crate) registered: Vec<String>,
    /// Whether the tenant has reached its limit. If not, all other devices were registered before.
    pub(crate) full: bool,
}

/// Registers, in one transaction, the devices that are not registered yet, up to the tenant's limit. `devices` are the
/// ids of their streams, each once.
pub(crate) async fn register_noticed(
    log: &EventLog,
    tenant: &Tenant,
    control: LogId,
    devices: Vec<String>,
) -> Result<Noticed, fleetlog_event_log::Error> {
    let limited = log.terms().of(tenant.as_str()).max_devices.is_some();
    let tenant = tenant.clone();
    log.record(move |recorder| -> BoxFuture<'_, _> {
        Box::pin(async move {
            let mut most = i64::MAX;
            if limited {
                take_turns(recorder, &tenant).await?;
                most = room(recorder, &tenant, control).await?.max(0);
            }
            let event = Event::DeviceRegistered { via: Via::Telemetry, name: None, labels: Labels::new() };
            let metadata = Metadata::by(Actor::Ingest);
            let registered = recorder.begin::<Device>(control, &devices, &event, &metadata, most).await?;
            let full = registered.len() as i64 == most;
            Ok(Noticed { registered, full })
        })
    })
    .await
}

/// Waits until other transactions that count this tenant's devices have ended. Taken before the locks of the devices'
/// streams and the log: every caller takes these locks in the same order.
async fn take_turns(recorder: &mut Recorder, tenant: &Tenant) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('fleetlog devices of ' || $1, 0))")
        .bind(tenant.as_str())
        .execute(recorder.connection())
        .await
        .map(drop)
}

/// How many more devices the tenant may have.
async fn room(
    recorder: &mut Recorder,
    tenant: &Tenant,
    control: LogId,
) -> Result<i64, fleetlog_event_log::Error> {
    let max: Option<i32> = sqlx::query_scalar("SELECT max_devices FROM tenants WHERE tenant = $1")
        .bind(tenant.as_str())
        .fetch_optional(recorder.connection())
        .await?
        .flatten();
    let Some(max) = max else { return Ok(i64::MAX) };
    Ok(i64::from(max) - devices::in_service_now(recorder.connection(), tenant, control).await?)
}
