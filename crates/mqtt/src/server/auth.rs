//! Who may connect, publish and subscribe. mqtt5 asks here, once for each connection, publish and filter.
//!
//! A device that has logged in may do what its own three topics are for, and nothing else. Where the endpoint is open,
//! whoever shows no credentials may publish as any device, and subscribe to one device's commands at a time; nothing
//! of it is refused that ingest can judge: a publish to a topic of nobody's is quarantined and acknowledged.
//!
//! mqtt5 answers a refused MQTT 3.1.1 publish, whose PUBACK has no reason code, exactly like a stored one. Such a
//! connection is hung up instead, in [`connection`](super::connection).

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use fleetlog_aggregates::topic::{Channel, Topic};
use fleetlog_engine::devices::credentials::authenticate::Admitted;
use fleetlog_engine::devices::credentials::watch::Ended;
use fleetlog_engine::devices::credentials::{Credentials, Device, Secret};
use mqtt5::Result;
use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::types::ReasonCode;
use uuid::Uuid;

use super::connection::Connection;
use crate::instruments;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The user of everyone who connects without credentials. mqtt5 ends the sessions of named users only.
const ANYONE: &str = "anyone";
/// The protocol level of MQTT 3.1.1.
const V3_1_1: u8 = 4;

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Devices with credentials.
    Required,
    /// Anyone. Whoever shows credentials must have the right ones, and is held to that device's topics.
    Open,
}

/// What decides on it, for all connections.
pub(super) struct Gate {
    pub(super) auth: Auth,
    /// Lets this process's own devices in, as whichever device they say.
    pub(super) in_process: Option<Secret>,
    pub(super) credentials: Credentials,
}

/// What a connection may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// Whatever is no secret.
    Anyone,
    /// What the device may.
    Device {
        device: Device,
        /// What it has logged in with; `None` is one of this process's own.
        credential_id: Option<Uuid>,
    },
}

impl Gate {
    /// Lets a client in, or says why not.
    async fn admit(&self, connect: &ConnectPacket) -> std::result::Result<Access, ReasonCode> {
        let access = match (&connect.username, &connect.password) {
            (None, None) if self.auth == Auth::Open => Access::Anyone,
            (None, None) => return Err(ReasonCode::NotAuthorized),
            (username, password) => {
                let username = username.as_deref().unwrap_or_default();
                self.log_in(username, password.as_deref().unwrap_or_default()).await?
            }
        };
        // A will is a publish that comes later.
        match &connect.will {
            Some(will) if !access.may_publish(&will.topic) => Err(ReasonCode::NotAuthorized),
            _ => Ok(access),
        }
    }

    async fn log_in(&self, username: &str, password: &[u8]) -> std::result::Result<Access, ReasonCode> {
        if self.in_process.as_ref().is_some_and(|secret| secret.is(password)) {
            let device = username.parse().map_err(|_| ReasonCode::BadUsernameOrPassword)?;
            return Ok(Access::Device { device, credential_id: None });
        }
        match self.credentials.authenticate(username, password).await {
            Ok(Some(Admitted { device, credential_id, .. })) => {
                Ok(Access::Device { device, credential_id: Some(credential_id) })
            }
            Ok(None) => Err(ReasonCode::BadUsernameOrPassword),
            Err(error) => {
                tracing::warn!(%error, "failed to look a device's credentials up");
                Err(ReasonCode::ServerUnavailable)
            }
        }
    }
}

impl Access {
    pub(super) fn may_publish(&self, topic: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Device { device, .. } => device.may_publish(topic),
        }
    }

    /// One device's commands, by exact segments: no wildcards, no shared subscriptions.
    fn may_subscribe(&self, filter: &str) -> bool {
        match self {
            Self::Anyone => Topic::parse(filter).is_some_and(|topic| topic.channel == Channel::Commands),
            Self::Device { device, .. } => device.may_subscribe(filter),
        }
    }

    /// The user's name; `None` is anyone.
    pub(super) fn user(&self) -> Option<String> {
        match self {
            Self::Anyone => None,
            Self::Device { device, .. } => Some(device.to_string()),
        }
    }

    /// Whether it may end while the connection lasts.
    pub(super) fn can_end(&self) -> bool {
        matches!(self, Self::Device { credential_id: Some(_), .. })
    }

    /// Whether it is one of those whose access has ended.
    pub(super) fn is_among(&self, ended: &Ended) -> bool {
        match self {
            Self::Device { device, credential_id: Some(credential_id) } => {
                ended.credentials.contains(credential_id) || ended.tenants.contains(device.tenant.as_str())
            }
            Self::Device { credential_id: None, .. } | Self::Anyone => false,
        }
    }
}

impl AuthProvider for Connection {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _peer: SocketAddr,
    ) -> Answer<'a, Result<AuthResult>> {
        Box::pin(async move {
            Ok(match self.gate.admit(connect).await {
                Ok(access) => {
                    let user = access.user().unwrap_or_else(|| ANYONE.to_owned());
                    self.let_in(access, connect.protocol_version != V3_1_1);
                    AuthResult::success_with_user(user)
                }
                Err(reason) => {
                    instruments::LOGINS_REFUSED.increment(1);
                    AuthResult::fail(reason)
                }
            })
        })
    }

    /// Everything but the will. That goes to ingest; mqtt5 would forward it to whoever has subscribed, unseen.
    fn authorize_publish<'a>(
        &'a self,
        _client_id: &str,
        _user_id: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        let is_will = self.over.load(Ordering::Relaxed);
        let allowed = !is_will && (!self.can_be_told() || self.allows(topic));
        Box::pin(async move {
            if !allowed && !is_will {
                // mqtt5 says so at once; what came before is to be acknowledged before.
                self.settled().await;
            }
            allowed
        })
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _client_id: &str,
        _user_id: Option<&'a str>,
        filter: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = self.access().is_some_and(|access| access.may_subscribe(filter));
        Box::pin(std::future::ready(allowed))
    }

    /// Called when the connection has ended, before its will is published.
    fn cleanup_session<'a>(&'a self, _user_id: &'a str) -> Answer<'a, ()> {
        self.over.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}
