//! Who may connect, publish and subscribe.
//!
//! A device that has logged in may use its own four topics, and those of the devices behind it if it is a gateway. It may also
//! publish on foreign topics, which have not the form of a device's: a source says which device such a message is from, and
//! ingest whether the login speaks for that device. Where the endpoint is open, a client without credentials may publish as any
//! device, and subscribe to the commands of any device. Its publishes are not refused here: ingest decides on them, and puts one
//! on a topic of no device into quarantine.
//!
//! MQTT 3.1.1 has no word for a publish that is refused: its acknowledgement would look exactly like that of a stored one.
//! Such a connection is ended instead, in [`connection`](super::connection).

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::topic::{Channel, Topic, is_foreign};
use fleetlog_engine::devices::credentials::authenticate::Admitted;
use fleetlog_engine::devices::credentials::watch::Ended;
use fleetlog_engine::devices::credentials::{Credentials, Secret, Speaker};
use fleetlog_engine::devices::sessions::Will;
use fleetlog_engine::ingest::Sender;
use fleetlog_tls::clients::Shown;
use uuid::Uuid;

use super::Peer;
use super::limits::SUBSCRIPTIONS;
use crate::protocol::opening::{Hello, Refusal};

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Devices with credentials.
    Required,
    /// Anyone. A client that shows credentials must have the right ones, and may use only that device's topics.
    Open,
}

impl Auth {
    /// What is usual for an endpoint that listens on these addresses: open, if only this machine reaches it.
    #[must_use]
    pub fn usual(listen: impl IntoIterator<Item = SocketAddr>) -> Self {
        if listen.into_iter().all(|address| address.ip().is_loopback()) { Self::Open } else { Self::Required }
    }
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
    /// What the device may, and those behind it.
    Device {
        speaker: Speaker,
        /// What it has logged in with; `None` is one of this process's own.
        credential_id: Option<Uuid>,
    },
}

/// A client that may come in.
pub(super) struct Admission {
    pub(super) access: Access,
    /// Whether an earlier session of the client may be kept.
    pub(super) may_have_session: bool,
    /// How long the connection may last, if the client has logged in with a certificate: as long as that is in force.
    pub(super) lasts: Option<Duration>,
}

impl From<Access> for Admission {
    fn from(access: Access) -> Self {
        Self { access, may_have_session: true, lasts: None }
    }
}

impl Gate {
    /// Lets a client in, or says why not. Its will is not asked about: nobody is kept out by one.
    ///
    /// The user's name says which device it is. A password decides, or without one the certificate that was shown.
    pub(super) async fn admit(&self, hello: &Hello, peer: &Peer) -> Result<Admission, Refusal> {
        match (&hello.username, &hello.password, &peer.shown) {
            (None, None, _) if self.auth == Auth::Open && !peer.must_log_in => Ok(Access::Anyone.into()),
            (None, None, _) => Err(Refusal::NoCredentials),
            (Some(username), None, Some(Shown { sha256, subject, good_for })) => {
                let credentials = &self.credentials;
                let admitted =
                    credentials.authenticate_by_certificate(username, sha256, subject.as_deref()).await;
                Ok(Admission { lasts: Some(*good_for), ..Self::known(admitted)? })
            }
            (username, password, _) => {
                let username = username.as_deref().unwrap_or_default();
                self.log_in(username, password.as_deref().unwrap_or_default()).await
            }
        }
    }

    async fn log_in(&self, username: &str, password: &[u8]) -> Result<Admission, Refusal> {
        if self.in_process.as_ref().is_some_and(|secret| secret.is(password)) {
            let device = username.parse().map_err(|_| Refusal::BadCredentials)?;
            let speaker = Speaker { device, behind: None };
            return Ok(Access::Device { speaker, credential_id: None }.into());
        }
        Self::known(self.credentials.authenticate(username, password).await)
    }

    fn known<E: Display>(admitted: Result<Option<Admitted>, E>) -> Result<Admission, Refusal> {
        match admitted {
            Ok(Some(Admitted { speaker, credential_id, has_session, .. })) => {
                let access = Access::Device { speaker, credential_id: Some(credential_id) };
                Ok(Admission { access, may_have_session: has_session, lasts: None })
            }
            Ok(None) => Err(Refusal::BadCredentials),
            Err(error) => {
                tracing::warn!(%error, "failed to look a device's credentials up");
                Err(Refusal::Unavailable)
            }
        }
    }
}

impl Access {
    pub(super) fn may_publish(&self, topic: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Device { speaker, .. } => speaker.may_publish(topic) || is_foreign(topic),
        }
    }

    /// The will that a client has left, if it is one that is said.
    pub(super) fn will(&self, topic: &str, payload: &[u8]) -> Option<Will> {
        match self {
            Self::Device { speaker, .. } if is_foreign(topic) => {
                Will::on_foreign(topic, payload, &speaker.device)
            }
            Self::Anyone | Self::Device { .. } => {
                Will::new(topic, payload).filter(|_| self.may_publish(topic))
            }
        }
    }

    /// Who sends what is published on foreign topics. `tenant` is that of clients that have not logged in.
    pub(super) fn sender(&self, tenant: Option<&Tenant>) -> Option<Sender> {
        match self {
            Self::Anyone => tenant.map(|tenant| Sender { tenant: tenant.clone(), speaker: None }),
            Self::Device { speaker, .. } => {
                Some(Sender { tenant: speaker.device.tenant.clone(), speaker: Some(speaker.clone()) })
            }
        }
    }

    /// One device's commands, by exact segments: no wildcards, no shared subscriptions.
    pub(super) fn may_subscribe(&self, filter: &str) -> bool {
        match self {
            Self::Anyone => Topic::parse(filter).is_some_and(|topic| topic.channel == Channel::Commands),
            Self::Device { speaker, .. } => speaker.may_subscribe(filter),
        }
    }

    /// To how many topics it may subscribe.
    pub(super) fn most_subscriptions(&self) -> usize {
        match self {
            Self::Anyone => SUBSCRIPTIONS,
            Self::Device { speaker, .. } => SUBSCRIPTIONS + speaker.most_behind(),
        }
    }

    /// The user's name; `None` is anyone.
    pub(super) fn user(&self) -> Option<String> {
        match self {
            Self::Anyone => None,
            Self::Device { speaker, .. } => Some(speaker.device.to_string()),
        }
    }

    /// The tenant of a device that has logged in.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::Anyone => None,
            Self::Device { speaker, .. } => Some(&speaker.device.tenant),
        }
    }

    /// Whether it may end while the connection lasts.
    pub(super) fn can_end(&self) -> bool {
        matches!(self, Self::Device { credential_id: Some(_), .. })
    }

    /// Whether it is one of those whose access has ended.
    pub(super) fn is_among(&self, ended: &Ended) -> bool {
        match self {
            Self::Device { speaker, credential_id: Some(credential_id) } => {
                let tenant = speaker.device.tenant.as_str();
                ended.credentials.contains(credential_id) || ended.tenants.contains(tenant)
            }
            Self::Device { credential_id: None, .. } | Self::Anyone => false,
        }
    }
}
