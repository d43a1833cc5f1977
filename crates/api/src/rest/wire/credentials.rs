//! Devices' credentials, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::{device, gateway};
use fleetlog_engine::devices::credentials::{fleet, issue};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The devices behind a gateway: named, or all whose uids begin alike.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DevicesBehind)]
#[expect(dead_code, reason = "it describes the domain's type, which knows no API document")]
pub(in crate::rest) enum Behind {
    /// These devices, 1 to 1,000, whether they are registered yet or not.
    #[schema(example = json!({"devices": ["meter-1", "meter-2"]}))]
    Devices(Vec<String>),
    /// All devices of the tenant whose uids begin with this text, now and later: 1 to 64 of `A-Z a-z 0-9 _ . - :`.
    #[schema(example = json!({"prefix": "meter-"}))]
    Prefix(String),
}

/// A device's credential, without its secret.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the field's name on the wire")]
pub(in crate::rest) struct Credential {
    /// The credential's id.
    pub(in crate::rest) credential_id: Uuid,
    /// The client certificate that it stands for; null if it has a password.
    pub(in crate::rest) certificate: Option<Certificate>,
    /// Whether the credential is valid now.
    pub(in crate::rest) active: bool,
    /// The devices that the credential speaks for besides its own, which is a gateway then; null for any other device.
    #[schema(value_type = Option<Behind>)]
    pub(in crate::rest) behind: Option<gateway::Behind>,
    /// When the credential was issued.
    pub(in crate::rest) created_at: DateTime<Utc>,
    /// Who issued the credential: the id of a user or of an API key.
    pub(in crate::rest) created_by: String,
    /// When the credential expires; null if never.
    pub(in crate::rest) expires_at: Option<DateTime<Utc>>,
    /// When the credential was revoked.
    pub(in crate::rest) revoked_at: Option<DateTime<Utc>>,
    /// When the device last logged in with the credential, exact to a minute.
    pub(in crate::rest) last_used_at: Option<DateTime<Utc>>,
}

/// A client certificate that a device logs in with: one of the two.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Certificate {
    /// The SHA-256 of its DER, in 64 hexadecimal digits.
    Sha256(String),
    /// The subject of those that an authority of `--mqtt-client-ca` has signed.
    Subject(String),
}

impl From<device::Certificate> for Certificate {
    fn from(certificate: device::Certificate) -> Self {
        match certificate {
            device::Certificate::Sha256(digits) => Self::Sha256(digits),
            device::Certificate::Subject(subject) => Self::Subject(subject),
        }
    }
}

impl From<issue::Credential> for Credential {
    fn from(credential: issue::Credential) -> Self {
        Self {
            credential_id: credential.credential_id,
            certificate: credential.certificate.map(Into::into),
            active: credential.active,
            behind: credential.behind,
            created_at: credential.created_at,
            created_by: credential.created_by,
            expires_at: credential.expires_at,
            revoked_at: credential.revoked_at,
            last_used_at: credential.last_used_at,
        }
    }
}

/// A device's credential, and whose it is.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct DeviceCredential {
    /// The uid of the device that logs in with it.
    #[schema(example = "dev-01")]
    pub(in crate::rest) uid: String,
    #[serde(flatten)]
    pub(in crate::rest) credential: Credential,
}

impl From<fleet::DeviceCredential> for DeviceCredential {
    fn from(fleet::DeviceCredential { uid, credential }: fleet::DeviceCredential) -> Self {
        Self { uid: uid.to_string(), credential: credential.into() }
    }
}
