//! Webhooks, to which a tenant's events are sent.
//!
//! - `rights`: whoever makes a webhook must be able to read what it is sent
//! - `deliveries`: what was sent, tests and replays

mod deliveries;
mod rights;

use axum::Json;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::{WebhooksRead, WebhooksWrite};
use fleetlog_event_log::control::Committed;
use fleetlog_event_log::{LogId, TenantLog};
use fleetlog_live::Places;
use fleetlog_webhooks::service::{Created, NewWebhook, Rotated};
use fleetlog_webhooks::store::{self, Change};
use fleetlog_webhooks::webhook::{BATCH, MAX_BATCH};
use fleetlog_webhooks::{Filter, Webhook};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::error::Error;
use super::extract::{Body, NoParameters, Query};
use super::json::{Object, clearable};
use super::page::List;
use super::parameters::LogPosition;
use super::{PREFIX, RequestId, wire};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::live::follow::From as Begin;
use crate::resource::{Resource, uuid};

pub(super) fn router() -> OpenApiRouter<App> {
    let webhooks = guarded!(
        list_webhooks,
        create_webhook,
        read_webhook,
        change_webhook,
        remove_webhook,
        pause_webhook,
        resume_webhook,
        rotate_webhook_secret
    );
    webhooks.merge(deliveries::router())
}

impl Resource for Webhook {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such webhook";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }
}

/// Lists the tenant's webhooks, newest first, each with how far it has come.
#[utoipa::path(
    get, path = "/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    responses((status = 200, description = "All of the webhooks, without their secrets", body = List<wire::Webhook>)),
)]
async fn list_webhooks(
    door: May<WebhooksRead>,
    _: Query<NoParameters>,
) -> Result<Json<List<wire::Webhook>>, Error> {
    Ok(Json(List::whole(store::list(door.log()).await?)))
}

/// Returns one webhook, and how far it has come.
#[utoipa::path(
    get, path = "/webhooks/{id}", tag = "webhooks", operation_id = "read_webhook",
    params(("id" = Uuid, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "The webhook, without its secret", body = wire::Webhook),
        (status = 404, description = "No such webhook"),
    ),
)]
async fn read_webhook(
    door: May<WebhooksRead, Webhook>,
    _: Query<NoParameters>,
) -> Result<Json<wire::Webhook>, Error> {
    let webhook = store::get(door.log(), door.id).await?;
    webhook.map(|webhook| Json(webhook.into())).ok_or_else(Error::missing::<Webhook>)
}

/// A webhook to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhook)]
struct New {
    /// The address that events are sent to, by POST: `https://`, at most 2000 bytes.
    #[schema(example = "https://erp.example/fleetlog")]
    url: String,
    /// The purpose of the webhook, for people: 1 to 500 characters.
    description: Option<String>,
    /// The events to send: those that pass every filter that is given. Without it: all.
    #[schema(value_type = Option<wire::WebhookFollow>)]
    follow: Option<Object<wire::WebhookFollow>>,
    /// Begin after this position of each log that is followed, as streams and `GET /webhooks/{id}` name them.
    #[schema(value_type = Option<String>, example = json!(null))]
    after: Option<String>,
    /// Where to begin, without `after`: `now`, `start`, or a time of the past in RFC 3339, by the database's clock.
    #[schema(value_type = Option<String>, example = "now")]
    from: Option<Begin>,
    /// The most events of a request: 1 to 1000; without it, 100. A request has 1 MiB of events at most, unless one alone is larger.
    #[schema(example = 100)]
    max_batch: Option<i32>,
}

/// A webhook that was created.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedWebhook)]
struct Shown {
    /// The id of the webhook.
    webhook_id: Uuid,
    /// The secret that requests are signed with, as Standard Webhooks has it. It is shown only in this answer.
    #[schema(example = "whsec_…")]
    secret: String,
    /// The position of this write on the record.
    #[schema(example = "1:42")]
    position: String,
}

