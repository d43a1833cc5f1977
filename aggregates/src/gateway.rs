//! The devices behind a gateway: whom a credential of the gateway speaks for, besides the gateway itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::identity::Uid;

/// The most devices that a credential names.
pub const MAX_DEVICES: usize = 1000;

/// The devices behind a gateway, all of its own tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "Named")]
pub enum Behind {
    /// These devices, whether they are registered yet or not.
    Devices(BTreeSet<Uid>),
    /// All devices whose uids begin with this text, now and later.
    Prefix(Uid),
}

/// The devices by the names of their fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    devices: Option<BTreeSet<Uid>>,
    prefix: Option<Uid>,
}

impl TryFrom<Named> for Behind {
    type Error = &'static str;

    fn try_from(named: Named) -> Result<Self, Self::Error> {
        match (named.devices, named.prefix) {
            (Some(devices), None) => Ok(Self::Devices(devices)),
            (None, Some(prefix)) => Ok(Self::Prefix(prefix)),
            (None, None) | (Some(_), Some(_)) => Err("expected one of devices and prefix"),
        }
    }
}

impl Behind {
    /// Whether a device is one of them.
    #[must_use]
    pub fn has(&self, uid: &Uid) -> bool {
        match self {
            Self::Devices(devices) => devices.contains(uid),
            Self::Prefix(prefix) => uid.as_str().starts_with(prefix.as_str()),
        }
    }

    /// For how many devices there has to be room.
    #[must_use]
    pub fn most(&self) -> usize {
        match self {
            Self::Devices(devices) => devices.len(),
            Self::Prefix(_) => MAX_DEVICES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(json: &str) -> Behind {
        let behind: Behind = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(serde_json::to_string(&behind).expect("serializes"), json, "its stored form");
        behind
    }

    #[test]
    fn devices_are_named_or_share_the_beginning_of_their_names() {
        let has = |behind: &Behind, uid: &str| behind.has(&uid.parse().expect("a uid"));
        let named = behind(r#"{"devices":["meter-1","meter-2"]}"#);
        let alike = behind(r#"{"prefix":"meter-"}"#);
        for (uid, is_named, is_alike) in [
            ("meter-1", true, true),
            ("meter-3", false, true),
            ("meter", false, false),
            ("xmeter-1", false, false),
        ] {
            assert_eq!((has(&named, uid), has(&alike, uid)), (is_named, is_alike), "{uid}");
        }
        assert_eq!((named.most(), alike.most()), (2, MAX_DEVICES));
    }

    #[test]
    fn a_prefix_is_what_a_uid_may_be() {
        for bad in [
            r#"{"prefix":""}"#,
            r#"{"prefix":"+"}"#,
            r#"{"devices":["a/b"]}"#,
            r#"{"all":true}"#,
            r#"{"devices":["meter-1"],"prefix":"meter-"}"#,
            "{}",
            "null",
        ] {
            assert!(serde_json::from_str::<Behind>(bad).is_err(), "{bad}");
        }
    }
}
