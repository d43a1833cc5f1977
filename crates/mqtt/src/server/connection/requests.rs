//! What becomes of a client's packets, and of the commands for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetlog_aggregates::topic::Topic;
use fleetlog_engine::devices::connections::Link;
use fleetlog_engine::devices::credentials::Device;
use fleetlog_engine::devices::sessions::{Kept, Lost};
use fleetlog_engine::ingest::Excess;
use tokio::time::Instant;

use super::{Connection, Done, Parting, Task};
use crate::instruments;
use crate::protocol::{Ack, Grant, Incoming, Unsent, Version, Violation, Wanted};
use crate::server::auth::Access;
use crate::server::limits::{Share, UNRELEASED_AT_ONCE, UNRELEASED_BYTES};
use crate::server::subscriptions::{Listener, Subscription};

impl<S> Connection<S> {
    /// Does what a packet asks for. Returns why the connection is to end, if it is.
    pub(super) fn read(&mut self, length: usize) -> Option<Parting> {
        let taken = self.protocol.take(self.input.packet(length), &mut self.outgoing.bytes);
        let share = self.input.consume(length);
        match taken {
            Err(Violation(_)) => return Some(Parting::Violated),
            Ok(None) => {}
            Ok(Some(Incoming::Publish { topic, payload, ack })) => {
                return self.publish(topic, payload, ack, share);
            }
            Ok(Some(Incoming::Subscribe { id, wanted })) => {
                let grants: Vec<_> = wanted.iter().map(|wanted| self.subscribe(wanted)).collect();
                match self.kept() {
                    Some(kept) => self.begin(async move { Done::Granted(kept.await, id, grants) }, None),
                    None => self.protocol.grant(id, &grants, &mut self.outgoing.bytes),
                }
            }
            Ok(Some(Incoming::Unsubscribe { id, filters })) => {
                let existed: Vec<_> = filters.iter().map(|filter| self.unsubscribe(filter)).collect();
                match self.kept() {
                    Some(kept) => self.begin(async move { Done::Ended(kept.await, id, existed) }, None),
                    None => self.protocol.end(id, &existed, &mut self.outgoing.bytes),
                }
            }
            Ok(Some(Incoming::Release(id))) => {
                self.give_up_released();
                match self.session.clone() {
                    Some(session) => {
                        let sessions = self.server.sessions.clone();
                        let released = async move {
                            sessions.release(&session, id).await;
                            Done::Released(id)
                        };
                        self.begin(released, None);
                    }
                    None => self.protocol.complete(id, &mut self.outgoing.bytes),
                }
            }
            Ok(Some(Incoming::Acknowledged(id))) => self.unacknowledged.retain(|(sent, _)| *sent != id),
            Ok(Some(Incoming::Leave { expiry_s, says_will })) => {
                let said = expiry_s.map(|seconds| Duration::from_secs(seconds.into()));
                self.expiry = said.or(self.expiry);
                if !says_will {
                    self.will = None;
                }
                return Some(Parting::Left);
            }
        }
        self.protocol.is_speechless().then_some(Parting::Violated)
    }

    fn publish(
        &mut self,
        topic: Arc<str>,
        payload: Bytes,
        ack: Option<Ack>,
        share: Option<Share>,
    ) -> Option<Parting> {
        if matches!(ack, Some(Ack::Pubrec(_))) && !self.has_room_for_unreleased() {
            return Some(Parting::Unreleased);
        }
        let can_be_told = self.protocol.version() == Version::V5;
        if !self.access.may_publish(&topic) {
            instruments::PUBLISHES_REFUSED.increment(1);
            if !can_be_told {
                return Some(Parting::HungUp);
            }
            if let Some(ack) = ack {
                self.acks.refuse(ack);
            }
            return None;
        }
        let ingest = Arc::clone(&self.ingest);
        let excess = if can_be_told && ack.is_some() { Excess::IsRefused } else { Excess::Waits };
        // What a session may send again, it may send again over another connection.
        let again = match (ack, &self.session) {
            (Some(Ack::Pubrec(id)), Some(session)) => {
                Some((self.server.sessions.clone(), session.clone(), id))
            }
            _ => None,
        };
        let submitted = async move {
            let msg_id = match again {
                Some((sessions, session, id)) => Some(sessions.hold(&session, id).await),
                None => None,
            };
            let receipt = ingest.submit_as(topic, payload, ingest.now(), excess, msg_id).await;
            Done::Submitted(receipt, ack)
        };
        self.begin(submitted, share);
        None
    }

