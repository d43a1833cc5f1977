//! The subscriber to a broker of somebody else's: Mosquitto, EMQX, any that speaks MQTT 5.
//!
//! It hands what it receives to ingest, and acknowledges each message to the broker when its fate is committed, in
//! the order in which messages came. The session is persistent: what was not acknowledged comes again, after whatever
//! failed. Three loops, so that none waits for another's partner:
//!
//! - [`link`]: keeps the connection alive and reads from it; never waits for the database
//! - [`Subscriber::submit`]: waits until ingest has room
//! - [`Subscriber::acknowledge`]: waits until messages are committed

mod link;

use std::sync::Arc;
use std::time::Duration;

use fleetlog_aggregates::topic::TELEMETRY_FILTER;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use rumqttc::v5::{AsyncClient, EventLoop};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::broker::Url;
use crate::ingest::{self, Receipt};
use link::{Link, Received};

/// How long the broker keeps the session, and with it what was not acknowledged, while no node is connected.
const SESSION_EXPIRY: Duration = Duration::from_hours(7 * 24);
/// Half of the longest that a dead connection goes unnoticed. A connection that the database holds up for as long is
/// given up as well, and what had arrived over it comes again: short is not better.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// The largest packet that the broker may send, in bytes. It must drop larger ones.
const MAX_PACKET: u32 = 1 << 20;

/// Which broker, and as whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// The broker.
    pub url: Url,
    /// The name of the session. It stays the same over restarts, and no two nodes share it.
    pub client_id: String,
    /// The group of nodes that share the devices' messages between them. A session that changes its group needs
    /// another client id, or the broker keeps the old subscription beside the new one. A node that stops stays in the
    /// group, because the broker drops what nobody has subscribed to: Mosquitto keeps the node's share for it until
    /// it is back or the session expires; EMQX gives it to the others.
    pub group: Option<String>,
    /// How many messages the broker may send ahead of their acknowledgements. Enough to fill a batch while another is
    /// stored; with more than 65,535 packet ids would repeat. Mosquitto sends at most its own
    /// `max_inflight_messages`, which is 20 unless set.
    pub receive_maximum: u16,
    /// How long a shutdown waits for messages that are being stored.
    pub drain: Duration,
}

impl Options {
    /// As `client_id`, alone, with up to 4,000 messages on the way.
    #[must_use]
    pub fn new(url: Url, client_id: impl Into<String>) -> Self {
        let client_id = client_id.into();
        Self { url, client_id, group: None, receive_maximum: 4000, drain: Duration::from_secs(10) }
    }
}

/// Why the options make no subscriber.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A persistent session has a name.
    #[error("subscribe without a client id")]
    NoClientId,
    /// A group is one segment of a topic filter.
    #[error("subscribe in group {0:?}: a group is not empty, and has no '/', '+' or '#'")]
    BadGroup(String),
}

/// How the subscription is doing, for readiness.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// There is a connection to the broker.
    pub connected: bool,
    /// The broker has granted the subscription on this connection.
    pub subscribed: bool,
    /// What went wrong last, until it is subscribed again.
    pub error: Option<String>,
}

/// The component. [`Subscriber::run`] it.
pub struct Subscriber {
    link: Link,
    client: AsyncClient,
    received: mpsc::UnboundedReceiver<Received>,
    generation: watch::Receiver<u64>,
    ingest: ingest::Handle,
    drain: Duration,
}

/// A message that ingest has, on its way to an acknowledgement.
struct Submitted {
    generation: u64,
    /// Without topic and payload.
    publish: Publish,
    receipt: Receipt,
}

