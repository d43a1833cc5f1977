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

/// The marks that a name may have besides letters and digits.
type Marks = &'static [u8];
const MARKS: Marks = b"_.-";
/// Those of a device's uid, which may be a MAC address.
const UID_MARKS: Marks = b"_.-:";

/// A name with other characters than `A-Z`, `a-z`, `0-9` and its marks, or of another length than 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    what: &'static str,
    marks: Marks,
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} is 1 to {MAX_NAME} characters of A-Z, a-z, 0-9", self.what)?;
        for (nth, mark) in (1..).zip(self.marks) {
            let before = if nth == self.marks.len() { " and" } else { "," };
            write!(f, "{before} '{}'", char::from(*mark))?;
        }
        Ok(())
    }
}

fn is_name(s: &str, marks: Marks) -> bool {
    (1..=MAX_NAME).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || marks.contains(&b))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $marks:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Whether a text is such a name. Costs nothing but a look at it.
            #[must_use]
            pub fn is(text: &str) -> bool {
                is_name(text, $marks)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;

            fn from_str(s: &str) -> Result<Self, Invalid> {
                let invalid = Invalid { what: $what, marks: $marks };
                if Self::is(s) { Ok(Self(s.into())) } else { Err(invalid) }
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
    Tenant, "tenant", MARKS
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
    /// A device's name within its tenant. It may be a MAC address, such as `AA:BB:CC:DD:EE:FF`.
    Uid, "device uid", UID_MARKS
}

name! {
    /// A command type's name within its tenant.
    CommandName, "command type", MARKS
}

name! {
    /// A policy's name within its tenant.
    PolicyName, "policy", MARKS
}

name! {
    /// An alarm rule's name within its tenant.
    RuleName, "alarm rule", MARKS
}

name! {
    /// A source's name within its tenant.
    SourceName, "source", MARKS
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
        let why = "a device uid is 1 to 64 characters of A-Z, a-z, 0-9, '_', '.', '-' and ':'";
        assert_eq!("a/b".parse::<Uid>().map_err(|error| error.to_string()), Err(why.to_owned()));
    }

    #[test]
    fn only_a_uid_may_be_a_mac_address() {
        let mac = "AA:BB:CC:DD:EE:FF";
        assert_eq!(mac.parse::<Uid>().map(|uid| uid.to_string()).as_deref(), Ok(mac));
        let why = "a tenant is 1 to 64 characters of A-Z, a-z, 0-9, '_', '.' and '-'";
        assert_eq!(mac.parse::<Tenant>().map_err(|error| error.to_string()), Err(why.to_owned()));
        assert!(mac.parse::<CommandName>().is_err() && mac.parse::<RuleName>().is_err());
    }
}
