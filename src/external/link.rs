//! Keeps the connection to the broker alive, reads from it, and subscribes anew on each connection.
//!
//! Nothing here waits for the database, and for room only as long as a ping can wait: rumqttc sends its pings from the
//! poll. While nothing is read, TCP holds the broker back. Each connection has a
//! generation. After a loss rumqttc still holds acknowledgements and messages of the connection that is gone; their
//! packet ids mean other messages on the next one, so both are thrown away.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, RetainForwardRule, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Status;
use crate::backoff::Backoff;

/// What may wait for room in ingest, in bytes. The receive maximum does not bound it: Mosquitto up to 2.0.11 at least
/// ignores it when a session is resumed, and sends all that it has queued at once.
const WAITING: usize = 64 << 20;
/// How long nothing is read while there is no room, before the connection is given up until there is: the broker keeps
/// what was not acknowledged. Less than the keep-alive, in which a ping must be sent.
const PATIENCE: Duration = Duration::from_secs(45);
/// What a waiting message costs of that besides its own bytes.
const OVERHEAD: usize = 512;

/// A message as the broker sent it.
pub(super) struct Received {
    /// The connection that it came over.
    pub(super) generation: u64,
    pub(super) publish: Publish,
    pub(super) at: DateTime<Utc>,
    pub(super) _room: OwnedSemaphorePermit,
}

pub(super) struct Link {
    client: AsyncClient,
    eventloop: EventLoop,
    filter: Filter,
    received: mpsc::UnboundedSender<Received>,
    room: Arc<Semaphore>,
    generation: watch::Sender<u64>,
    status: watch::Sender<Status>,
}

impl Link {
    pub(super) fn new(
        client: AsyncClient,
        eventloop: EventLoop,
        filter: String,
        status: watch::Sender<Status>,
    ) -> (Self, mpsc::UnboundedReceiver<Received>, watch::Receiver<u64>) {
        // Its length is bounded by the room that its messages hold.
        let (received, messages) = mpsc::unbounded_channel();
        let (generation, generations) = watch::channel(0);
        let mut filter = Filter::new(filter, QoS::AtLeastOnce);
        // A retained message was published once, and recorded then, not at each subscription.
        filter.retain_forward_rule = RetainForwardRule::Never;
        let room = Arc::new(Semaphore::new(WAITING));
        (Self { client, eventloop, filter, received, room, generation, status }, messages, generations)
    }

    /// Polls until a DISCONNECT of ours was sent, or there is nothing left to send it over.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
        loop {
            let lost = match self.eventloop.poll().await {
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(Event::Incoming(packet)) => self.receive(packet).await,
                Ok(Event::Outgoing(_)) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            if self.status.borrow().subscribed {
                backoff.reset();
            }
            let Err(why) = lost else { continue };
            self.lose(why);
            if shutdown.is_cancelled() {
                return;
            }
            let _ = shutdown.run_until_cancelled(backoff.wait()).await;
        }
    }

    /// Takes in a packet. An error says why this connection must end.
    async fn receive(&mut self, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::ConnAck(_) => {
                self.status.send_modify(|status| status.connected = true);
                // Also where the session is present: it may be of before the filter was this one.
                let subscribed = self.client.try_subscribe_many([self.filter.clone()]);
                subscribed.map_err(|error| error.to_string())
            }
            Packet::SubAck(suback) => match suback.return_codes[..] {
                [SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce)] => {
                    tracing::info!(filter = self.filter.path, "subscribed");
                    self.status.send_replace(Status { connected: true, subscribed: true, error: None });
                    Ok(())
                }
                ref refused => Err(format!("the broker refused the subscription: {refused:?}")),
            },
            Packet::Publish(publish) => self.receive_publish(publish).await,
            _ => Ok(()),
        }
    }

    async fn receive_publish(&mut self, publish: Publish) -> Result<(), String> {
        let (generation, at) = (*self.generation.borrow(), Utc::now());
        let cost = publish.payload.len() + publish.topic.len() + OVERHEAD;
        let room = Arc::clone(&self.room).acquire_many_owned(cost as u32);
        match tokio::time::timeout(PATIENCE, room).await {
            Ok(Ok(room)) => {
                // Closed means that this node is shutting down: the message comes again.
                let _ = self.received.send(Received { generation, publish, at, _room: room });
                Ok(())
            }
            _ => Err("more arrives than can be stored".to_owned()),
        }
    }

    /// Ends the connection, and everything that belongs to it.
    fn lose(&mut self, why: String) {
        // First, so that no acknowledgement can follow those that are thrown away next.
        self.generation.send_modify(|generation| *generation += 1);
        self.eventloop.clean();
        self.eventloop.pending.clear();
        self.eventloop.state.events.clear();
        metrics::counter!("fleetlog_mqtt_connections_lost_total").increment(1);
        tracing::warn!(error = why, "lost the broker; connecting again");
        self.status.send_replace(Status { connected: false, subscribed: false, error: Some(why) });
    }
}
