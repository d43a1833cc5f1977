//! One consumer with takeover: of several nodes with the same client id at an external broker, one takes messages.
//!
//! The client id names one persistent session. While no node is connected, the broker keeps every message in it, also
//! over the broker's own restart. A shared subscription gives no such promise: Mosquitto forgets it when it restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetlog_event_log::EventLog;
use fleetlog_event_log::leadership::{Leadership, RENEW_EVERY};
use fleetlog_mqtt::subscriber::{Status, Subscriber};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The task that one node leads.
const NAME: &str = "mqtt consumer";
/// How often a node asks whether it may take messages.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long the consumer may be without its subscriptions before it lets another node try.
const PATIENCE: Duration = Duration::from_secs(10);

/// The subscriptions of a node that takes messages only while no other node does.
pub(crate) struct Consumer {
    log: EventLog,
    subscriptions: Vec<(Subscriber, watch::Receiver<Status>)>,
    active: Arc<AtomicBool>,
}

impl Consumer {
    pub(crate) fn new(log: EventLog, subscriptions: Vec<(Subscriber, watch::Receiver<Status>)>) -> Self {
        Self { log, subscriptions, active: Arc::default() }
    }

    /// Tells whether this node takes messages now, or waits to take over.
    pub(crate) fn is_active(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.active)
    }

    /// Takes messages whenever no other node does, until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut candidate = self.log.candidate(NAME, ASK_EVERY);
        while let Some(leadership) = candidate.elected(&shutdown).await {
            tracing::info!("this node takes messages from the broker");
            self.consume(leadership, &shutdown).await;
        }
    }

    /// Takes messages until `shutdown`, until another node may have taken over, or until the broker is out of reach.
    async fn consume(&self, mut leadership: Leadership, shutdown: &CancellationToken) {
        let stop = shutdown.child_token();
        self.active.store(true, Ordering::Relaxed);
        let running = self.subscriptions.iter().map(|(subscriber, _)| subscriber.run(stop.clone()));
        let keeping = async {
            let mut subscribed_at = Instant::now();
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                if self.subscriptions.iter().all(|(_, status)| status.borrow().subscribed) {
                    subscribed_at = Instant::now();
                } else if subscribed_at.elapsed() > PATIENCE {
                    return tracing::warn!("this node does not reach the broker; another node may take over");
                }
                if !leadership.is_held().await {
                    return tracing::warn!("this node no longer takes messages from the broker");
                }
            }
        };
        let keeping = async {
            let _ = stop.run_until_cancelled(keeping).await;
            stop.cancel();
        };
        tokio::join!(keeping, futures::future::join_all(running));
        self.active.store(false, Ordering::Relaxed);
        leadership.release().await;
    }
}
