//! Webhooks and their deliveries, as REST takes and shows them.

use std::collections::BTreeSet;
use std::fmt::Display;

use chrono::{DateTime, Utc};
use fleetlog_webhooks::webhook::Place;
use fleetlog_webhooks::{Delivery, Filter, Webhook as Known};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::live::follow::{Follow, From as Begin, Words};
use crate::rest::Error;

/// Which events a webhook is sent: those that pass every filter that is given, as for `GET /stream`.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct WebhookFollow {
    /// Only what is about these devices: `dev-01`, or several with commas between them.
    #[schema(example = "dev-01,dev-02")]
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// Only what is about devices with all of these labels, as they are when it is sent: `site=hanoi`, or several with commas.
    #[schema(example = "site=hanoi")]
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// Only readings that have one of these metrics. Other events are not restricted.
    #[schema(example = "temperature")]
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    /// Only events of these types, such as `CommandAcknowledged`.
    #[schema(example = "CommandAcknowledged,CommandFailed")]
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    /// Only events of streams of these types, such as `Device` or `Command`.
    #[schema(example = "Command")]
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregate_type: Option<String>,
    /// Only one of the two logs: `control` or `telemetry`. Without it: both.
    #[schema(example = "control")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// Only events that this actor caused, and those of the commands that it requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    /// Only events of this command.
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd_id: Option<Uuid>,
    /// Only events of this batch, and of its commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<Uuid>,
}

impl WebhookFollow {
    /// The same as a stream's parameters, with where to begin.
    pub(in crate::rest) fn read(self, after: Option<String>, from: Option<Begin>) -> Result<Follow, Error> {
        let words = |field, text: Option<String>| {
            text.map(Words::try_from).transpose().map_err(|reason| Error::field(field, reason))
        };
        Ok(Follow {
            device: words("follow.device", self.device)?,
            label: words("follow.label", self.label)?,
            metric: words("follow.metric", self.metric)?,
            r#type: words("follow.type", self.r#type)?,
            aggregate_type: words("follow.aggregate_type", self.aggregate_type)?,
            log: self.log,
            actor: self.actor,
            cmd_id: self.cmd_id,
            batch_id: self.batch_id,
            after,
            from,
            ..Follow::default()
        })
    }
}

