//! Who may connect, publish and subscribe. mqtt5 asks here, once for each connection, publish and filter.
//!
//! Open access, for loopback: anyone may publish as any device, and subscribe to one device's commands at a time.
//! Nothing is refused that ingest can judge: a publish to a topic of nobody's is quarantined and acknowledged. Where
//! publishes are to be refused, mind that mqtt5 answers a refused MQTT 3.1.1 publish, whose PUBACK has no reason
//! code, exactly like a stored one: hang such a connection up instead.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use fleetlog_aggregates::topic::{Channel, Topic};
use mqtt5::Result;
use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::packet::connect::ConnectPacket;

use super::connection::Connection;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The user of everyone who connects without credentials. mqtt5 ends the sessions of named users only.
const ANYONE: &str = "anyone";

impl AuthProvider for Connection {
    fn authenticate<'a>(
        &'a self,
        _connect: &'a ConnectPacket,
        _peer: SocketAddr,
    ) -> Answer<'a, Result<AuthResult>> {
        Box::pin(std::future::ready(Ok(AuthResult::success_with_user(ANYONE))))
    }

    /// Everything but the will. That goes to ingest; mqtt5 would forward it to whoever has subscribed, unseen.
    fn authorize_publish<'a>(
        &'a self,
        _client_id: &str,
        _user_id: Option<&'a str>,
        _topic: &'a str,
    ) -> Answer<'a, bool> {
        Box::pin(std::future::ready(!self.over.load(Ordering::Relaxed)))
    }

    /// One device's commands, by exact segments: no wildcards, no shared subscriptions.
    fn authorize_subscribe<'a>(
        &'a self,
        _client_id: &str,
        _user_id: Option<&'a str>,
        filter: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = Topic::parse(filter).is_some_and(|topic| topic.channel == Channel::Commands);
        Box::pin(std::future::ready(allowed))
    }

    /// Called when the connection has ended, before its will is published.
    fn cleanup_session<'a>(&'a self, _user_id: &'a str) -> Answer<'a, ()> {
        self.over.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}
