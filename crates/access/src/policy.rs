//! Policies, in Cedar: those that come with fleetlog, which say what the roles are, and those that tenants add.
//!
//! - [`entities`]: principals, actions and resources in Cedar's words
//! - [`builtin`]: the roles; and the schema that all policies are checked against
//! - [`source`]: whether a text is a policy, and if not, where it goes wrong
//! - [`tenant`]: a tenant's own policies, ready to decide
//! - [`store`]: where they are kept, and their changes on the record
//! - [`cache`]: those of the tenants that call at the moment
//!
//! Roles depend on nothing but the role and the action: Cedar decides on each pair once, and [`builtin`] remembers. Only
//! where a tenant's own policies have a say in it is Cedar asked again.

pub(super) mod builtin;
pub(super) mod cache;
mod entities;
pub mod source;
pub mod store;
pub(super) mod tenant;

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
