//! Puts a device on the record, where its tenant has room for one more.
//!
//! A tenant without a limit takes the fast way: one statement. Where there is one, registrations of the tenant take
//! turns, over all nodes, from the count to the commit, so that two at once never share the last place.

use fleetlog_aggregates::device::{self, Command, Device};
use fleetlog_aggregates::identity::{Tenant, Uid, aggregate_id};
use fleetlog_event_log::control::{Committed, ExecuteError, Metadata};
use fleetlog_event_log::record::Recorder;
use fleetlog_event_log::{EventLog, Lane};
use fleetlog_projections::devices;
use futures::future::BoxFuture;

/// Why a device was not put on the record.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The tenant has as many devices in service as it may have.
    #[error("the tenant has as many devices as it may have")]
    Full,
    /// The device's record refuses it, or the log failed.
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

/// Has a device's record decide on its registration.
pub async fn register(
    log: &EventLog,
    tenant: &Tenant,
    uid: &Uid,
    command: Command,
    metadata: Metadata,
) -> Result<Option<Committed>, Refused> {
    if log.terms().of(tenant.as_str()).max_devices.is_none() {
        return Ok(log.execute::<Device>(&aggregate_id(tenant, uid), command, metadata).await?);
    }
    let control = log.heads().of(tenant.as_str(), Lane::Control);
    let (tenant, uid) = (tenant.clone(), uid.clone());
    log.record(move |recorder| -> BoxFuture<'_, _> {
        Box::pin(async move {
            // Before the device's stream and the log: everybody takes these in one order.
            sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('fleetlog devices of ' || $1, 0))")
                .bind(tenant.as_str())
                .execute(recorder.connection())
                .await?;
            let decision = recorder.decide::<Device>(aggregate_id(&tenant, &uid), command).await?;
            if let Some(control) = control
                && !decision.events().is_empty()
            {
                admit(recorder, &tenant, control).await?;
            }
            Ok(recorder.put(&decision, &metadata).await?)
        })
    })
    .await
}

/// Refuses one more device where there is no room.
async fn admit(
    recorder: &mut Recorder,
    tenant: &Tenant,
    control: fleetlog_event_log::LogId,
) -> Result<(), Refused> {
    let max: Option<i32> = sqlx::query_scalar("SELECT max_devices FROM tenants WHERE tenant = $1")
        .bind(tenant.as_str())
        .fetch_optional(recorder.connection())
        .await?
        .flatten();
    let Some(max) = max else { return Ok(()) };
    let in_service = devices::in_service_now(recorder.connection(), tenant, control).await?;
    if in_service < i64::from(max) { Ok(()) } else { Err(Refused::Full) }
}
