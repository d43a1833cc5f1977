//! Policies, in Cedar: those that come with fleetlog, which say what the roles are, and those that tenants add.
//!
//! - [`words`]: principals, actions and resources in Cedar's words
//! - [`shipped`]: the roles; and the schema that all policies are checked against
//! - [`source`]: whether a text is a policy, and if not, where it goes wrong
//! - [`own`]: a tenant's own policies, ready to decide
//! - [`store`]: where they are kept, and their changes on the record
//! - [`cache`]: those of the tenants that call at the moment
//!
//! Roles depend on nothing but the role and the action: Cedar decides on each pair once, and [`shipped`] remembers. Only
//! where a tenant's own policies have a say in it is Cedar asked again.

pub(super) mod cache;
pub(super) mod own;
pub(super) mod shipped;
pub mod source;
pub mod store;
mod words;

/// What was decided, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that decided, by name: `role:operator` and the like, `key`, or the tenant's own. None, where none
    /// allows it.
    pub policies: Vec<String>,
}

impl Decision {
    /// Refused, and no policy was asked.
    pub(super) fn refused() -> Self {
        Self { allowed: false, policies: vec![] }
    }
}
