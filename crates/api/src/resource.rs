//! What paths name. A resource's own file in [`rest`](crate::rest) says what it is named by and what is said where there
//! is none; the [`door`](crate::door), the extractors and the 404s follow from it.

use fleetlog_access::{self as access, Action, Principal, authorize};
use fleetlog_event_log::TenantLog;
use uuid::Uuid;

use crate::door::guard::Refused;

/// A kind of thing that a path names, such as a device or an API key. Implemented by the type that its answers are of.
pub trait Resource: 'static {
    /// What names one of them.
    type Id: Send + Sync + 'static;

    /// What is said of one that is not there, or that is another tenant's.
    const MISSING: &'static str;

    /// Reads the name of one of them. What cannot be the name of such a thing is the name of none.
    fn id(name: &str) -> Option<Self::Id>;

    /// All things of the kind that the caller can reach: a tenant's, unless they are the platform's.
    #[must_use]
    fn all(caller: &Principal) -> access::Resource<'_> {
        access::Resource::Tenant(&caller.tenant)
    }

    /// Whether the caller may do that to the one of that name. It is the same for all of them, unless the tenant's
    /// policies tell devices apart.
    fn decide(
        caller: &Principal,
        _log: &TenantLog,
        action: Action,
        _id: &Self::Id,
    ) -> impl Future<Output = Result<(), Refused>> + Send {
        let decided = authorize(caller, action, &Self::all(caller));
        async move { Ok(decided?) }
    }
}

/// A resource whose name the caller chooses.
pub trait Nameable: Resource {
    /// The parameter of the path that has the name.
    const PARAMETER: &'static str;

    /// What a name must be, for people.
    const NAMES: &'static str;
}

/// An id as it is given out. Other spellings of the same number are no ids.
#[must_use]
pub fn uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| text == id.hyphenated().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let text = "019a0000-0000-7000-8000-00000000000a";
        assert_eq!(uuid(text).map(|id| id.to_string()).as_deref(), Some(text));
        for other in ["", "dev-01", &text.to_uppercase(), &text.replace('-', ""), &format!("urn:uuid:{text}")]
        {
            assert_eq!(uuid(other), None, "{other}");
        }
    }
}
