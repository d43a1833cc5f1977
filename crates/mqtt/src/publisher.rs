//! Publishes commands through a broker of somebody else's, each until the broker says that it has taken it over.
//!
//! The session is clean: what the broker has not acknowledged is told to whoever published it, and that one decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetlog_engine::dispatch::outlet::{CommandOutlet, Delivery, Lost, Message};
use fleetlog_event_log::backoff::Backoff;
use futures::future::BoxFuture;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Packet, PubAck, PubAckReason, Publish, PublishProperties,
};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use crate::client::{self, Granted, Reader, Writer};
use crate::url::Url;

/// The most messages that wait for the broker.
const WINDOW: u16 = 256;

/// The component. [`Outlet::run`] it.
pub struct Outlet {
    url: Url,
    client_id: String,
    messages: mpsc::Receiver<Publication>,
}

/// Publishes. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    messages: mpsc::Sender<Publication>,
}

struct Publication {
    message: Message,
    answer: oneshot::Sender<Delivery>,
}

impl CommandOutlet for Handle {
    /// Returns once the broker has taken the message over, or has said that it has nobody to give it to. Whatever
    /// else: whether the broker has it is not known.
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
    /// Prepares an outlet. It connects when it runs, as `client_id`.
    #[must_use]
    pub fn new(url: Url, client_id: impl Into<String>) -> (Self, Handle) {
        let (messages, published) = mpsc::channel(usize::from(WINDOW));
        (Self { url, client_id: client_id.into(), messages: published }, Handle { messages })
    }

    /// Publishes until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let keep_connected = async {
            let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
            loop {
                let connect = Connect {
                    keep_alive: 0,
                    client_id: self.client_id.clone(),
                    clean_start: true,
                    properties: Some(ConnectProperties::new()),
                };
                let lost = match client::open(&self.url, connect).await {
                    Ok((reader, writer, granted)) => {
                        backoff.reset();
                        self.publish(reader, writer, granted).await
                    }
                    Err(error) => Err(error),
                };
                let Err(error) = lost else { return };
                tracing::warn!(%error, "lost the broker that commands go through; connecting again");
                backoff.wait().await;
            }
        };
        let _ = shutdown.run_until_cancelled(keep_connected).await;
    }

    /// One connection, to its end. It ends well only when nobody publishes any more.
    async fn publish(
        &mut self,
        mut reader: Reader,
        mut writer: Writer,
        granted: Granted,
    ) -> Result<(), client::Error> {
        let window = usize::from(granted.receive_maximum.min(WINDOW));
        let mut pings = interval_at(Instant::now() + granted.ping_every, granted.ping_every);
        // Dropped with the connection, which tells who waits that the answer will never come.
        let mut waiting: HashMap<u16, oneshot::Sender<Delivery>> = HashMap::new();
        let mut packet_id = 0;
        loop {
            tokio::select! {
                publication = self.messages.recv(), if waiting.len() < window => {
                    let Some(Publication { message, answer }) = publication else { return Ok(()) };
                    // Whoever asked for it may have given up.
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

/// What the broker says. A refusal is no answer: it may be of this moment, and is in the log.
fn delivery(puback: &PubAck) -> Option<Delivery> {
    match puback.reason {
        PubAckReason::Success => Some(Delivery::Taken),
        PubAckReason::NoMatchingSubscribers => Some(Delivery::NobodyThere),
        reason => {
            tracing::error!(?reason, "the broker refuses to publish commands");
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
