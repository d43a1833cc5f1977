//! Tiers and their rate limits, as REST takes and shows them.

use fleetlog_access::tiers;
use fleetlog_event_log::terms;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A limit of requests.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct RateLimit {
    /// For which requests: `*`, or the beginning of a path as this document writes it, with a method before it where
    /// only that counts. The most specific one holds, alone.
    #[schema(example = "POST /devices/{uid}/commands")]
    pub(in crate::rest) path: String,
    /// How many requests: 1 to 1,000,000,000.
    pub(in crate::rest) requests: i32,
    /// In how many seconds: 1 to 86,400.
    pub(in crate::rest) window_s: i32,
}

impl From<tiers::Limit> for RateLimit {
    fn from(limit: tiers::Limit) -> Self {
        Self { path: limit.path, requests: limit.requests, window_s: limit.window_s }
    }
}

impl From<RateLimit> for tiers::Limit {
    fn from(limit: RateLimit) -> Self {
        Self { path: limit.path, requests: limit.requests, window_s: limit.window_s }
    }
}

/// How much the devices of a tenant may send. Each node counts for itself. Null, or left out: no limit.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the fields' names on the wire")]
pub(in crate::rest) struct IngestLimits {
    /// How many messages a second, over all connections: 1 to 2,147,483,647.
    pub(in crate::rest) messages_per_s: Option<i32>,
    /// How many bytes of payload a second, over all connections: 1 or more.
    pub(in crate::rest) bytes_per_s: Option<i64>,
    /// How many messages a second over each connection to the built-in endpoint: 1 to 2,147,483,647.
    pub(in crate::rest) connection_messages_per_s: Option<i32>,
    /// How many bytes of payload a second over each connection to the built-in endpoint: 1 or more.
    pub(in crate::rest) connection_bytes_per_s: Option<i64>,
    /// How many unknown devices a second may register themselves by what they send: 1 to 2,147,483,647.
    pub(in crate::rest) new_devices_per_s: Option<i32>,
}

impl From<terms::IngestLimits> for IngestLimits {
    fn from(limits: terms::IngestLimits) -> Self {
        let terms::IngestLimits {
            messages_per_s,
            bytes_per_s,
            connection_messages_per_s,
            connection_bytes_per_s,
            new_devices_per_s,
        } = limits;
        Self {
            messages_per_s,
            bytes_per_s,
            connection_messages_per_s,
            connection_bytes_per_s,
            new_devices_per_s,
        }
    }
}

impl From<IngestLimits> for terms::IngestLimits {
    fn from(limits: IngestLimits) -> Self {
        let IngestLimits {
            messages_per_s,
            bytes_per_s,
            connection_messages_per_s,
            connection_bytes_per_s,
            new_devices_per_s,
        } = limits;
        Self {
            messages_per_s,
            bytes_per_s,
            connection_messages_per_s,
            connection_bytes_per_s,
            new_devices_per_s,
        }
    }
}

impl IngestLimits {
    /// Each limit, by its field.
    pub(in crate::rest) fn each(&self) -> [(&'static str, Option<i64>); 5] {
        [
            ("messages_per_s", self.messages_per_s.map(i64::from)),
            ("bytes_per_s", self.bytes_per_s),
            ("connection_messages_per_s", self.connection_messages_per_s.map(i64::from)),
            ("connection_bytes_per_s", self.connection_bytes_per_s),
            ("new_devices_per_s", self.new_devices_per_s.map(i64::from)),
        ]
    }
}

/// A tier: which rate limits apply to the tenants that have it.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the field's name on the wire")]
pub(in crate::rest) struct Tier {
    /// The name of the tier: 1 to 64 of `a-z 0-9 _ -`.
    #[schema(example = "free")]
    pub(in crate::rest) tier: String,
    /// Whom it is for.
    pub(in crate::rest) description: Option<String>,
    /// Its limits. What none is about is not limited.
    pub(in crate::rest) limits: Vec<RateLimit>,
    /// How much the devices of a tenant with this tier may send.
    pub(in crate::rest) ingest: IngestLimits,
}

impl From<tiers::Tier> for Tier {
    fn from(tier: tiers::Tier) -> Self {
        let limits = tier.limits.into_iter().map(Into::into).collect();
        let ingest = tier.ingest.unwrap_or_default().into();
        Self { tier: tier.tier, description: tier.description, limits, ingest }
    }
}
