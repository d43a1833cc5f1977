//! The outlet to the devices of all nodes. A command for a device of this node goes to its connection; one for a device of
//! another node is handed over to that node, as a row that it takes once or never, and answers.
//!
//! Whoever asks gives up after [`PATIENCE`]. A handover that nobody has taken until then is withdrawn, so it never reaches the
//! device; what became of one that was taken and not answered is unknown, and the command is published again.
//!
//! - `taking`: the side of the node at which the device listens
//! - `notices`: what nodes tell each other about listeners and handovers

mod notices;
mod taking;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::topic::{Channel, Topic};
use fleetlog_event_log::crash;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::outlet::{CommandOutlet, Delivery, Lost, Message};
use crate::devices::credentials::Device;
use crate::devices::listeners::{Listeners, Place};
use crate::instruments;

/// How long a handover may be taken after it was made.
const TAKEN_WITHIN: Duration = Duration::from_millis(1500);
/// How long a node has to publish the handovers that it has taken.
const SENT_WITHIN: Duration = Duration::from_millis(1500);
/// How long an answer is waited for: longer than both together.
const PATIENCE: Duration = Duration::from_millis(3500);
/// A node that was last seen so long before another one has ended.
const FORGOTTEN: TimeDelta = TimeDelta::minutes(10);
/// How many arrivals are kept for a slow receiver. One that falls further behind looks at all devices instead.
const ARRIVALS: usize = 1024;
/// How many devices are remembered that have come back to another node, which keeps a command for them.
const KEPT: usize = 10_000;

/// The outlet to the devices of all nodes. Cheap to clone.
#[derive(Clone)]
pub struct EveryNode(Arc<Inner>);

struct Inner {
    local: Arc<dyn CommandOutlet>,
    listeners: Listeners,
    /// The topics of devices that begin to listen, at any node.
    arrivals: broadcast::Sender<Arc<str>>,
    /// The devices that have begun to listen here and that the other nodes have not been told of.
    untold: Mutex<HashSet<Arc<str>>>,
    some_untold: Notify,
    /// There may be handovers to this node.
    asked: Notify,
    /// Those who wait for an answer.
    asking: Mutex<HashMap<Uuid, oneshot::Sender<()>>>,
    /// The nodes that have taken no handover in time, and when they had last been seen. They are not asked before they are seen
    /// again.
    silent: Mutex<HashMap<Uuid, DateTime<Utc>>>,
    /// The nodes that keep a command for a device which is back there, by its topic.
    kept: Mutex<HashMap<Arc<str>, Uuid>>,
}

/// What became of a handover.
enum Answer {
    /// The node has published it, or found out that it cannot.
    Given(Delivery),
    /// The node has not taken it, and never will.
    Withdrawn,
}

/// The device whose commands a topic has.
fn device(topic: &str) -> Option<Device> {
    let Topic { tenant, uid, channel } = Topic::parse(topic)?;
    (channel == Channel::Commands).then_some(Device { tenant, uid })
}

impl EveryNode {
    /// The outlet over the one to the devices of this node.
    #[must_use]
    pub fn new(local: Arc<dyn CommandOutlet>, listeners: Listeners) -> Self {
        Self(Arc::new(Inner {
            local,
            listeners,
            arrivals: broadcast::channel(ARRIVALS).0,
            untold: Mutex::default(),
            some_untold: Notify::new(),
            asked: Notify::new(),
            asking: Mutex::default(),
            silent: Mutex::default(),
            kept: Mutex::default(),
        }))
    }

    /// Tells the other nodes who listens here, and takes what they hand over, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let inner = &self.0;
        let work = async {
            tokio::join!(
                inner.pass_arrivals_on(),
                inner.tell_arrivals(),
                inner.hear(),
                inner.take_handovers()
            )
        };
        let _ = shutdown.run_until_cancelled(work).await;
    }
}

impl CommandOutlet for EveryNode {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<Delivery, Lost>> {
        async move {
            match self.0.local.publish(message.clone()).await? {
                Delivery::NobodyThere => self.0.hand_over(&message).await,
                delivery => Ok(delivery),
            }
        }
        .boxed()
    }

    fn arrivals(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        Some(self.0.arrivals.subscribe())
    }

    fn listening(&self) -> Vec<Arc<str>> {
        self.0.local.listening()
    }

