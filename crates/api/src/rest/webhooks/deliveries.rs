//! What was sent to a webhook; tests and replays.

use axum::Json;
use fleetlog_access::action::typed::{WebhooksRead, WebhooksWrite};
use fleetlog_event_log::place::LogPosition as At;
use fleetlog_event_log::{LogId, TenantLog};
use fleetlog_projections::paging::{self, BadCursor};
use fleetlog_webhooks::deliveries::{self, Listing, Status};
use fleetlog_webhooks::store::{self, ReplayFrom};
use fleetlog_webhooks::{Delivery, Webhook};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::Written;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::live::follow::{Follow, From as Begin};
use crate::resource::{Resource, uuid};
use crate::rest::error::Error;
use crate::rest::extract::{Body, Named, Query, parse};
use crate::rest::page::List;
use crate::rest::parameters::Limit;
use crate::rest::{RequestId, wire};

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_webhook_deliveries, test_webhook, replay_webhook, replay_webhook_delivery)
}

impl Resource for Delivery {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such delivery";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }
}

/// Selects the deliveries of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only deliveries of this status: `pending`, `delivered`, `failed` or `superseded`.
    #[param(example = "pending")]
    status: Option<String>,
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists a webhook's deliveries, newest first: the last 1000, of 30 days at most.
#[utoipa::path(
    get, path = "/webhooks/{id}/deliveries", tag = "webhooks", operation_id = "list_webhook_deliveries",
    params(("id" = Uuid, Path, description = "The webhook's id"), Which),
    responses(
        (status = 200, description = "A page of deliveries", body = List<wire::WebhookDelivery>),
        (status = 404, description = "No such webhook"),
    ),
)]
async fn list_webhook_deliveries(
    door: May<WebhooksRead, Webhook>,
    Query(which): Query<Which>,
) -> Result<Json<List<wire::WebhookDelivery>>, Error> {
    let status = parse::<Status>("status", which.status.as_deref())?;
    let beyond = which.cursor.as_deref().map(paging::decode::<i64>).transpose();
    let beyond = beyond.map_err(|bad: BadCursor| Error::field("cursor", bad))?;
    store::get(door.log(), door.id).await?.ok_or_else(Error::missing::<Webhook>)?;
    let page = deliveries::list(door.log(), door.id, &Listing { status, beyond }, which.limit.0).await?;
    Ok(Json(List::page(page, |delivery| paging::encode(&delivery.number))))
}

/// Sends a test to a webhook, once and now, and returns what came of it. The test has `"type":"fleetlog.test"` and no events.
#[utoipa::path(
    post, path = "/webhooks/{id}/test", tag = "webhooks", operation_id = "test_webhook",
    params(("id" = Uuid, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "What came of the test, whatever the webhook answered", body = wire::WebhookDelivery),
        (status = 404, description = "No such webhook"),
    ),
)]
async fn test_webhook(door: May<WebhooksWrite, Webhook>) -> Result<Json<wire::WebhookDelivery>, Error> {
    Ok(Json(door.app.webhooks.test(door.log(), door.id).await?.into()))
}

/// From where to send again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookReplay)]
struct Replay {
    /// A position of a log that the webhook follows, after which its events are sent again: `1:42`. Or `start`, or a time in RFC
    /// 3339, by the database's clock, for all of its logs.
    #[schema(example = "start")]
    from: String,
}

/// Sends a webhook again, in order, what it follows after an earlier position, and then what is new. Batches that are still listed are
/// sent as they were, with the same `webhook-id`.
#[utoipa::path(
    post, path = "/webhooks/{id}/replay", tag = "webhooks", operation_id = "replay_webhook", request_body = Replay,
    params(("id" = Uuid, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "The webhook begins again there", body = Written),
        (status = 404, description = "No such webhook"),
    ),
)]
async fn replay_webhook(
    door: May<WebhooksWrite, Webhook>,
    request: RequestId,
    Body(Replay { from }): Body<Replay>,
) -> Result<Json<Written>, Error> {
    let webhook = store::get(door.log(), door.id).await?.ok_or_else(Error::missing::<Webhook>)?;
    let logs = webhook.places.iter().map(|place| place.log_id).collect();
    let from = begin(door.log(), logs, from).await?;
    let at = store::replay(door.log(), door.id, from, request.metadata(&door.caller)).await?;
    Ok(Json(Written::new(door.id, Some(at))))
}

async fn begin(log: &TenantLog, logs: Vec<LogId>, from: String) -> Result<ReplayFrom, Error> {
    if let Ok(place) = from.parse::<At>() {
        return Ok(ReplayFrom::Position(place));
    }
    let begin = Begin::try_from(from).ok().filter(|begin| *begin != Begin::Now);
    let reason = "expected a position such as 1:42, start, or a time such as 2026-03-01T12:00:00Z";
    let from = Some(begin.ok_or_else(|| Error::field("from", reason))?);
    let places = Follow { from, ..Follow::default() }.places(log, &logs, None).await?;
    let place = |log_id| Some(At { log_id, position: places.of(log_id)? });
    Ok(ReplayFrom::Positions(places.logs().filter_map(place).collect()))
}

/// Sends one delivery again, once and now, beside what else is sent, and returns what came of it. Its `webhook-id` is the same.
#[utoipa::path(
    post, path = "/webhooks/{id}/deliveries/{delivery_id}/replay", tag = "webhooks",
    operation_id = "replay_webhook_delivery",
    params(
        ("id" = Uuid, Path, description = "The webhook's id"),
        ("delivery_id" = Uuid, Path, description = "The delivery's id"),
    ),
    responses(
        (status = 200, description = "What came of it, whatever the webhook answered", body = wire::WebhookDelivery),
        (status = 404, description = "No such webhook, or no such delivery"),
    ),
)]
async fn replay_webhook_delivery(
    door: May<WebhooksWrite, Webhook>,
    Named(delivery_id): Named<Delivery>,
) -> Result<Json<wire::WebhookDelivery>, Error> {
    Ok(Json(door.app.webhooks.resend(door.log(), door.id, delivery_id).await?.into()))
}