impl Subscriber {
    /// Prepares a subscriber that gives its messages to `ingest`. It connects when it runs.
    pub fn new(options: Options, ingest: ingest::Handle) -> Result<(Self, watch::Receiver<Status>), Error> {
        if options.client_id.is_empty() {
            return Err(Error::NoClientId);
        }
        let (client, eventloop) = connect(&options);
        let Options { group, drain, .. } = options;
        let filter = match group {
            None => TELEMETRY_FILTER.to_owned(),
            Some(group) if group.is_empty() || group.contains(['/', '+', '#']) => {
                return Err(Error::BadGroup(group));
            }
            Some(group) => format!("$share/{group}/{TELEMETRY_FILTER}"),
        };
        let (status, watched) = watch::channel(Status::default());
        let (link, received, generation) = Link::new(client.clone(), eventloop, filter, status);
        Ok((Self { link, client, received, generation, ingest, drain }, watched))
    }

    /// Receives until `shutdown`, then takes no more messages, acknowledges what gets committed, and disconnects from
    /// a session that the broker keeps.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { link, client, received, generation, ingest, drain } = self;
        // Bounded by what the broker can send without an acknowledgement: it has 65,535 packet ids. It must not wait
        // for acknowledgements to leave, which they do only while the link reads, which may wait for room in ingest.
        let (submitted, submissions) = mpsc::unbounded_channel();
        let submit = Self::submit(received, submitted, generation.clone(), ingest);
        let work = async {
            tokio::join!(
                shutdown.run_until_cancelled(submit),
                Self::acknowledge(submissions, generation, client.clone())
            );
            let _ = client.disconnect().await;
        };
        let overdue = async {
            shutdown.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            _ = async { tokio::join!(link.run(&shutdown), work) } => {}
            () = overdue => tracing::warn!("the broker or the database did not answer in time; its messages come again"),
        }
    }

    async fn submit(
        mut received: mpsc::UnboundedReceiver<Received>,
        submitted: mpsc::UnboundedSender<Submitted>,
        mut generation: watch::Receiver<u64>,
        ingest: ingest::Handle,
    ) {
        while let Some(Received { generation: came_with, mut publish, at, _room }) = received.recv().await {
            let topic: Arc<str> = String::from_utf8_lossy(&std::mem::take(&mut publish.topic)).into();
            let payload = std::mem::take(&mut publish.payload);
            let receipt = tokio::select! {
                biased;
                // Its connection is gone: it comes again, and need not hold up the others until then.
                _ = generation.wait_for(|present| *present != came_with) => continue,
                receipt = ingest.submit(topic, payload, at) => receipt,
            };
            let Ok(receipt) = receipt else { return };
            if publish.qos == QoS::AtMostOnce {
                continue;
            }
            if submitted.send(Submitted { generation: came_with, publish, receipt }).is_err() {
                return;
            }
        }
    }

    /// Acknowledges in the order of receipt: whatever was committed waits for those before it.
    async fn acknowledge(
        mut submissions: mpsc::UnboundedReceiver<Submitted>,
        generation: watch::Receiver<u64>,
        client: AsyncClient,
    ) {
        while let Some(Submitted { generation: came_with, publish, receipt }) = submissions.recv().await {
            if receipt.await.is_err() {
                // Ingest is closing. What follows is not stored either.
                return;
            }
            loop {
                {
                    // While this is borrowed the link cannot begin another connection, on which the packet id would
                    // mean another message.
                    let present = generation.borrow();
                    if *present != came_with || client.try_ack(&publish).is_ok() {
                        break;
                    }
                }
                // The queue to the link has room for every acknowledgement there can be, so this is a link that ends.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn connect(options: &Options) -> (AsyncClient, EventLoop) {
    // It publishes nothing, so its outgoing window is as small as it can be.
    let mut connection = options.url.client(&options.client_id, 1);
    connection
        .set_clean_start(false)
        .set_session_expiry_interval(Some(SESSION_EXPIRY.as_secs() as u32))
        .set_receive_maximum(Some(options.receive_maximum))
        .set_max_packet_size(Some(MAX_PACKET))
        .set_manual_acks(true)
        .set_keep_alive(KEEP_ALIVE);
    AsyncClient::new(connection, usize::from(options.receive_maximum) + 16)
}