/// Creates a webhook. Its secret is shown in this answer and never again.
///
/// Each event that it follows is sent at least once, the events of a log in its order. Whoever creates a webhook must be allowed to
/// read what it is sent; it belongs to the tenant from then on.
#[utoipa::path(
    post, path = "/webhooks", tag = "webhooks", operation_id = "create_webhook", request_body = New,
    responses((status = 201, description = "The webhook, with its secret", body = Shown, headers(("Location" = String)))),
)]
async fn create_webhook(
    door: May<WebhooksWrite>,
    request: RequestId,
    Body(new): Body<New>,
) -> Result<impl IntoResponse, Error> {
    let description = described(new.description)?;
    let max_batch = batch(new.max_batch)?.unwrap_or(BATCH);
    let follow = new.follow.map_or_else(wire::WebhookFollow::default, |Object(follow)| follow);
    let (follow, after) = followed(door.log(), follow, new.after, new.from).await?;
    rights::may_read(&door, &follow, after.logs()).await?;
    let new = NewWebhook { url: new.url, description, follow, after, max_batch };
    let metadata = request.metadata(&door.caller);
    let Created { webhook_id, secret, at } = door.app.webhooks.create(door.log(), new, metadata).await?;
    let location = format!("{PREFIX}/webhooks/{webhook_id}");
    let shown = Shown { webhook_id, secret: secret.reveal(), position: LogPosition::from(at).to_string() };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(shown)))
}

/// What to follow, and the places to begin after.
async fn followed(
    log: &TenantLog,
    follow: wire::WebhookFollow,
    after: Option<String>,
    from: Option<Begin>,
) -> Result<(Filter, Places), Error> {
    let follow = follow.read(after, from)?;
    let logs: Vec<LogId> = follow.logs(log).map_err(named)?;
    let (selection, labels) = (follow.selection().map_err(named)?, follow.labels().map_err(named)?);
    let after = follow.places(log, &logs, None).await?;
    let filter = Filter {
        device: selection.devices,
        label: labels,
        metric: selection.metrics,
        r#type: selection.event_types,
        aggregate_type: selection.aggregate_types,
        log: follow.log,
        actor: selection.actor,
        cmd_id: selection.cmd_id,
        batch_id: selection.batch_id,
    };
    Ok((filter, after))
}

/// The same error about a filter, with the name that it has in the body.
fn named(error: Error) -> Error {
    [
        ("log", "follow.log"),
        ("aggregate_type", "follow.aggregate_type"),
        ("type", "follow.type"),
        ("actor", "follow.actor"),
        ("cmd_id", "follow.cmd_id"),
        ("batch_id", "follow.batch_id"),
        ("device", "follow.device"),
        ("label", "follow.label"),
    ]
    .into_iter()
    .fold(error, |error, (field, name)| error.renamed(field, name))
}

fn described(description: Option<String>) -> Result<Option<String>, Error> {
    let is_good =
        |text: &String| (1..=500).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if description.as_ref().is_some_and(|text| !is_good(text)) {
        return Err(Error::field("description", "expected 1 to 500 characters without control characters"));
    }
    Ok(description)
}

fn batch(max_batch: Option<i32>) -> Result<Option<i32>, Error> {
    match max_batch {
        Some(most) if !(1..=MAX_BATCH).contains(&most) => {
            Err(Error::field("max_batch", "expected 1 to 1000"))
        }
        most => Ok(most),
    }
}

/// The fields to change; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookChange)]
#[expect(clippy::option_option, reason = "absent, null, or a value")]
struct Changes {
    /// The address that events are sent to.
    #[schema(example = "https://erp.example/fleetlog")]
    url: Option<String>,
    /// The purpose of the webhook, for people: 1 to 500 characters. Null: none.
    #[serde(default, deserialize_with = "clearable")]
    description: Option<Option<String>>,
    /// The events to send, in place of those that were sent before. A log that was not followed before begins now.
    #[schema(value_type = Option<wire::WebhookFollow>)]
    follow: Option<Object<wire::WebhookFollow>>,
    /// The most events of a request: 1 to 1000.
    max_batch: Option<i32>,
}