    /// How many shares the ids need of the publishes that the client has not released. The first ids need none.
    fn shares_of_unreleased(&self) -> usize {
        self.protocol.unreleased().saturating_sub(1) / UNRELEASED_AT_ONCE
    }

    /// Whether there is room for those ids.
    fn has_room_for_unreleased(&mut self) -> bool {
        while self.unreleased.len() < self.shares_of_unreleased() {
            let share = self.server.unreleased.take(self.network, UNRELEASED_AT_ONCE * UNRELEASED_BYTES);
            let Some(share) = share else { return false };
            self.unreleased.push(share);
        }
        true
    }

    /// Gives up what is not needed any more.
    fn give_up_released(&mut self) {
        self.unreleased.truncate(self.shares_of_unreleased());
        if self.unreleased.is_empty() {
            self.unreleased = Vec::new();
        }
    }

    /// Nothing more is read before this is done.
    fn begin(&mut self, work: impl Future<Output = Done> + Send + 'static, share: Option<Share>) {
        self.task = Some(Task { work: Box::pin(work), since: Instant::now(), _share: share });
    }

    /// Has the session keep what the client listens to now, if it has one.
    fn kept(&self) -> Option<impl Future<Output = Result<(), Lost>> + Send + 'static> {
        let session = self.session.clone()?;
        let (sessions, of) = (self.server.sessions.clone(), |subscription: &Subscription| Kept {
            filter: subscription.topic.to_string(),
            quality: subscription.listener.acknowledges.into(),
            number: subscription.listener.number,
        });
        let subscriptions: Vec<Kept> = self.subscriptions.iter().map(of).collect();
        Some(async move { sessions.keep(&session, &subscriptions).await })
    }

    pub(super) fn subscribe(&mut self, wanted: &Wanted) -> Grant {
        if !wanted.is_filter() {
            return Grant::Invalid;
        }
        if !self.access.may_subscribe(&wanted.filter) {
            return Grant::NotAuthorized;
        }
        // A second subscription to a topic takes the place of the first.
        self.unsubscribe(&wanted.filter);
        if self.subscriptions.len() >= self.access.most_subscriptions() {
            return Grant::TooMany;
        }
        let listener = Listener {
            line: Arc::clone(&self.line),
            version: self.protocol.version(),
            most: self.protocol.most(),
            acknowledges: wanted.qos > 0,
            number: wanted.number,
        };
        self.subscriptions.push(self.server.subscriptions.enter(&wanted.filter, listener));
        self.note_device();
        Grant::Granted(wanted.qos)
    }

    /// Whether there was such a subscription.
    fn unsubscribe(&mut self, filter: &str) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|subscription| *subscription.topic != *filter);
        self.note_device();
        self.subscriptions.len() < before
    }

    /// Notes whose connection this is: that of the device that has logged in, or of the one device whose commands are
    /// listened to. A client that listens for several devices is none of them.
    pub(super) fn note_device(&mut self) {
        let device = match (&self.access, &self.subscriptions[..]) {
            (Access::Device { speaker, .. }, _) => Some(speaker.device.clone()),
            (Access::Anyone, [only]) => {
                Topic::parse(&only.topic).map(|Topic { tenant, uid, .. }| Device { tenant, uid })
            }
            (Access::Anyone, _) => None,
        };
        if device.as_ref() != self.link.as_ref().map(Link::device) {
            let watched = self.silence.is_some();
            self.link = device.map(|device| self.server.connections.begin(device, watched));
        }
    }

    /// Sends the commands that wait, as far as the client takes them.
    pub(super) fn send_commands(&mut self) {
        let now = Instant::now();
        while self.outgoing.has_room()
            && let Some(command) = self.line.next()
        {
            let subscription =
                self.subscriptions.iter().find(|subscription| subscription.topic == command.topic);
            let Some(subscription) = subscription.filter(|_| command.expires > now) else { continue };
            let (message, _) = command.as_packet(&subscription.listener, now);
            match self.protocol.send(message, &mut self.outgoing.bytes) {
                Ok(Some(id)) => self.unacknowledged.push((id, command)),
                // A client of `QoS` 0 says nothing about it, and none is sent what it cannot take.
                Ok(None) | Err(Unsent::TooLarge) => {}
                Err(Unsent::NoRoom) => return self.line.put_back(command),
            }
        }
    }
}
