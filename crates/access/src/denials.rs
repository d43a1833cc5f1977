//! Denials: what was refused, on the record. The first refusal of an action to a principal is recorded at once, the rest
//! once a minute, with their number. So no refusal goes unseen, and no caller can fill the log by asking again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlog_aggregates::acts::Denial;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::action::Action;
use super::error::Error;
use super::instruments;
use super::principal::Principal;

/// For how long the same refusal is counted before it is recorded again.
const WINDOW: Duration = Duration::from_mins(1);
/// How often the task looks for what is due.
const TICK: Duration = Duration::from_secs(5);
/// How many different refusals are remembered. About 200 bytes each.
const REMEMBERED: usize = 10_000;
/// How many refusals of one tenant are recorded in one transaction.
const TOLD_AT_ONCE: usize = 100;

/// Who was refused what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Refusal {
    tenant: Tenant,
    actor: Actor,
    action: Action,
}

/// How often that was since it was last recorded.
#[derive(Debug, Default)]
struct Count {
    times: u64,
    told_at: Option<Instant>,
}

/// Records denials in the logs of all tenants. [`Denials::run`] writes what was noted. Cheap to clone; clones count
/// together.
#[derive(Clone)]
pub struct Denials {
    log: EventLog,
    counted: Arc<Counts>,
}

impl Denials {
    /// Records in the logs of this database.
    #[must_use]
    pub fn new(log: EventLog) -> Self {
        Self { log, counted: Arc::default() }
    }

    /// Notes that a principal was refused an action. Returns at once; [`Denials::run`] writes the event.
    pub fn note(&self, principal: &Principal, action: Action) {
        self.counted.note(principal, action);
    }

    /// Puts refusals on the record until `shutdown`, and then those that are left.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.counted.new.notified() => {}
                _ = tick.tick() => {}
            }
            self.tell_due(false).await;
        }
        self.tell_due(true).await;
    }

    async fn tell_due(&self, is_end: bool) {
        for (tenant, refusals) in self.counted.due(Instant::now(), is_end) {
            for refusals in refusals.chunks(TOLD_AT_ONCE) {
                if let Err(error) = self.tell(&tenant, refusals.to_vec()).await {
                    tracing::warn!(%tenant, %error, "failed to put refusals on the record; they are kept");
                    self.counted.put_back(refusals.to_vec());
                }
            }
        }
    }

    async fn tell(&self, tenant: &Tenant, refusals: Vec<(Refusal, u64)>) -> Result<(), Error> {
        let tenant = tenant.clone();
        let told = self.log.record(move |recorder| {
            Box::pin(async move {
                for (Refusal { actor, action, .. }, times) in refusals {
                    let denied = Denial::AccessDenied { action: action.as_str().to_owned(), times };
                    let metadata = Metadata::by(actor);
                    recorder.tell(&tenant, &Uuid::now_v7().to_string(), &denied, &metadata).await?;
                }
                Ok::<_, Error>(())
            })
        });
        told.await
    }
}

/// Refusals that are not on the record yet. Bounded: what does not fit only raises `fleetlog_denials_dropped_total`.
#[derive(Debug, Default)]
struct Counts {
    counts: Mutex<HashMap<Refusal, Count>>,
    new: Notify,
}

impl Counts {
    fn note(&self, principal: &Principal, action: Action) {
        let refusal = Refusal { tenant: principal.tenant.clone(), actor: principal.actor(), action };
        let mut counts = self.counts.lock();
        if counts.len() >= REMEMBERED && !counts.contains_key(&refusal) {
            instruments::DENIALS_DROPPED.increment(1);
            return;
        }
        let count = counts.entry(refusal).or_default();
        count.times += 1;
        if count.told_at.is_none() {
            self.new.notify_one();
        }
    }

    /// Takes what is due now, by tenant; everything, if the process is about to end.
    fn due(&self, now: Instant, is_end: bool) -> HashMap<Tenant, Vec<(Refusal, u64)>> {
        let mut counts = self.counts.lock();
        let is_over = |count: &Count| count.told_at.is_none_or(|at| now.duration_since(at) >= WINDOW);
        counts.retain(|_, count| count.times > 0 || !is_over(count));
        let mut due: HashMap<_, Vec<_>> = HashMap::new();
        for (refusal, count) in counts.iter_mut().filter(|(_, count)| count.times > 0) {
            if is_end || is_over(count) {
                let times = std::mem::take(&mut count.times);
                count.told_at = Some(now);
                due.entry(refusal.tenant.clone()).or_default().push((refusal.clone(), times));
            }
        }
        due
    }

    /// Puts refusals back that could not be recorded: they are due again.
    fn put_back(&self, refusals: Vec<(Refusal, u64)>) {
        let mut counts = self.counts.lock();
        for (refusal, times) in refusals {
            counts.entry(refusal).or_default().times += times;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::role::Role;
    use super::super::who::Who;
    use super::*;

    fn principal(id: u128) -> Principal {
        let who = Who::User { user_id: Uuid::from_u128(id), role: Role::Viewer, session_id: Uuid::nil() };
        Principal::new(who, "t0".parse().expect("a tenant"), "free".into(), 0)
    }

    fn times(due: HashMap<Tenant, Vec<(Refusal, u64)>>) -> Vec<u64> {
        due.into_values().flatten().map(|(_, times)| times).collect()
    }

    #[test]
    fn the_first_refusal_is_due_at_once_and_the_rest_once_a_minute_together() {
        let (denials, now) = (Counts::default(), Instant::now());
        let refuse = || denials.note(&principal(1), Action::DevicesWrite);
        refuse();
        assert_eq!(times(denials.due(now, false)), [1]);
        refuse();
        refuse();
        assert!(times(denials.due(now + WINDOW / 2, false)).is_empty());
        refuse();
        assert_eq!(times(denials.due(now + WINDOW, false)), [3]);
        refuse();
        assert_eq!(times(denials.due(now + WINDOW, true)), [1], "the end does not wait");
        assert!(times(denials.due(now + 2 * WINDOW, false)).is_empty());
        assert_eq!(denials.counts.lock().len(), 0, "nothing is kept of what is long over");
    }

    #[test]
    fn what_could_not_be_told_of_is_told_of_later() {
        let (denials, now) = (Counts::default(), Instant::now());
        denials.note(&principal(1), Action::DevicesWrite);
        let due = denials.due(now, false);
        denials.put_back(due.into_values().flatten().collect());
        assert_eq!(times(denials.due(now + WINDOW, false)), [1]);
    }

    #[test]
    fn a_crowd_of_refused_callers_takes_bounded_memory() {
        let denials = Counts::default();
        for id in 0..REMEMBERED as u128 + 10 {
            denials.note(&principal(id), Action::DevicesWrite);
        }
        assert_eq!(denials.counts.lock().len(), REMEMBERED);
    }
}
