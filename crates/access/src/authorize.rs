//! The only door: may this principal do that to this thing. Every handler and every resolver passes through it. What is
//! behind it are [policies](super::policy); what no policy can change is said here.

use std::str::FromStr;

use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::{Tenant, Uid};

use super::policy::{Decision, builtin, tenant};
use super::{Principal, Who};

/// The tenant whose admins run the platform itself.
pub const PLATFORM_TENANT: &str = "t0";

/// The same as a tenant.
#[expect(clippy::expect_used, reason = "the constant is a name")]
pub(super) fn platform() -> Tenant {
    PLATFORM_TENANT.parse().expect("a tenant")
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What can be done: one entry per operation that differs in who may do it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Whether an API key may be good for it: a key has no user of its own.
            #[must_use]
            pub fn is_for_keys(self) -> bool {
                !matches!(self, Self::UserRead | Self::UserWrite)
            }

            /// The public word, as the `OpenAPI` document's `x-action` says it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }

        /// Each action as a type, for what is about one action only.
        pub mod typed {
            $(
                $(#[$doc])*
                pub enum $name {}

                impl super::ActionType for $name {
                    const ACTION: super::Action = super::Action::$name;
                }
            )*
        }
    };
}

/// An action as a type.
pub trait ActionType: 'static {
    /// Which one.
    const ACTION: Action;
}

actions! {
    /// See one's own user.
    UserRead = "user.read",
    /// Change one's own user: profile, password, sessions.
    UserWrite = "user.write",
    /// List and read the tenant's users.
    UsersRead = "users.read",
    /// Add, change and deactivate the tenant's users.
    UsersWrite = "users.write",
    /// List the tenant's API keys.
    ApiKeysRead = "api_keys.read",
    /// Issue and revoke the tenant's API keys.
    ApiKeysWrite = "api_keys.write",
    /// Read the tenant's policies.
    PoliciesRead = "policies.read",
    /// Decide on the tenant's policies.
    PoliciesWrite = "policies.write",
    /// See the tenant's settings.
    TenantRead = "tenant.read",
    /// Decide on the tenant's settings.
    TenantWrite = "tenant.write",
    /// List tenants, across the platform.
    TenantsRead = "tenants.read",
    /// Create, suspend and change tenants, across the platform.
    TenantsWrite = "tenants.write",
    /// See the tiers and their rate limits, across the platform.
    TiersRead = "tiers.read",
    /// Decide on the tiers and their rate limits, across the platform.
    TiersWrite = "tiers.write",
    /// Replace the key that signs access tokens.
    SigningKeysWrite = "signing_keys.write",
    /// List and read devices.
    DevicesRead = "devices.read",
    /// Register, change and decommission devices.
    DevicesWrite = "devices.write",
    /// See which credentials a device has, never the secrets.
    CredentialsRead = "credentials.read",
    /// Issue, rotate and revoke devices' credentials.
    CredentialsWrite = "credentials.write",
    /// List and read commands and batches of them.
    CommandsRead = "commands.read",
    /// Send and cancel commands and batches of them.
    CommandsWrite = "commands.write",
    /// See which commands devices may be told.
    CommandTypesRead = "command_types.read",
    /// Decide which commands devices may be told.
    CommandTypesWrite = "command_types.write",
    /// Read readings and their windows.
    TelemetryRead = "telemetry.read",
    /// See the logs and their heads.
    LogsRead = "logs.read",
    /// Read the events themselves.
    EventsRead = "events.read",
    /// See what could not become an event.
    QuarantineRead = "quarantine.read",
    /// See the projections and how far behind they are.
    ProjectionsRead = "projections.read",
    /// Read the service's own counters.
    MetricsRead = "metrics.read",
    /// Ask the `GraphQL` endpoint; each of its fields then asks for its own action.
    GraphqlQuery = "graphql.query",
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(s: &str) -> Result<Self, UnknownAction> {
        Self::ALL.iter().copied().find(|action| action.as_str() == s).ok_or(UnknownAction)
    }
}

/// A word that names no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such action")]
pub struct UnknownAction;

/// What an action is done to.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// Things of that kind in a tenant.
    Tenant(&'a Tenant),
    /// One device of a tenant.
    Device(&'a Tenant, Device<'a>),
    /// A command of that name: to a device, or to all devices of a batch, which are then asked for one by one.
    Command(&'a Tenant, &'a str, Option<Device<'a>>),
    /// The platform, across tenants.
    Platform,
}

/// A device, with what policies may ask about it.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    /// Its name within the tenant.
    pub uid: &'a Uid,
    /// What it carries; empty, if there is no such device.
    pub labels: &'a Labels,
}

/// The principal may not do that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("you are not allowed to do this")]
pub struct Forbidden(pub Action);

