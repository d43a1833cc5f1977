//! How a limit stands after a request: what `RateLimit` headers and refusals say.

use std::sync::Arc;

use super::rule::Rule;

/// How a limit stands after a request.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The limit.
    pub rule: Arc<Rule>,
    /// How many requests are left.
    pub remaining: u64,
    /// In how many seconds it is whole again; at least 1.
    pub reset: u64,
}

/// A limit is used up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("too many requests; try again in {} s", .0.reset)]
pub struct Exceeded(pub Standing);
