//! The device and the channel that an MQTT topic names.

use crate::identity::{Tenant, Uid};
use crate::words;

/// The topic filter that matches every device's telemetry, in every tenant.
pub const TELEMETRY_FILTER: &str = "+/devices/+/telemetry";

/// The topic filter that matches every device's answers to commands, in every tenant.
pub const ACK_FILTER: &str = "+/devices/+/command_ack";

/// The topic filter that matches what every device says about itself, in every tenant.
pub const STATUS_FILTER: &str = "+/devices/+/status";

/// What a device uses a topic for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// `{tenant}/devices/{uid}/telemetry`, from the device.
    Telemetry,
    /// `{tenant}/devices/{uid}/command_ack`, from the device.
    CommandAck,
    /// `{tenant}/devices/{uid}/commands`, to the device.
    Commands,
    /// `{tenant}/devices/{uid}/status`, from the device: whether it is online.
    Status,
}

// The topic's last segment.
words! { Channel {
    Telemetry = "telemetry",
    CommandAck = "command_ack",
    Commands = "commands",
    Status = "status",
} }

/// Whether a topic has the form of the contract's. If so its first level names a tenant; any other topic is foreign, and means
/// what a source says.
#[must_use]
pub fn is_foreign(topic: &str) -> bool {
    parts(topic).is_none()
}

/// Tenant, uid and channel of a topic of the contract, by exact segments.
fn parts(topic: &str) -> Option<(&str, &str, Channel)> {
    let mut segments = topic.split('/');
    let tenant = segments.next().filter(|tenant| Tenant::is(tenant))?;
    segments.next().filter(|segment| *segment == "devices")?;
    let uid = segments.next().filter(|uid| Uid::is(uid))?;
    let channel = segments.next()?.parse().ok()?;
    segments.next().is_none().then_some((tenant, uid, channel))
}

/// A topic of the contract, split into its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The tenant that owns the device.
    pub tenant: Tenant,
    /// The device's uid.
    pub uid: Uid,
    /// The channel of the device.
    pub channel: Channel,
}

impl Topic {
    /// Parses a topic by exact segments. `None` if the contract has no topic of that form.
    #[must_use]
    pub fn parse(topic: &str) -> Option<Self> {
        let (tenant, uid, channel) = parts(topic)?;
        Some(Self { tenant: tenant.parse().ok()?, uid: uid.parse().ok()?, channel })
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/devices/{}/{}", self.tenant, self.uid, self.channel.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_of_the_contract_names_tenant_device_and_channel() {
        for (text, channel) in [
            ("t0/devices/dev-01/telemetry", Channel::Telemetry),
            ("t0/devices/dev-01/command_ack", Channel::CommandAck),
            ("t0/devices/dev-01/commands", Channel::Commands),
            ("t0/devices/dev-01/status", Channel::Status),
        ] {
            let topic = Topic::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((topic.tenant.as_str(), topic.uid.as_str(), topic.channel), ("t0", "dev-01", channel));
            assert_eq!(topic.to_string(), text);
        }
        let mac = Topic::parse("t0/devices/AA:BB:CC:DD:EE:FF/telemetry").expect("a MAC address");
        assert_eq!(mac.uid.as_str(), "AA:BB:CC:DD:EE:FF");
        assert_eq!(Topic::parse("t:0/devices/dev-01/telemetry"), None);
    }

    #[test]
    fn any_other_topic_names_nothing() {
        for bad in [
            "",
            "/",
            "t0",
            "t0/devices/dev-01",
            "t0/devices/dev-01/telemetry/",
            "/t0/devices/dev-01/telemetry",
            "t0/devices/dev-01/telemetry/x",
            "t0/device/dev-01/telemetry",
            "t0/devices//telemetry",
            "t0/devices/a b/telemetry",
            "t0/devices/+/telemetry",
            "t0/devices/dev-01/Telemetry",
            "$SYS/broker/uptime",
        ] {
            assert_eq!(Topic::parse(bad), None, "{bad:?}");
        }
    }
}
