//! The things that paths name. Each resource's own file in [`rest`](crate::rest) defines the form of its names and the
//! text of its 404; the [`door`](crate::door) and the extractors use both.

use fleetlog_access::{self as access, Action, Principal, authorize};
use fleetlog_event_log::TenantLog;
use uuid::Uuid;

use crate::door::guard::Refused;

/// A kind of thing that a path names, such as a device or an API key. The type that is sent as the answer implements
/// it.
pub trait Resource: 'static {
    /// The parsed name of one resource.
    type Id: Send + Sync + 'static;

    /// The text of the 404: the resource does not exist, or belongs to another tenant.
    const MISSING: &'static str;

    /// Parses a name. `None`: no resource of this kind can have that name, so the request is answered with 404.
    fn id(name: &str) -> Option<Self::Id>;

    /// What the caller's right is checked against: the caller's tenant, unless the platform owns this kind of resource.
    #[must_use]
    fn all(caller: &Principal) -> access::Resource<'_> {
        access::Resource::Tenant(&caller.tenant)
    }

    /// Decides whether the caller may do `action` to the resource with this id. The decision is the same for every id,
    /// unless the tenant's policies depend on a device's labels.
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
    /// The path parameter that holds the name.
    const PARAMETER: &'static str;

    /// The form that a name must have, as error messages say it.
    const NAMES: &'static str;

    /// The name as the caller wrote it.
    fn name(id: &Self::Id) -> &str;
}

/// Parses an id in the one spelling that the API gives out. Other spellings of the same UUID give `None`.
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
