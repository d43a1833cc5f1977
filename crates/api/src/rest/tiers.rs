//! Tiers and their rate limits, for the platform's users.

use std::collections::HashSet;

use axum::Json;
use fleetlog_access::action::typed::{TiersRead, TiersWrite};
use fleetlog_access::quota::rule::Pattern;
use fleetlog_access::tiers::{Limit, Tier};
use fleetlog_access::{self as access, Principal};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{Body, NewName, NoParameters, Query};
use super::json::Object;
use super::page::List;
use super::parameters::LogPosition;
use super::problem::FieldError;
use super::{RequestId, wire};
use crate::app::App;
use crate::door::action::guarded;
use crate::door::{May, Platform};
use crate::resource::{Nameable, Resource};

/// The most limits a tier has.
const MAX_LIMITS: usize = 100;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_tiers, read_tier, put_tier, remove_tier)
}

impl Resource for Tier {
    type Id = String;
    const MISSING: &'static str = "there is no such tier";

    fn id(name: &str) -> Option<String> {
        is_name(name).then(|| name.to_owned())
    }

    fn all(_: &Principal) -> access::Resource<'_> {
        access::Resource::Platform
    }
}

impl Nameable for Tier {
    const PARAMETER: &'static str = "tier";
    const NAMES: &'static str = "expected 1 to 64 characters of a-z, 0-9, '_' and '-'";

    fn name(id: &String) -> &str {
        id
    }
}

/// Lists the tiers, by name.
#[utoipa::path(
    get, path = "/tiers", tag = "platform", operation_id = "list_tiers",
    responses((status = 200, description = "All of the tiers", body = List<wire::Tier>)),
)]
async fn list_tiers(
    door: May<TiersRead, Platform>,
    _: Query<NoParameters>,
) -> Result<Json<List<wire::Tier>>, Error> {
    Ok(Json(List::whole(door.app.access.tiers.list().await?)))
}

/// Returns one tier and its rate limits.
#[utoipa::path(
    get, path = "/tiers/{tier}", tag = "platform", operation_id = "read_tier",
    params(("tier" = String, Path, description = "The tier's name")),
    responses(
        (status = 200, description = "The tier and its limits", body = wire::Tier),
        (status = 404, description = "No such tier"),
    ),
)]
async fn read_tier(door: May<TiersRead, Tier>) -> Result<Json<wire::Tier>, Error> {
    let tier = door.app.access.tiers.get(&door.id).await?;
    tier.map(|tier| Json(tier.into())).ok_or_else(Error::missing::<Tier>)
}

/// The new content of a tier.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTier {
    /// The customers that the tier is for, in words: 1 to 500 characters.
    description: Option<String>,
    /// All of the tier's limits, at most 100. A request that no limit matches is not limited.
    #[schema(value_type = Vec<wire::RateLimit>)]
    limits: Vec<Object<wire::RateLimit>>,
    /// How much the devices of a tenant with this tier may send. Without it: as before, and only 10 new devices a second
    /// for a new tier.
    #[schema(value_type = Option<wire::IngestLimits>)]
    ingest: Option<Object<wire::IngestLimits>>,
}

/// The result of a write.
#[derive(Serialize, ToSchema)]
#[schema(as = TierWritten)]
struct Written {
    /// The name of the tier.
    tier: String,
    /// The position of this write on the record, to wait for with `min_position`; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

/// Creates or changes a tier. It takes effect on this node at once, and on every node within a second.
#[utoipa::path(
    put, path = "/tiers/{tier}", tag = "platform", operation_id = "put_tier", request_body = NewTier,
    params(("tier" = String, Path, description = "The tier: 1 to 64 of `a-z 0-9 _ -`")),
    responses((status = 200, description = "The tier is so", body = Written)),
)]
async fn put_tier(
    door: May<TiersWrite, Platform>,
    request: RequestId,
    NewName(tier): NewName<Tier>,
    Body(NewTier { description, limits, ingest }): Body<NewTier>,
) -> Result<Json<Written>, Error> {
    let limits: Vec<Limit> = limits.into_iter().map(|Object(limit)| limit.into()).collect();
    let ingest = ingest.map(|Object(ingest)| ingest);
    check(description.as_deref(), &limits, ingest.as_ref())?;
    let wanted = Tier { tier: tier.clone(), description, limits, ingest: ingest.map(Into::into) };
    let at = door.app.access.tiers.put(wanted, request.metadata(&door.caller)).await?;
    Ok(Json(Written { tier, position: at.map(|at| LogPosition::from(at).to_string()) }))
}

/// Removes a tier that no tenant has.
#[utoipa::path(
    delete, path = "/tiers/{tier}", tag = "platform", operation_id = "remove_tier",
    params(("tier" = String, Path, description = "The tier's name")),
    responses(
        (status = 204, description = "The tier is removed"),
        (status = 404, description = "No such tier"),
        (status = 409, description = "A tenant has it"),
    ),
)]
async fn remove_tier(door: May<TiersWrite, Tier>, request: RequestId) -> Result<StatusCode, Error> {
    let metadata = request.metadata(&door.caller);
    door.app.access.tiers.remove(door.id, metadata).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn is_name(tier: &str) -> bool {
    (1..=64).contains(&tier.len())
        && tier.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn check(
    description: Option<&str>,
    limits: &[Limit],
    ingest: Option<&wire::IngestLimits>,
) -> Result<(), Error> {
    let is_text =
        |text: &str| (1..=500).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if !description.is_none_or(is_text) {
        return Err(Error::field("description", "expected 1 to 500 characters without control characters"));
    }
    if limits.len() > MAX_LIMITS {
        return Err(Error::field("limits", "expected at most 100 limits"));
    }
    let (mut errors, mut seen) = (vec![], HashSet::new());
    for (n, limit) in limits.iter().enumerate() {
        let mut refuse =
            |field: &str, why: &str| errors.push(FieldError::new(format!("limits[{n}].{field}"), why));
        match limit.path.parse::<Pattern>() {
            Err(bad) => refuse("path", &bad.to_string()),
            Ok(_) if !seen.insert(&limit.path) => refuse("path", "given more than once"),
            Ok(_) => {}
        }
        if !(1..=1_000_000_000).contains(&limit.requests) {
            refuse("requests", "expected 1 to 1000000000");
        }
        if !(1..=86_400).contains(&limit.window_s) {
            refuse("window_s", "expected 1 to 86400");
        }
    }
    for (field, limit) in ingest.into_iter().flat_map(wire::IngestLimits::each) {
        if limit.is_some_and(|limit| limit < 1) {
            errors.push(FieldError::new(format!("ingest.{field}"), "expected 1 or more, or null"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::fields(errors)) }
}
