//! Tiers and their rate limits, as REST takes and shows them.

use fleetlog_access::tiers;
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
}

impl From<tiers::Tier> for Tier {
    fn from(tier: tiers::Tier) -> Self {
        let limits = tier.limits.into_iter().map(Into::into).collect();
        Self { tier: tier.tier, description: tier.description, limits }
    }
}
