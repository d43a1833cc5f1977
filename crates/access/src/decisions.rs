//! Decisions about many devices at once: a page of a list, the devices of a batch. Each may take a millisecond, so they are
//! made on threads of their own, of low priority, some at a time, and tenants take turns. However large a tenant's pages and
//! policies are, the threads that serve everybody stay free.

use std::fmt;
use std::sync::Arc;

use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::Error;
use fleetlog_event_log::turns::Turns;
use tokio::sync::oneshot;

use super::action::{Action, Device, Resource};
use super::authorize::authorize;
use super::principal::Principal;

/// How many decisions are made in one turn: 0.2 s at the worst policies that can be stored.
const A_TURN: usize = 100;

/// Where decisions about many devices are made: at most half of the processors decide at once, and one for each tenant. A
/// process has one of these, as it has its processors. Cheap to clone; clones share the turns.
#[derive(Clone)]
pub(crate) struct Decisions(Arc<Turns>);

impl Default for Decisions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Turns::new((processors / 2) as u32, 1)))
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decisions")
    }
}

impl Decisions {
    /// The devices to which the caller may do `action`, with the command `cmd` if there is one, in the same order.
    pub(crate) async fn permitted(
        &self,
        caller: &Principal,
        action: Action,
        cmd: Option<&str>,
        devices: Vec<(Uid, Labels)>,
    ) -> Result<Vec<Uid>, Error> {
        let (mut permitted, mut devices) = (vec![], devices.into_iter());
        while devices.len() > 0 {
            let some: Vec<_> = devices.by_ref().take(A_TURN).collect();
            let (caller, cmd) = (caller.clone(), cmd.map(str::to_owned));
            let turn = self.0.take(caller.tenant.as_str(), 1).await;
            let (tell, decided) = oneshot::channel();
            let decide = move || {
                yield_to_others();
                // The turn ends with the work, even if nobody waits for its result any more.
                let _turn = turn;
                // The caller may have left.
                let _ = tell.send(among(&caller, action, cmd.as_deref(), some));
            };
            let thread = std::thread::Builder::new().name("decisions".to_owned());
            thread.spawn(decide).map_err(|_| Error::task_ended())?;
            permitted.extend(decided.await.map_err(|_| Error::task_ended())?);
        }
        Ok(permitted)
    }
}

/// Those of these devices to which the caller may do `action`, decided here and now.
pub(crate) fn among(
    caller: &Principal,
    action: Action,
    cmd: Option<&str>,
    devices: Vec<(Uid, Labels)>,
) -> Vec<Uid> {
    let may = |(uid, labels): &(Uid, Labels)| {
        let (tenant, device) = (&caller.tenant, Device { uid, labels });
        let resource =
            cmd.map_or(Resource::Device(tenant, device), |cmd| Resource::Command(tenant, cmd, Some(device)));
        authorize(caller, action, &resource).is_ok()
    };
    devices.into_iter().filter(may).map(|(uid, _)| uid).collect()
}

/// Gives this thread a lower priority than those that take in telemetry and serve requests. Only Linux has priorities of
/// threads.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!(%error, "failed to lower a thread's priority");
    }
}
