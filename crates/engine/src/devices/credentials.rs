//! Devices' credentials: what a device logs in with, and which topics it may use. Knows no MQTT and no HTTP.
//!
//! - [`secret`]: secrets: made, hashed, compared
//! - [`known`]: what is kept of a credential, and what a device shows
//! - [`Device`]: a device as its user name gives it, and its topics
//! - [`Speaker`]: whom a login speaks for: a device, and those behind it
//! - [`issue`]: issue, rotate, revoke and list the credentials of a tenant's devices
//! - [`fleet`]: list the credentials of all of a tenant's devices
//! - [`authenticate`]: checks a user name, and a password or a certificate
//! - `guesses`: what wrong passwords may cost
//! - [`watch`]: which accesses have ended; when each credential was last used
//!
//! A credential is an ordinary row with the hash of its secret, or with the certificate that it stands for. Every change of it is also an event in the device's
//! stream, in the same transaction.

pub mod authenticate;
pub mod fleet;
mod guesses;
pub mod issue;
mod known;
pub mod secret;
pub mod watch;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fleetlog_aggregates::gateway::Behind;
use fleetlog_aggregates::identity::{StreamId, Tenant, Uid};
use fleetlog_aggregates::topic::{Channel, Topic};
use fleetlog_event_log::EventLog;
use fleetlog_event_log::turns::Turns;
use parking_lot::Mutex;
use uuid::Uuid;

use guesses::Guesses;
pub use secret::Secret;

/// The most logins that query the database at once, of all tenants and of one. When a whole fleet connects at once, or
/// somebody guesses, the other logins wait here instead of using up the connections that everything else needs.
const LOOKUPS: (u32, u32) = (4, 3);

/// The credentials of all tenants' devices. Cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    log: EventLog,
    lookups: Turns,
    guesses: Guesses,
    /// The credentials that have let a device in since the last write.
    used: Mutex<HashSet<Uuid>>,
}

impl Credentials {
    /// Credentials in the database of a log. `log` must see all tenants: a device's tenant is not known before its
    /// login.
    #[must_use]
    pub fn new(log: EventLog) -> Self {
        let lookups = Turns::new(LOOKUPS.0, LOOKUPS.1);
        Self(Arc::new(Inner { log, lookups, guesses: Guesses::new(), used: Mutex::default() }))
    }
}

impl Credentials {
    /// Notes that a device has a new secret, which no look-up before has found.
    pub fn has_new_secret(&self, device: &Device) {
        self.0.guesses.forget(device);
    }
}

/// A device. Its user name is `tenant/uid`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    /// The device's tenant.
    pub tenant: Tenant,
    /// The device's uid.
    pub uid: Uid,
}

impl Device {
    /// Whether the device may publish on a topic: its telemetry, its acks and its status.
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        matches!(self.channel(topic), Some(Channel::Telemetry | Channel::CommandAck | Channel::Status))
    }

    /// Whether the device may subscribe to a filter: its own commands only. Segments must match exactly, so wildcards
    /// and shared subscriptions are refused.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.channel(filter) == Some(Channel::Commands)
    }

    fn channel(&self, topic: &str) -> Option<Channel> {
        let Topic { tenant, uid, channel } = Topic::parse(topic)?;
        (tenant == self.tenant && uid == self.uid).then_some(channel)
    }

    /// The id of the device's control stream.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId::new(&self.tenant, &self.uid)
    }

    /// One of the device's topics.
    #[must_use]
    pub fn topic(&self, channel: Channel) -> Topic {
        Topic { tenant: self.tenant.clone(), uid: self.uid.clone(), channel }
    }
}

/// Whom a login speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// The device that has logged in.
    pub device: Device,
    /// The devices behind it, if it is a gateway.
    pub behind: Option<Arc<Behind>>,
}

