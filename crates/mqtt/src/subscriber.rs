//! Subscribes to an external broker: Mosquitto, EMQX, any that speaks MQTT 5.
//!
//! The subscriber submits each message to ingest, and acknowledges it to the broker when its fate is committed, in the
//! order of receipt. The session is persistent: after any failure, unacknowledged messages arrive again. A connection
//! has two halves, and only one waits for the other:
//!
//! - [`Subscriber::receive`] reads, and waits while ingest has no room; meanwhile nothing is read, and TCP holds the
//!   broker back
//! - [`Subscriber::acknowledge`] waits until messages are committed, and keeps the connection alive
//!
//! Besides the service's own topics, it subscribes to those that a tenant's sources take, and again when these change.
//!
//! All state of a connection ends with it: on the next one a packet id means another message.
//!
//! The [publisher](crate::publisher) is the other direction: commands to devices.

use std::sync::Arc;
use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::topic::{ACK_FILTER, Channel, STATUS_FILTER, TELEMETRY_FILTER, Topic};
use fleetlog_engine::ingest::{self, Closed, Receipt, Sender};
use futures::FutureExt;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Filter, Packet, PubAck, Publish, RetainForwardRule, SubAck, Subscribe,
    SubscribeReasonCode, Unsubscribe,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::{self, Granted, MAX_PACKET, Reader, Writer};
use crate::instruments;
use crate::losses::{Loss, Losses, Lost};
use crate::url::Url;

/// How long the broker keeps the session, with its unacknowledged messages, while no node is connected.
const SESSION_EXPIRY: Duration = Duration::from_hours(7 * 24);
/// The most unacknowledged messages. The receive maximum does not bound them: Mosquitto up to 2.0.12 ignores it while
/// it works off a queue. A broker has 65,535 packet ids, and must not need one twice.
const UNACKNOWLEDGED: usize = 32_768;
/// The packet ids of what the subscriber asks for, which are apart from those of the messages that it gets.
const SUBSCRIPTION: u16 = 1;
const UNSUBSCRIPTION: u16 = 2;

/// The filters of devices' messages, whose order among each other matters.
pub const MESSAGES: &[&str] = &[TELEMETRY_FILTER, STATUS_FILTER];
/// The filter of devices' acks.
pub const ACKS: &[&str] = &[ACK_FILTER];

/// Which broker to subscribe to, and with which session.
#[derive(Debug, Clone)]
pub struct Options {
    /// The broker's address.
    pub url: Url,
    /// The client id, which names the session. It stays the same over restarts. No two subscribers run with it at the
    /// same time.
    pub client_id: String,
    /// The shared subscription's group: its nodes share the devices' messages between them. A session that changes its
    /// group needs another client id, or the broker keeps the old subscription beside the new one. A node that stops
    /// stays in the group, because the broker drops messages without a subscription: Mosquitto keeps the node's share
    /// until the node is back or the session expires; EMQX gives the share to the other nodes. When Mosquitto restarts
    /// it forgets the group, and drops what arrives until the nodes have subscribed again.
    pub group: Option<String>,
    /// The filters: [`MESSAGES`] or [`ACKS`]. Each has its own session, so that no ack waits behind telemetry at the
    /// broker. The broker must grant the first one. It may refuse others, as it does whose rules are older than they are.
    pub filters: &'static [&'static str],
    /// Whose messages come on other topics, and which.
    pub foreign: Option<Foreign>,
    /// The most unacknowledged messages that the broker may send. It should suffice to fill a batch while another is
    /// stored. Mosquitto sends at most its own `max_inflight_messages`, which is 20 by default.
    pub receive_maximum: u16,
    /// How long a shutdown waits for messages that are being stored.
    pub drain: Duration,
}

impl Options {
    /// Options for telemetry, without a group, with up to 4,000 unacknowledged messages.
    #[must_use]
    pub fn new(url: Url, client_id: impl Into<String>) -> Self {
        let client_id = client_id.into();
        Self {
            url,
            client_id,
            group: None,
            filters: MESSAGES,
            foreign: None,
            receive_maximum: 4000,
            drain: Duration::from_secs(10),
        }
    }
}

/// What a tenant's sources take from the broker.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// The tenant.
    pub tenant: Tenant,
    /// The topic filters of its sources, which change when these do.
    pub filters: watch::Receiver<Vec<String>>,
}

/// Why options are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The client id is empty. A persistent session needs one.
    #[error("subscribe without a client id; name one for this node")]
    NoClientId,
    /// The group is not one segment of a topic filter.
    #[error("subscribe in group {0:?}: a group is not empty, and has no '/', '+' or '#'")]
    BadGroup(String),
}

/// The state of the subscription, for readiness.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether there is a connection to the broker.
    pub connected: bool,
    /// Whether the broker has granted the subscription on this connection.
    pub subscribed: bool,
    /// The last error; cleared by the next subscription.
    pub error: Option<String>,
}

/// The subscriber. Start it with [`Subscriber::run`].
pub struct Subscriber {
    url: Url,
    connect: Connect,
    filters: Filters,
    ingest: ingest::Handle,
    drain: Duration,
    status: watch::Sender<Status>,
}

