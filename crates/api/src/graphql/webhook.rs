//! Webhooks: their types and fields.

use async_graphql::{Enum, ID, Object};
use chrono::{DateTime, Utc};
use fleetlog_webhooks as webhooks;
use fleetlog_webhooks::webhook::Place;

use super::scalars::Long;

/// A webhook: an address of the tenant's own to which events are sent.
pub(super) struct Webhook(pub(super) webhooks::Webhook);

/// Whether events are sent to a webhook.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "WebhookState", remote = "webhooks::State")]
enum State {
    /// Events are sent.
    Active,
    /// Somebody has paused the webhook.
    Paused,
    /// The webhook took nothing for 72 hours, or wants no more events.
    Suspended,
}

#[Object]
impl Webhook {
    /// The webhook's id.
    async fn webhook_id(&self) -> ID {
        self.0.webhook_id.into()
    }

    /// The address that events are sent to.
    async fn url(&self) -> &str {
        &self.0.url
    }

    /// The purpose of the webhook, for people.
    async fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    /// Whether events are sent.
    async fn state(&self) -> State {
        self.0.state.into()
    }

    /// Why the webhook is suspended.
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The most events of a request.
    async fn max_batch(&self) -> i32 {
        self.0.max_batch
    }

    /// When the webhook was created.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// Who created the webhook.
    async fn created_by(&self) -> &str {
        &self.0.created_by
    }

    /// How far the webhook has come in each log that it follows.
    async fn places(&self) -> Vec<WebhookPlace<'_>> {
        self.0.places.iter().map(WebhookPlace).collect()
    }
}

/// How far a webhook has come in a log.
struct WebhookPlace<'a>(&'a Place);

#[Object]
impl WebhookPlace<'_> {
    /// The number of the log.
    async fn log_id(&self) -> i32 {
        self.0.log_id.0
    }

    /// The kind of log: `control` or `telemetry`.
    async fn lane(&self) -> &'static str {
        self.0.lane.as_str()
    }

    /// The position up to which the webhook took everything that it follows.
    async fn position(&self) -> Long {
        Long(self.0.position)
    }

    /// The last position of the log.
    async fn head(&self) -> Long {
        Long(self.0.head)
    }

    /// How many events there are behind `position`, followed or not.
    async fn lag(&self) -> Long {
        Long(self.0.head - self.0.position)
    }

    /// How often the next batch was refused.
    async fn failures(&self) -> i32 {
        self.0.failures
    }

    /// Since when the next batch is refused.
    async fn failing_since(&self) -> Option<DateTime<Utc>> {
        self.0.failing_since
    }

    /// When the next batch is sent again.
    async fn next_attempt_at(&self) -> Option<DateTime<Utc>> {
        self.0.next_attempt_at
    }
}