impl Speaker {
    /// Whether it may publish on a topic: on those of the device, and of the devices behind it.
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        self.device.may_publish(topic) || self.owner(topic).is_some_and(|device| device.may_publish(topic))
    }

    /// Whether it may subscribe to a filter: the commands of the device, or of one behind it.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.device.may_subscribe(filter)
            || self.owner(filter).is_some_and(|device| device.may_subscribe(filter))
    }

    /// Whether it speaks for a device of its tenant: its own, or one behind it.
    #[must_use]
    pub fn speaks_for(&self, uid: &Uid) -> bool {
        self.device.uid == *uid || self.behind.as_ref().is_some_and(|behind| behind.has(uid))
    }

    /// How many devices it speaks for besides its own.
    #[must_use]
    pub fn most_behind(&self) -> usize {
        self.behind.as_ref().map_or(0, |behind| behind.most())
    }

    /// The device behind it whose topic this is.
    fn owner(&self, topic: &str) -> Option<Device> {
        let behind = self.behind.as_ref()?;
        let Topic { tenant, uid, .. } = Topic::parse(topic)?;
        (tenant == self.device.tenant && behind.has(&uid)).then_some(Device { tenant, uid })
    }
}

impl FromStr for Device {
    type Err = NoDevice;

    fn from_str(username: &str) -> Result<Self, NoDevice> {
        let (tenant, uid) = username.split_once('/').ok_or(NoDevice)?;
        let (tenant, uid) = (tenant.parse().map_err(|_| NoDevice)?, uid.parse().map_err(|_| NoDevice)?);
        Ok(Self { tenant, uid })
    }
}

/// A user name that does not have the form `tenant/uid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device's user name is <tenant>/<uid>")]
pub struct NoDevice;

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_is_a_tenant_and_a_uid() {
        let device: Device = "t0/dev-01".parse().expect("a device");
        assert_eq!(device.to_string(), "t0/dev-01");
        for bad in ["", "/", "t0", "t0/", "/dev-01", "t0/dev-01/x", "t0/dev 01", "t0/+", "#"] {
            assert!(bad.parse::<Device>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_device_has_four_topics_and_no_other() {
        let device: Device = "t0/dev-01".parse().expect("a device");
        for (topic, publish, subscribe) in [
            ("t0/devices/dev-01/telemetry", true, false),
            ("t0/devices/dev-01/command_ack", true, false),
            ("t0/devices/dev-01/status", true, false),
            ("t0/devices/dev-01/commands", false, true),
            ("t0/devices/dev-01/commands/", false, false),
            ("t0/devices/dev-02/telemetry", false, false),
            ("t0/devices/dev-02/commands", false, false),
            ("t1/devices/dev-01/telemetry", false, false),
            ("t1/devices/dev-01/commands", false, false),
            ("t0/devices/+/commands", false, false),
            ("+/devices/dev-01/commands", false, false),
            ("$share/g/t0/devices/dev-01/commands", false, false),
            ("t0/devices/dev-01/#", false, false),
            ("#", false, false),
            ("$SYS/#", false, false),
        ] {
            assert_eq!(
                (device.may_publish(topic), device.may_subscribe(topic)),
                (publish, subscribe),
                "{topic}"
            );
        }
    }

    #[test]
    fn a_gateway_speaks_for_itself_and_for_those_behind_it() {
        let device: Device = "t0/gw".parse().expect("a device");
        let behind = |json: &str| Some(Arc::new(serde_json::from_str(json).expect("devices")));
        for behind in [behind(r#"{"devices":["m-1"]}"#), behind(r#"{"prefix":"m-"}"#)] {
            let gateway = Speaker { device: device.clone(), behind };
            for (topic, publish, subscribe) in [
                ("t0/devices/gw/telemetry", true, false),
                ("t0/devices/gw/commands", false, true),
                ("t0/devices/m-1/telemetry", true, false),
                ("t0/devices/m-1/command_ack", true, false),
                ("t0/devices/m-1/status", true, false),
                ("t0/devices/m-1/commands", false, true),
                ("t1/devices/m-1/telemetry", false, false),
                ("t0/devices/other/telemetry", false, false),
                ("t0/devices/+/commands", false, false),
                ("t0/devices/m-/commands/#", false, false),
            ] {
                let may = (gateway.may_publish(topic), gateway.may_subscribe(topic));
                assert_eq!(may, (publish, subscribe), "{topic}");
            }
        }
    }
}