impl From<Filter> for WebhookFollow {
    fn from(filter: Filter) -> Self {
        fn joined<T: Display>(words: &BTreeSet<T>) -> String {
            words.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        let labels = |(key, value): (String, String)| format!("{key}={value}");
        Self {
            device: filter.device.as_ref().map(joined),
            label: filter.label.map(|all| joined(&all.into_iter().map(labels).collect())),
            metric: filter.metric.as_ref().map(joined),
            r#type: filter.r#type.as_ref().map(joined),
            aggregate_type: filter.aggregate_type.as_ref().map(joined),
            log: filter.log,
            actor: filter.actor,
            cmd_id: filter.cmd_id,
            batch_id: filter.batch_id,
        }
    }
}

/// A webhook, and how far it has come.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the fields' names on the wire")]
pub(in crate::rest) struct Webhook {
    /// The id of the webhook.
    webhook_id: Uuid,
    /// The address that events are sent to.
    #[schema(example = "https://erp.example/fleetlog")]
    url: String,
    /// The purpose of the webhook, for people.
    description: Option<String>,
    /// The events that are sent.
    follow: WebhookFollow,
    /// The most events of a request.
    #[schema(example = 100)]
    max_batch: i32,
    /// Whether events are sent: `active`, `paused`, or `suspended`, because the webhook took nothing for 72 hours or wants no more.
    #[schema(example = "active")]
    state: &'static str,
    /// Why the webhook is suspended.
    reason: Option<String>,
    /// Until when requests also carry a signature with the secret before the last rotation.
    previous_secret_until: Option<DateTime<Utc>>,
    /// When the webhook was created.
    created_at: DateTime<Utc>,
    /// Who created the webhook.
    created_by: String,
    /// When the webhook was last changed.
    updated_at: DateTime<Utc>,
    /// How far the webhook has come in each log that it follows.
    places: Vec<WebhookPlace>,
}

impl From<Known> for Webhook {
    fn from(webhook: Known) -> Self {
        Self {
            webhook_id: webhook.webhook_id,
            url: webhook.url,
            description: webhook.description,
            follow: webhook.follow.into(),
            max_batch: webhook.max_batch,
            state: webhook.state.as_str(),
            reason: webhook.reason,
            previous_secret_until: webhook.previous_until,
            created_at: webhook.created_at,
            created_by: webhook.created_by,
            updated_at: webhook.updated_at,
            places: webhook.places.into_iter().map(Into::into).collect(),
        }
    }
}

/// How far a webhook has come in a log.
#[derive(Serialize, ToSchema)]
struct WebhookPlace {
    /// The number of the log.
    log_id: i32,
    /// The kind of log: `control` or `telemetry`.
    #[schema(example = "telemetry")]
    lane: &'static str,
    /// The position up to which the webhook took everything that it follows.
    position: i64,
    /// The last position of the log.
    head: i64,
    /// How many events there are behind `position`, followed or not.
    lag: i64,
    /// How often the next batch was refused.
    failures: i32,
    /// Since when the next batch is refused.
    failing_since: Option<DateTime<Utc>>,
    /// When the next batch is sent again.
    next_attempt_at: Option<DateTime<Utc>>,
}

impl From<Place> for WebhookPlace {
    fn from(place: Place) -> Self {
        Self {
            log_id: place.log_id.0,
            lane: place.lane.as_str(),
            position: place.position,
            head: place.head,
            lag: place.head - place.position,
            failures: place.failures,
            failing_since: place.failing_since,
            next_attempt_at: place.next_attempt_at,
        }
    }
}

/// What was sent to a webhook: a batch of events of one log, or a test.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct WebhookDelivery {
    /// The id of the delivery, to send it again by.
    delivery_id: Uuid,
    /// The `webhook-id` of its requests, the same for each of them.
    #[schema(example = "msg_0199e2a47c117b9e8a5a3f0d4c1b2a69")]
    message_id: String,
    /// The number of the log; null for a test.
    log_id: Option<i32>,
    /// The position after which its events begin.
    after: Option<i64>,
    /// The position up to which its events go.
    last: Option<i64>,
    /// How many events it has.
    events: i32,
    /// What came of it: `pending` (it is sent again by itself), `delivered`, `failed` (it is not), or `superseded` (what the webhook
    /// follows has changed, and its events are in other deliveries).
    #[schema(example = "delivered")]
    status: &'static str,
    /// How often it was sent.
    attempts: i32,
    /// The HTTP status of the last answer; null if there was none.
    #[schema(example = 200)]
    code: Option<i32>,
    /// Why the last attempt failed.
    error: Option<String>,
    /// How many milliseconds the last attempt took.
    duration_ms: Option<i32>,
    /// When the delivery began.
    created_at: DateTime<Utc>,
    /// When it was last sent.
    attempted_at: Option<DateTime<Utc>>,
    /// When the webhook took it.
    delivered_at: Option<DateTime<Utc>>,
    /// When it is sent again.
    next_attempt_at: Option<DateTime<Utc>>,
}

impl From<Delivery> for WebhookDelivery {
    fn from(delivery: Delivery) -> Self {
        Self {
            delivery_id: delivery.delivery_id,
            message_id: delivery.webhook_id(),
            log_id: delivery.log_id.map(|log_id| log_id.0),
            after: delivery.after,
            last: delivery.last,
            events: delivery.events,
            status: delivery.status.as_str(),
            attempts: delivery.attempts,
            code: delivery.code,
            error: delivery.error,
            duration_ms: delivery.duration_ms,
            created_at: delivery.created_at,
            attempted_at: delivery.attempted_at,
            delivered_at: delivery.delivered_at,
            next_attempt_at: delivery.next_attempt_at,
        }
    }
}