/// The result of a write.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookWritten)]
struct Written {
    /// The id of the webhook.
    webhook_id: Uuid,
    /// The position of this write on the record; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

impl Written {
    fn new(webhook_id: Uuid, at: Option<Committed>) -> Self {
        Self { webhook_id, position: at.map(|at| LogPosition::from(at).to_string()) }
    }
}

/// Changes a webhook. A batch that the webhook refuses is sent again at once, as the webhook is then.
#[utoipa::path(
    patch, path = "/webhooks/{id}", tag = "webhooks", operation_id = "change_webhook", request_body = Changes,
    params(("id" = Uuid, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "The webhook is so", body = Written),
        (status = 404, description = "No such webhook"),
    ),
)]
async fn change_webhook(
    door: May<WebhooksWrite, Webhook>,
    request: RequestId,
    Body(changes): Body<Changes>,
) -> Result<Json<Written>, Error> {
    let Changes { url, description, follow, max_batch } = changes;
    let (description, max_batch) = (description.map(described).transpose()?, batch(max_batch)?);
    let present = store::get(door.log(), door.id).await?.ok_or_else(Error::missing::<Webhook>)?;
    let follow = match follow {
        Some(Object(follow)) => Some(followed(door.log(), follow, None, None).await?),
        None => None,
    };
    if url.is_some() || follow.is_some() {
        let (filter, logs) = match &follow {
            Some((filter, after)) => (filter, after.logs().collect::<Vec<_>>()),
            None => (&present.follow, present.places.iter().map(|place| place.log_id).collect()),
        };
        rights::may_read(&door, filter, logs.into_iter()).await?;
    }
    let change = Change { url, description, follow, max_batch };
    let at = door.app.webhooks.change(door.log(), door.id, change, request.metadata(&door.caller)).await?;
    Ok(Json(Written::new(door.id, at)))
}

/// Removes a webhook, and what was noted of its deliveries. Nothing is sent to it any more within 5 s.
#[utoipa::path(
    delete, path = "/webhooks/{id}", tag = "webhooks", operation_id = "remove_webhook",
    params(("id" = Uuid, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "The webhook is gone", body = Written),
        (status = 404, description = "No such webhook"),
    ),
)]
async fn remove_webhook(
    door: May<WebhooksWrite, Webhook>,
    request: RequestId,
) -> Result<Json<Written>, Error> {
    let at = store::remove(door.log(), door.id, request.metadata(&door.caller)).await?;
    Ok(Json(Written::new(door.id, Some(at))))
}

/// Pauses a webhook. It keeps its place.
#[utoipa::path(
    post, path = "/webhooks/{id}/pause", tag = "webhooks", operation_id = "pause_webhook",
    params(("id" = Uuid, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "Nothing is sent", body = Written),
        (status = 404, description = "No such webhook"),
    ),
)]
async fn pause_webhook(
    door: May<WebhooksWrite, Webhook>,
    request: RequestId,
) -> Result<Json<Written>, Error> {
    let at = store::set_active(door.log(), door.id, false, request.metadata(&door.caller)).await?;
    Ok(Json(Written::new(door.id, at)))
}

/// Resumes a webhook that is paused or suspended. It is sent everything since, in order.
#[utoipa::path(
    post, path = "/webhooks/{id}/resume", tag = "webhooks", operation_id = "resume_webhook",
    params(("id" = Uuid, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "Events are sent", body = Written),
        (status = 404, description = "No such webhook"),
    ),
)]
async fn resume_webhook(
    door: May<WebhooksWrite, Webhook>,
    request: RequestId,
) -> Result<Json<Written>, Error> {
    let at = store::set_active(door.log(), door.id, true, request.metadata(&door.caller)).await?;
    Ok(Json(Written::new(door.id, at)))
}

/// A new secret.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSecret)]
struct Renewed {
    /// The id of the webhook.
    webhook_id: Uuid,
    /// The secret that requests are signed with from now on. It is shown only in this answer.
    #[schema(example = "whsec_…")]
    secret: String,
    /// Until when requests also carry a signature with the secret before.
    previous_secret_until: DateTime<Utc>,
    /// The position of this write on the record.
    #[schema(example = "1:42")]
    position: String,
}

/// Gives a webhook a new secret. For 24 hours, requests are signed with the one before as well.
#[utoipa::path(
    post, path = "/webhooks/{id}/rotate-secret", tag = "webhooks", operation_id = "rotate_webhook_secret",
    params(("id" = Uuid, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "The new secret", body = Renewed),
        (status = 404, description = "No such webhook"),
    ),
)]
async fn rotate_webhook_secret(
    door: May<WebhooksWrite, Webhook>,
    request: RequestId,
) -> Result<Json<Renewed>, Error> {
    let metadata = request.metadata(&door.caller);
    let rotated = door.app.webhooks.rotate(door.log(), door.id, metadata).await?;
    let Rotated { secret, previous_until, at } = rotated;
    let position = LogPosition::from(at).to_string();
    let (webhook_id, secret) = (door.id, secret.reveal());
    Ok(Json(Renewed { webhook_id, secret, previous_secret_until: previous_until, position }))
}
