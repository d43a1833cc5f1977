//! How often one may ask, and how often one may guess.

mod addresses;
mod answers;
mod attempts;
mod callers;
mod connections;
mod document;
mod strangers;
mod tiers;

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::api::{Answer, answer};

/// No test lasts so long that a window of a day ends in it, but at midnight.
const DAY: u32 = 86_400;

/// Gives a tier these limits.
async fn put_tier(api: &Api, tier: &str, limits: Value) -> Answer {
    api.send(Method::PUT, &format!("/tiers/{tier}"), json!({ "limits": limits })).await
}

/// Asks as a tenant's user of a role.
async fn ask(api: &Api, tenant: &str, role: Role, path: &str) -> Answer {
    answer(api.request(Method::GET, path).bearer_auth(api.token(tenant, role))).await
}

/// Asks as nobody.
async fn ask_bare(api: &Api, path: &str) -> Answer {
    answer(api.request(Method::GET, path)).await
}

/// How many of so many requests, one after the other, are let through.
async fn let_through<F: Future<Output = Answer>>(count: usize, mut ask: impl FnMut() -> F) -> usize {
    let mut through = 0;
    for _ in 0..count {
        through += usize::from(ask().await.status != StatusCode::TOO_MANY_REQUESTS);
    }
    through
}
