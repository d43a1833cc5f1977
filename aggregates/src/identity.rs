//! The names of tenants and devices, which make up every topic, path and stream id, and of command types, policies and
//! alarm rules.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest name, in characters.
pub const MAX_NAME: usize = 64;

/// Why nothing new is named `.`, `..` and so on: clients take these for steps in a path, and do not send them.
pub const ONLY_DOTS: &str = "expected a character other than '.': a URL cannot name it";

/// Whether a name has only dots. What was named so earlier keeps its name.
#[must_use]
pub fn is_only_dots(name: &str) -> bool {
    name.bytes().all(|byte| byte == b'.')
}

/// A name that is not `[A-Za-z0-9_.-]{1,64}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {what} is 1 to {MAX_NAME} characters of A-Z, a-z, 0-9, '_', '.' and '-'")]
pub struct Invalid {
    what: &'static str,
}

fn is_name(s: &str) -> bool {
    (1..=MAX_NAME).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;

            fn from_str(s: &str) -> Result<Self, Invalid> {
                if is_name(s) { Ok(Self(s.into())) } else { Err(Invalid { what: $what }) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(s: String) -> Result<Self, Invalid> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// An organisation: every device, user and log belongs to exactly one tenant.
    Tenant, "tenant"
}

/// The tenant whose administrators run the platform itself.
pub const PLATFORM_TENANT: &str = "t0";

impl Tenant {
    /// [`PLATFORM_TENANT`] as a tenant.
    #[must_use]
    pub fn platform() -> Self {
        Self(PLATFORM_TENANT.into())
    }
}

name! {
    /// A device's name within its tenant.
    Uid, "device uid"
}

name! {
    /// A command type's name within its tenant.
    CommandName, "command type"
}

name! {
    /// A policy's name within its tenant.
    PolicyName, "policy"
}

name! {
    /// An alarm rule's name within its tenant.
    RuleName, "alarm rule"
}

/// The id of a device's streams: `tenant/uid`, the same in both lanes.
#[must_use]
pub fn aggregate_id(tenant: &Tenant, uid: &Uid) -> String {
    format!("{tenant}/{uid}")
}

/// The id of a control stream: a tenant, and what of the tenant's the stream is about. Its text is `tenant/id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The tenant whose log holds the stream.
    pub tenant: Tenant,
    /// The name within the tenant: a device's uid, a command's id, and so on.
    pub id: String,
}

impl StreamId {
    /// The stream of something of a tenant's.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "takes a UUID as well as a reference to a name")]
    pub fn new(tenant: &Tenant, id: impl ToString) -> Self {
        Self { tenant: tenant.clone(), id: id.to_string() }
    }

    /// The id within the tenant as a UUID, such as a command's. `None` if it is none.
    #[must_use]
    pub fn uuid(&self) -> Option<Uuid> {
        Uuid::parse_str(&self.id).ok()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.id)
    }
}

/// Text that is not a tenant, `/` and an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream's id is <tenant>/<id>")]
pub struct NoStreamId;

impl std::str::FromStr for StreamId {
    type Err = NoStreamId;

    fn from_str(text: &str) -> Result<Self, NoStreamId> {
        let (tenant, id) = split_aggregate_id(text).ok_or(NoStreamId)?;
        Ok(Self { tenant: tenant.parse().map_err(|_| NoStreamId)?, id: id.to_owned() })
    }
}

/// Splits a stream id into the tenant and the rest. `None` if the id has no `/`.
#[must_use]
pub fn split_aggregate_id(aggregate_id: &str) -> Option<(&str, &str)> {
    aggregate_id.split_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_comes_back_from_its_text() {
        let stream = StreamId::new(&"t0".parse().expect("a tenant"), Uuid::nil());
        let text = stream.to_string();
        assert_eq!(text, "t0/00000000-0000-0000-0000-000000000000");
        assert_eq!((text.parse().as_ref(), stream.uuid()), (Ok(&stream), Some(Uuid::nil())));
        assert_eq!(StreamId::new(&stream.tenant, "dev-01").uuid(), None);
        for bad in ["", "t0", "/dev-01", "t 0/dev-01"] {
            assert_eq!(bad.parse::<StreamId>(), Err(NoStreamId), "{bad:?}");
        }
    }

    #[test]
    fn a_name_of_dots_only_is_known_as_such_and_still_read() {
        for dots in [".", "..", "..."] {
            assert!(is_only_dots(dots) && dots.parse::<Uid>().is_ok(), "{dots}");
        }
        for other in [".a", "a.b", "-", "..-"] {
            assert!(!is_only_dots(other), "{other}");
        }
    }

    #[test]
    fn a_name_is_one_to_sixty_four_plain_characters() {
        for good in ["t0", "dev-01", "A.b_C-9", &"x".repeat(64)] {
            assert!(good.parse::<Uid>().is_ok(), "{good}");
        }
        for bad in ["", &"x".repeat(65), "a/b", "a b", "a+b", "#", "é", "a\0b", "a\n"] {
            assert!(bad.parse::<Uid>().is_err(), "{bad:?}");
        }
    }
}
