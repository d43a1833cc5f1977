//! What can be done, and to what: the words of authorisation, which know no policy.

use std::str::FromStr;

use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::{Tenant, Uid};

pub use fleetlog_aggregates::identity::PLATFORM_TENANT;

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

            /// Whether it is done to the platform, across tenants, and not to a tenant's things.
            #[must_use]
            pub fn is_for_the_platform(self) -> bool {
                matches!(
                    self,
                    Self::TenantsRead
                        | Self::TenantsWrite
                        | Self::TiersRead
                        | Self::TiersWrite
                        | Self::SigningKeysWrite
                        | Self::ProjectionsWrite
                        | Self::MetricsRead
                )
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
    /// The action as a value.
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
    /// List and read alarms.
    AlarmsRead = "alarms.read",
    /// Acknowledge and clear alarms.
    AlarmsAcknowledge = "alarms.acknowledge",
    /// See which rules raise alarms.
    AlarmRulesRead = "alarm_rules.read",
    /// Decide which rules raise alarms.
    AlarmRulesWrite = "alarm_rules.write",
    /// See what topics and payloads of other systems mean, and try definitions out.
    SourcesRead = "sources.read",
    /// Decide what topics and payloads of other systems mean.
    SourcesWrite = "sources.write",
    /// Read readings and their windows.
    TelemetryRead = "telemetry.read",
    /// See the logs and their heads.
    LogsRead = "logs.read",
    /// Read the events themselves.
    EventsRead = "events.read",
    /// Add a witness's signature to a checkpoint of a log.
    AuditCosign = "audit.cosign",
    /// See what could not become an event.
    QuarantineRead = "quarantine.read",
    /// Take messages in again that could not become events.
    QuarantineWrite = "quarantine.write",
    /// See the projections and how far behind they are.
    ProjectionsRead = "projections.read",
    /// Rebuild projections and bring earlier versions back, across the platform.
    ProjectionsWrite = "projections.write",
    /// Read the service's own counters.
    MetricsRead = "metrics.read",
    /// Follow what happens; each event then asks for the action that reads it.
    StreamsFollow = "streams.follow",
    /// See the tenant's webhooks and what was sent to them.
    WebhooksRead = "webhooks.read",
    /// Decide to whom the tenant's events are sent, and send them again.
    WebhooksWrite = "webhooks.write",
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
#[error("you are not allowed to do this: your role, key or policies do not give you {}", .0.as_str())]
pub struct Forbidden(pub Action);