/// What to subscribe to.
struct Filters {
    group: Option<String>,
    own: &'static [&'static str],
    foreign: Option<watch::Receiver<Vec<String>>>,
}

impl Filters {
    /// The filters of the tenant's sources, now.
    fn foreign(&self) -> Vec<String> {
        self.foreign.as_ref().map(|filters| filters.borrow().clone()).unwrap_or_default()
    }

    /// A filter as the broker takes it.
    fn path(&self, filter: &str) -> String {
        self.group.as_ref().map_or_else(|| filter.to_owned(), |group| format!("$share/{group}/{filter}"))
    }

    fn subscription(&self, filter: &str) -> Filter {
        let mut filter = Filter::new(self.path(filter), QoS::AtLeastOnce);
        // A retained message was recorded when it was published. It must not be recorded again at each subscription.
        filter.retain_forward_rule = RetainForwardRule::Never;
        filter
    }

    /// Resolves when the filters of the tenant's sources have changed since `known`, and returns them.
    async fn changed(&self, known: &[String]) -> Vec<String> {
        let Some(filters) = &self.foreign else { return std::future::pending().await };
        let mut filters = filters.clone();
        let changed = filters.wait_for(|filters| filters != known).await.map(|filters| filters.clone());
        match changed {
            Ok(filters) => filters,
            // The service stops.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A message that ingest has, and that is not acknowledged yet.
struct Submitted {
    packet_id: u16,
    receipt: Receipt,
}

impl Subscriber {
    /// Prepares a subscriber that submits its messages to `ingest`. It connects when it runs.
    pub fn new(options: Options, ingest: ingest::Handle) -> Result<(Self, watch::Receiver<Status>), Error> {
        let Options { url, client_id, group, filters, foreign, receive_maximum, drain } = options;
        if client_id.is_empty() {
            return Err(Error::NoClientId);
        }
        if let Some(group) =
            group.as_ref().filter(|group| group.is_empty() || group.contains(['/', '+', '#']))
        {
            return Err(Error::BadGroup(group.clone()));
        }
        let (ingest, foreign) = match foreign {
            Some(Foreign { tenant, filters }) => {
                (ingest.of_sender(Sender { tenant, speaker: None }), Some(filters))
            }
            None => (ingest, None),
        };
        let filters = Filters { group, own: filters, foreign };
        let properties = ConnectProperties {
            session_expiry_interval: Some(SESSION_EXPIRY.as_secs() as u32),
            receive_maximum: Some(receive_maximum),
            max_packet_size: Some(MAX_PACKET),
            ..ConnectProperties::new()
        };
        let connect = Connect { keep_alive: 0, client_id, clean_start: false, properties: Some(properties) };
        let (status, watched) = watch::channel(Status::default());
        Ok((Self { url, connect, filters, ingest, drain, status }, watched))
    }

    /// Receives until `shutdown`, and can be run again after it. At `shutdown` it takes no more messages, acknowledges those that get committed within
    /// [`Options::drain`], and disconnects; the broker keeps the session.
    pub async fn run(&self, shutdown: CancellationToken) {
        let overdue = async {
            shutdown.cancelled().await;
            tokio::time::sleep(self.drain).await;
        };
        tokio::select! {
            () = self.keep_connected(&shutdown) => {}
            () = overdue => tracing::warn!("the broker or the database did not answer in time; unacknowledged messages arrive again at the next start"),
        }
    }

    async fn keep_connected(&self, shutdown: &CancellationToken) {
        let mut losses = Losses::new(&self.connect.client_id);
        while !shutdown.is_cancelled() {
            let Err(lost) = self.connection(shutdown, &mut losses).await else { return };
            let Loss { error, wait } = losses.lost(&lost);
            instruments::BROKER_CONNECTIONS_LOST.increment(1);
            self.status.send_replace(Status { error: Some(error), ..Status::default() });
            let _ = shutdown.run_until_cancelled(sleep(wait)).await;
        }
    }

    /// Runs one connection to its end, which is an error except at a shutdown.
    async fn connection(&self, shutdown: &CancellationToken, losses: &mut Losses) -> Result<(), Lost> {
        let opened = shutdown.run_until_cancelled(client::open(&self.url, self.connect.clone())).await;
        let Some(opened) = opened else { return Ok(()) };
        let (reader, mut writer, granted) = opened?;
        losses.connected();
        // What the connection before this one had been granted holds no longer.
        self.status.send_modify(|status| (status.connected, status.subscribed) = (true, false));
        // Subscribe even if the broker kept the session: it may predate a change of the filters.
        let foreign = self.filters.foreign();
        writer.put(&self.subscribe(&foreign))?;
        writer.flush().await?;
        let (submitted, submissions) = mpsc::channel(UNACKNOWLEDGED);
        let receive = async {
            // At a shutdown the reader is dropped and the channel closes; the messages in it are still acknowledged.
            shutdown.run_until_cancelled(self.receive(reader, submitted)).await.unwrap_or(Ok(()))
        };
        tokio::try_join!(receive, self.acknowledge(writer, granted, submissions, foreign))?;
        Ok(())
    }

    /// Submits messages to ingest until the connection ends or ingest closes.
    async fn receive(&self, mut reader: Reader, submitted: mpsc::Sender<Submitted>) -> Result<(), Lost> {
        loop {
            match reader.next().await? {
                Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => return Err(Lost::QoS2),
                Packet::Publish(Publish { qos, pkid, topic, payload, retain, .. }) => {
                    let topic: Arc<str> = String::from_utf8_lossy(&topic).into();
                    let receipt = if retain && is_status(&topic) {
                        // A broker that keeps to the rules does not send it. It says what was so at some time.
                        Ok(Receipt::of_nothing())
                    } else {
                        self.ingest.submit(topic, payload, self.ingest.now()).await
                    };
                    let Ok(receipt) = receipt else { return Ok(()) };
                    if qos == QoS::AtLeastOnce
                        && submitted.send(Submitted { packet_id: pkid, receipt }).await.is_err()
                    {
                        return Ok(());
                    }
                }
                Packet::SubAck(suback) => self.subscribed(suback)?,
                _ => {}
            }
        }
    }

    /// Subscribes to the service's own filters, and to these.
    fn subscribe(&self, foreign: &[String]) -> Packet {
        let all = self.filters.own.iter().copied().chain(foreign.iter().map(String::as_str));
        let filters = all.map(|filter| self.filters.subscription(filter)).collect();
        Packet::Subscribe(Subscribe { pkid: SUBSCRIPTION, filters, properties: None })
    }

    /// Takes in what the broker has granted: the service's own filters first, then those of sources.
    fn subscribed(&self, suback: SubAck) -> Result<(), Lost> {
        let is_granted = |code: &SubscribeReasonCode| {
            matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce))
        };
        let codes = &suback.return_codes;
        if codes.len() < self.filters.own.len() || !codes.first().is_some_and(is_granted) {
            return Err(Lost::Refused(suback.return_codes));
        }
        let foreign = self.filters.foreign();
        let filters = self.filters.own.iter().copied().chain(foreign.iter().map(String::as_str));
        for (filter, code) in filters.zip(codes) {
            let filter = self.filters.path(filter);
            if is_granted(code) {
                tracing::info!(filter, "subscribed");
            } else {
                tracing::warn!(
                    filter,
                    ?code,
                    "the broker does not let this service read a topic; see its access rules"
                );
            }
        }
        self.status.send_replace(Status { connected: true, subscribed: true, error: None });
        Ok(())
    }

    /// Acknowledges messages in the order of receipt: a committed message waits for those before it. Subscribes anew when the
    /// filters of sources change; `foreign` are those that the connection began with. Disconnects and returns when no more
    /// messages can be acknowledged.
    async fn acknowledge(
        &self,
        mut writer: Writer,
        granted: Granted,
        mut submissions: mpsc::Receiver<Submitted>,
        mut foreign: Vec<String>,
    ) -> Result<(), Lost> {
        let mut pings = interval_at(Instant::now() + granted.ping_every, granted.ping_every);
        let mut first = None;
        loop {
            tokio::select! {
                committed = next_committed(&mut submissions, &mut first) => {
                    let mut committed = Some(committed);
                    // A batch is committed as a whole, so usually several messages are ready, and one write sends all
                    // acknowledgements.
                    while let Some(next) = committed {
                        let Some(packet_id) = next else {
                            return Ok(writer.disconnect().await?);
                        };
                        writer.put(&Packet::PubAck(PubAck::new(packet_id, None)))?;
                        committed = next_committed(&mut submissions, &mut first).now_or_never();
                    }
                    writer.flush().await?;
                }
                changed = self.filters.changed(&foreign) => {
                    let gone = foreign.iter().filter(|filter| !changed.contains(filter));
                    let gone: Vec<String> = gone.map(|filter| self.filters.path(filter)).collect();
                    if !gone.is_empty() {
                        let unsubscribe = Unsubscribe { pkid: UNSUBSCRIPTION, filters: gone, properties: None };
                        writer.put(&Packet::Unsubscribe(unsubscribe))?;
                    }
                    writer.put(&self.subscribe(&changed))?;
                    writer.flush().await?;
                    foreign = changed;
                }
                _ = pings.tick() => writer.ping().await?,
            }
        }
    }
}

/// Whether a device says on this topic that it is online or offline.
fn is_status(topic: &str) -> bool {
    Topic::parse(topic).is_some_and(|topic| topic.channel == Channel::Status)
}

/// The packet id of the next message in the order of receipt, once the message is committed. `None` when no more
/// messages arrive, or when ingest closes: the messages behind are not stored either. Cancel-safe.
async fn next_committed(
    submissions: &mut mpsc::Receiver<Submitted>,
    first: &mut Option<Submitted>,
) -> Option<u16> {
    if first.is_none() {
        *first = submissions.recv().await;
    }
    let committed: Result<_, Closed> = (&mut first.as_mut()?.receipt).await;
    let packet_id = first.take()?.packet_id;
    committed.ok().map(|_| packet_id)
}
