//! Publishes commands through an external broker, and waits for the acknowledgement of each.
//!
//! The session is clean: an unacknowledged command is reported as lost to its publisher, which decides what to do.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use fleetlog_engine::dispatch::outlet::{CommandOutlet, Delivery, Lost, Message};
use futures::future::BoxFuture;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Packet, PubAck, PubAckReason, Publish, PublishProperties,
};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::{self, Granted, Reader, Writer};
use crate::losses::Losses;
use crate::url::Url;

/// The most unacknowledged commands.
const WINDOW: u16 = 256;

/// The connection that publishes. Start it with [`Outlet::run`].
pub struct Outlet {
    url: Url,
    client_id: String,
    messages: mpsc::Receiver<Publication>,
}

/// Publishes commands through the [`Outlet`]. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    messages: mpsc::Sender<Publication>,
}

struct Publication {
    message: Message,
    answer: oneshot::Sender<Delivery>,
}

impl CommandOutlet for Handle {
    /// Returns when the broker has taken the message, or has answered that nobody has subscribed. In all other cases
    /// whether the broker has the message is unknown.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<Delivery, Lost>> {
        Box::pin(async move {
            let (answer, taken) = oneshot::channel();
            self.messages.send(Publication { message, answer }).await.map_err(|_| Lost)?;
            taken.await.map_err(|_| Lost)
        })
    }

    fn arrivals(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        None
    }
}

impl Outlet {
    /// Prepares an outlet. It connects as `client_id` when it runs.
    #[must_use]
    pub fn new(url: Url, client_id: impl Into<String>) -> (Self, Handle) {
        let (messages, published) = mpsc::channel(usize::from(WINDOW));
        (Self { url, client_id: client_id.into(), messages: published }, Handle { messages })
    }

    /// Publishes until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let keep_connected = async {
            let mut losses = Losses::new(&self.client_id);
            loop {
                let connect = Connect {
                    keep_alive: 0,
                    client_id: self.client_id.clone(),
                    clean_start: true,
                    properties: Some(ConnectProperties::new()),
                };
                let lost = match client::open(&self.url, connect).await {
                    Ok((reader, writer, granted)) => {
                        losses.connected();
                        self.publish(reader, writer, granted).await
                    }
                    Err(error) => Err(error),
                };
                let Err(error) = lost else { return };
                sleep(losses.lost(&error.into()).wait).await;
            }
        };
        let _ = shutdown.run_until_cancelled(keep_connected).await;
    }

    /// Runs one connection to its end, which is an error unless all handles are dropped.
    async fn publish(
        &mut self,
        mut reader: Reader,
        mut writer: Writer,
        granted: Granted,
    ) -> Result<(), client::Error> {
        let window = usize::from(granted.receive_maximum.min(WINDOW));
        let mut pings = interval_at(Instant::now() + granted.ping_every, granted.ping_every);
        // Dropped with the connection, which reports the commands in it as lost.
        let mut waiting: HashMap<u16, oneshot::Sender<Delivery>> = HashMap::new();
        let mut packet_id = 0;
        loop {
            tokio::select! {
                publication = self.messages.recv(), if waiting.len() < window => {
                    let Some(Publication { message, answer }) = publication else { return Ok(()) };
                    // The caller may have given up waiting.
                    if answer.is_closed() {
                        continue;
                    }
                    packet_id = next_free(packet_id, &waiting);
                    writer.put(&packet(message, packet_id))?;
                    writer.flush().await?;
                    waiting.insert(packet_id, answer);
                }
                packet = reader.next() => {
                    if let Packet::PubAck(puback) = packet?
                        && let Some(answer) = waiting.remove(&puback.pkid)
                        && let Some(delivery) = delivery(&puback)
                    {
                        let _ = answer.send(delivery);
                    }
                }
                _ = pings.tick() => writer.ping().await?,
            }
        }
    }
}

/// The delivery that a PUBACK means. `None` for a refusal: it may be temporary, and is logged.
fn delivery(puback: &PubAck) -> Option<Delivery> {
    match puback.reason {
        PubAckReason::Success => Some(Delivery::Taken),
        PubAckReason::NoMatchingSubscribers => Some(Delivery::NobodyThere),
        reason => {
            tracing::error!(?reason, "the broker refused a command; check its access rules");
            None
        }
    }
}

fn next_free(last: u16, waiting: &HashMap<u16, oneshot::Sender<Delivery>>) -> u16 {
    let mut next = last;
    loop {
        next = next.wrapping_add(1).max(1);
        if !waiting.contains_key(&next) {
            return next;
        }
    }
}

fn packet(message: Message, packet_id: u16) -> Packet {
    let properties = PublishProperties {
        message_expiry_interval: Some(message.expires_in_s),
        ..PublishProperties::default()
    };
    let payload = Bytes::from(message.payload);
    let mut publish = Publish::new(message.topic, QoS::AtLeastOnce, payload, Some(properties));
    publish.pkid = packet_id;
    Packet::Publish(publish)
}