/// Whether a principal may do something to a thing.
pub fn authorize(principal: &Principal, action: Action, resource: &Resource<'_>) -> Result<(), Forbidden> {
    if decide(principal, action, resource).allowed { Ok(()) } else { Err(Forbidden(action)) }
}

/// The same, with the policies that decided.
#[must_use]
pub fn decide(principal: &Principal, action: Action, resource: &Resource<'_>) -> Decision {
    // No policy reaches into another tenant, nor makes a key good for more than it was issued for.
    let within_reach = match resource {
        Resource::Tenant(tenant) | Resource::Device(tenant, _) | Resource::Command(tenant, ..) => {
            **tenant == principal.tenant
        }
        Resource::Platform => principal.tenant.as_str() == PLATFORM_TENANT,
    };
    let for_that = match &principal.who {
        Who::User { .. } => true,
        Who::Key { actions, .. } => actions.contains(&action),
    };
    if !within_reach || !for_that {
        return Decision::refused();
    }
    match (&principal.policies, resource) {
        (_, Resource::Platform) => tenant::without(&principal.who, action),
        (Some(policies), resource) if policies.concern(&principal.who, action) => {
            policies.decide(&principal.who, action, resource)
        }
        (None, _) if principal.policy_version > 0 && builtin::is_for_tenants(action) => {
            // There are policies, but whoever let the principal in has not fetched them.
            Decision::refused()
        }
        _ => tenant::without(&principal.who, action),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::Role;
    use super::super::policy::builtin::role_allows;
    use super::*;

    fn principal(tenant: &str, role: Role) -> Principal {
        let who = Who::User { user_id: Uuid::nil(), role, session_id: Uuid::nil() };
        Principal::new(who, tenant.parse().expect("a tenant"), "free".into(), 0)
    }

    #[test]
    fn nobody_reaches_into_another_tenant() {
        let stranger = principal("t1", Role::Admin);
        let (t0, t1) = ("t0".parse().expect("a tenant"), "t1".parse().expect("a tenant"));
        assert!(authorize(&stranger, Action::DevicesRead, &Resource::Tenant(&t1)).is_ok());
        let refused = authorize(&stranger, Action::DevicesRead, &Resource::Tenant(&t0));
        assert_eq!(refused, Err(Forbidden(Action::DevicesRead)));
        let refused = authorize(&stranger, Action::MetricsRead, &Resource::Platform);
        assert_eq!(refused, Err(Forbidden(Action::MetricsRead)));
    }

    #[test]
    fn a_key_may_do_exactly_what_it_is_for() {
        let (key, t0) = (principal("t0", Role::Admin), "t0".parse().expect("a tenant"));
        let actions = [Action::DevicesRead].into();
        let key = key.colleague(Who::Key { key_id: Uuid::nil(), actions });
        for &action in Action::ALL {
            let allowed = authorize(&key, action, &Resource::Tenant(&t0)).is_ok();
            assert_eq!(allowed, action == Action::DevicesRead, "{}", action.as_str());
        }
    }

    #[test]
    fn whoever_was_let_in_without_the_policies_that_hold_may_do_nothing_that_they_might_forbid() {
        let t0 = "t0".parse().expect("a tenant");
        let admin = Principal { policy_version: 1, ..principal("t0", Role::Admin) };
        assert!(authorize(&admin, Action::DevicesRead, &Resource::Tenant(&t0)).is_err());
        assert!(authorize(&admin, Action::PoliciesWrite, &Resource::Tenant(&t0)).is_ok());
    }

    #[test]
    fn each_role_has_its_column_in_the_table() {
        let table: Vec<String> = Action::ALL
            .iter()
            .map(|&action| {
                let roles = Role::ALL.into_iter().filter(|role| role_allows(*role, action));
                format!("{}: {}", action.as_str(), roles.map(Role::as_str).collect::<Vec<_>>().join(" "))
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        user.read: admin operator analyst auditor viewer
        user.write: admin operator analyst auditor viewer
        users.read: admin auditor
        users.write: admin
        api_keys.read: admin auditor
        api_keys.write: admin
        policies.read: admin auditor
        policies.write: admin
        tenant.read: admin operator analyst auditor viewer
        tenant.write: admin
        tenants.read: admin
        tenants.write: admin
        tiers.read: admin
        tiers.write: admin
        signing_keys.write: admin
        devices.read: admin operator analyst auditor viewer
        devices.write: admin operator
        credentials.read: admin operator auditor
        credentials.write: admin operator
        commands.read: admin operator analyst auditor
        commands.write: admin operator
        command_types.read: admin operator analyst auditor
        command_types.write: admin
        telemetry.read: admin operator analyst auditor viewer
        logs.read: admin operator analyst auditor
        events.read: admin operator analyst auditor
        quarantine.read: admin operator analyst auditor
        projections.read: admin operator analyst auditor
        metrics.read: admin operator
        graphql.query: admin operator analyst auditor viewer
        ");
    }
}
