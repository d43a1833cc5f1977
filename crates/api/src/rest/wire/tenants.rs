//! Tenants, as REST takes and shows them.

use chrono::{DateTime, Utc};
use fleetlog_access::tenants;
use fleetlog_aggregates::words::UnknownWord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who may make themselves an account.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub(in crate::rest) enum RegistrationMode {
    /// Nobody can make themselves an account.
    Off,
    /// Whoever was invited.
    Invite,
    /// Everyone can make themselves an account.
    Open,
}

impl TryFrom<String> for RegistrationMode {
    type Error = UnknownWord;

    fn try_from(word: String) -> Result<Self, UnknownWord> {
        word.parse::<tenants::Registration>().map(Into::into)
    }
}

impl From<tenants::Registration> for RegistrationMode {
    fn from(registration: tenants::Registration) -> Self {
        match registration {
            tenants::Registration::Off => Self::Off,
            tenants::Registration::Invite => Self::Invite,
            tenants::Registration::Open => Self::Open,
        }
    }
}

impl From<RegistrationMode> for tenants::Registration {
    fn from(registration: RegistrationMode) -> Self {
        match registration {
            RegistrationMode::Off => Self::Off,
            RegistrationMode::Invite => Self::Invite,
            RegistrationMode::Open => Self::Open,
        }
    }
}

/// A tenant, and what is decided about it.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the field's name on the wire")]
pub(in crate::rest) struct Tenant {
    /// Its name, as topics and streams begin with it.
    #[schema(example = "acme")]
    pub(in crate::rest) tenant: String,
    /// Since when there is this tenant.
    pub(in crate::rest) created_at: DateTime<Utc>,
    /// Since when nobody of it is let in; null while they are.
    pub(in crate::rest) suspended_at: Option<DateTime<Utc>>,
    /// Which rate limits apply.
    #[schema(example = "free")]
    pub(in crate::rest) tier: String,
    /// Whether the first telemetry of an unknown device registers it.
    pub(in crate::rest) self_registration: bool,
    /// Whether people may make themselves an account: `off`, `invite` or `open`.
    #[schema(example = "off")]
    pub(in crate::rest) registration: String,
    /// Readings that are older are not shown; null: all are.
    pub(in crate::rest) retention_days: Option<i32>,
    /// How many devices may be in service; null: any number.
    pub(in crate::rest) max_devices: Option<i32>,
    /// How many users there may be; null: any number.
    pub(in crate::rest) max_users: Option<i32>,
}

impl From<tenants::Tenant> for Tenant {
    fn from(tenant: tenants::Tenant) -> Self {
        Self {
            tenant: tenant.tenant,
            created_at: tenant.created_at,
            suspended_at: tenant.suspended_at,
            tier: tenant.tier,
            self_registration: tenant.self_registration,
            registration: tenant.registration,
            retention_days: tenant.retention_days,
            max_devices: tenant.max_devices,
            max_users: tenant.max_users,
        }
    }
}