    fn is_kept(&self, topic: &str) -> bool {
        self.0.local.is_kept(topic) || self.0.kept.lock().contains_key(topic)
    }

    fn publish_kept(&self, topic: &str) {
        match self.0.kept.lock().remove(topic) {
            Some(node) => self.0.tell(notices::again(node, topic)),
            None => self.0.local.publish_kept(topic),
        }
    }
}

impl Inner {
    /// Hands a message over to the node at which its device listens.
    async fn hand_over(&self, message: &Message) -> Result<Delivery, Lost> {
        let Some(device) = device(&message.topic) else { return Ok(Delivery::NobodyThere) };
        let places = self.listeners.elsewhere(&device).await.map_err(|error| {
            tracing::warn!(%error, "failed to ask at which node a device listens; trying again");
            Lost
        })?;
        for place in places {
            if self.silent.lock().get(&place.node) == Some(&place.seen_at) {
                continue;
            }
            match self.ask(place, message).await? {
                // It has gone from there, perhaps to the next one.
                Answer::Given(Delivery::NobodyThere) => {}
                Answer::Given(delivery) => return Ok(delivery),
                Answer::Withdrawn => break,
            }
        }
        Ok(Delivery::NobodyThere)
    }

    /// Asks a node to publish a message.
    async fn ask(&self, place: Place, message: &Message) -> Result<Answer, Lost> {
        let (handover, (answered, answer)) = (Uuid::now_v7(), oneshot::channel());
        self.asking.lock().insert(handover, answered);
        let asked = self.make(handover, place.node, message).await;
        if asked.is_ok() {
            instruments::COMMANDS_HANDED_OVER.increment(1);
            crash::point("handover.made");
            // Whether there was an answer, the row says.
            let _ = timeout(PATIENCE, answer).await;
        }
        self.asking.lock().remove(&handover);
        let ended = match asked {
            Ok(()) => self.withdraw(handover).await,
            Err(error) => Err(error),
        };
        let (taken, delivery) = ended.map_err(|error| {
            tracing::warn!(%error, "failed to hand a command over to another node; trying again");
            Lost
        })?;
        match delivery {
            Some(delivery) => Ok(Answer::Given(delivery)),
            None if taken => Err(Lost),
            None => {
                tracing::warn!(node = %place.node, "a node takes no commands; it is asked again once it is seen");
                let mut silent = self.silent.lock();
                // Nodes that have ended are not asked at all.
                silent.retain(|_, seen_at| *seen_at + FORGOTTEN > place.seen_at);
                silent.insert(place.node, place.seen_at);
                Ok(Answer::Withdrawn)
            }
        }
    }

    async fn make(
        &self,
        handover: Uuid,
        node: Uuid,
        message: &Message,
    ) -> Result<(), fleetlog_event_log::Error> {
        let log = self.listeners.log();
        let made = sqlx::query(MAKE).bind(handover).bind(node).bind(self.listeners.node());
        let made = made.bind(&message.topic).bind(&message.payload);
        let made = made.bind(i64::from(message.expires_in_s)).bind(i64::from(message.answer_within_s));
        made.execute(log.pool()).await?;
        log.tell_nodes(&notices::asked(node)).await
    }

    /// Ends a handover, and says whether it was taken and what came of it. One that is lost may have been taken.
    async fn withdraw(&self, handover: Uuid) -> Result<(bool, Option<Delivery>), fleetlog_event_log::Error> {
        let ended: Option<(bool, Option<String>)> =
            sqlx::query_as(WITHDRAW).bind(handover).fetch_optional(self.listeners.log().pool()).await?;
        let (taken, delivery) = ended.unwrap_or((true, None));
        Ok((taken, delivery.as_deref().and_then(taking::delivery)))
    }

    /// Tells the other nodes something that they may miss.
    fn tell(&self, notice: String) {
        let log = self.listeners.log().clone();
        tokio::spawn(async move {
            if let Err(error) = log.tell_nodes(&notice).await {
                tracing::debug!(%error, "failed to tell another node of a device that is back");
            }
        });
    }
}

const MAKE: &str = "
    INSERT INTO command_handovers (handover, node, asked_by, topic, payload, expires_in_s, answer_within_s)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

const WITHDRAW: &str =
    "DELETE FROM command_handovers WHERE handover = $1 RETURNING taken_at IS NOT NULL, delivery";
