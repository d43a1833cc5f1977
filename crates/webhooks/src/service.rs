//! What everybody who deals with webhooks shares, and what people ask for: a webhook, a test, a replay of one delivery.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_access::sealing::{self, Secret};
use fleetlog_event_log::control::{Committed, Metadata};
use fleetlog_event_log::turns::{Turn, Turns};
use fleetlog_event_log::{EventLog, LogId, TenantLog};
use fleetlog_http_client::{self as http_client, Client, Reach};
use fleetlog_live::{Live, Places};
use futures::FutureExt;
use uuid::Uuid;

use crate::deliverer::{HOOK, Hook};
use crate::deliveries::{self, Delivery};
use crate::error::{Error, Refused};
use crate::message;
use crate::reader::{self, Reader};
use crate::receiver;
use crate::schedule::Plan;
use crate::secret::WebhookSecret;
use crate::store::{self, Change, New};
use crate::url;
use crate::webhook::Filter;

/// How many requests to webhooks are under way at once, and how many of one tenant.
pub const TURNS: (u32, u32) = (64, 16);
/// How many tests and replays of single deliveries are under way at once, and how many of one tenant.
pub const ASKED: (u32, u32) = (8, 1);
/// For how many hours the secret before is good after a rotation.
pub const OVERLAP_H: i32 = 24;

/// Settings of webhooks.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whom requests may be sent to.
    pub reach: Reach,
    /// When a refused batch is sent again.
    pub plan: Plan,
    /// How long a request may take.
    pub time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { reach: Reach::public(), plan: Plan::default(), time: receiver::TIME }
    }
}

/// Webhooks, for those who make, test and replay them. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Shared>);

pub(crate) struct Shared {
    /// The log of all tenants: one node sends for all of them.
    pub(crate) log: EventLog,
    pub(crate) live: Live,
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) turns: Turns,
    asked: Turns,
    secret: Option<Secret>,
}

/// A webhook to be.
pub struct NewWebhook {
    /// Where events are sent.
    pub url: String,
    /// What it is for.
    pub description: Option<String>,
    /// Which events are sent.
    pub follow: Filter,
    /// The position of each log after which it begins.
    pub after: Places,
    /// How many events a request has at most: 1 to 1000.
    pub max_batch: i32,
}

/// A webhook that has just been made.
pub struct Created {
    /// Its id.
    pub webhook_id: Uuid,
    /// What its requests are signed with, to be shown once.
    pub secret: WebhookSecret,
    /// Where it is on the record.
    pub at: Committed,
}

/// A secret that takes the place of another.
pub struct Rotated {
    /// The new secret, to be shown once.
    pub secret: WebhookSecret,
    /// Until when requests are also signed with the one before.
    pub previous_until: DateTime<Utc>,
    /// Where it is on the record.
    pub at: Committed,
}

impl Webhooks {
    /// Webhooks over the log of all tenants. `secret` seals theirs.
    pub fn new(
        log: EventLog,
        live: Live,
        secret: Option<Secret>,
        options: Options,
    ) -> Result<Self, http_client::Error> {
        let client = Client::reaching(options.reach.clone())?;
        let (turns, asked) = (Turns::new(TURNS.0, TURNS.1), Turns::new(ASKED.0, ASKED.1));
        Ok(Self(Arc::new(Shared { log, live, client, options, turns, asked, secret })))
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }

    /// Creates a webhook.
    pub async fn create(
        &self,
        log: &TenantLog,
        new: NewWebhook,
        metadata: Metadata,
    ) -> Result<Created, Refused> {
        let url = url::check(&new.url, self.0.client.reach()).await?;
        let (webhook_id, secret) = (Uuid::now_v7(), WebhookSecret::random());
        let sealed = self.0.seal(webhook_id, secret.reveal().as_bytes())?;
        let NewWebhook { description, follow, after, max_batch, .. } = new;
        let new = New { webhook_id, url, description, follow, after, max_batch, secret: sealed };
        let at = store::create(log, new, metadata).await?;
        Ok(Created { webhook_id, secret, at })
    }

    /// Changes a webhook. `None`: there was nothing to change.
    pub async fn change(
        &self,
        log: &TenantLog,
        webhook_id: Uuid,
        change: Change,
        metadata: Metadata,
    ) -> Result<Option<Committed>, Refused> {
        if let Some(url) = &change.url {
            url::check(url, self.0.client.reach()).await?;
        }
        store::change(log, webhook_id, change, metadata).await
    }

    /// Gives a webhook another secret.
    pub async fn rotate(
        &self,
        log: &TenantLog,
        webhook_id: Uuid,
        metadata: Metadata,
    ) -> Result<Rotated, Refused> {
        let secret = WebhookSecret::random();
        let sealed = self.0.seal(webhook_id, secret.reveal().as_bytes())?;
        let new = (sealed, OVERLAP_H);
        let (previous_until, at) =
            store::rotate(&self.0.log, log.tenant(), webhook_id, new, metadata).await?;
        Ok(Rotated { secret, previous_until, at })
    }

    /// Sends a test, once and now, and returns what came of it.
    pub async fn test(&self, log: &TenantLog, webhook_id: Uuid) -> Result<Delivery, Refused> {
        let hook = self.hook(log, webhook_id).await?;
        let _turn = self.turn(log)?;
        let (delivery_id, now) = (Uuid::now_v7(), self.0.log.now());
        deliveries::begin_test(self.0.log.pool(), &hook, delivery_id).await?;
        self.send(&hook, delivery_id, message::test(webhook_id, now)).await
    }

    /// Sends one delivery again, once and now, beside what else is sent, and returns what came of it. Its id is the one that it had;
    /// its events are those between its positions that the webhook follows now.
    pub async fn resend(
        &self,
        log: &TenantLog,
        webhook_id: Uuid,
        delivery_id: Uuid,
    ) -> Result<Delivery, Refused> {
        let hook = self.hook(log, webhook_id).await?;
        let sent = deliveries::get(log, webhook_id, delivery_id).await?.ok_or(Refused::UnknownDelivery)?;
        let Some((log_id, range)) = sent.range() else { return Err(Refused::IsTest) };
        let _turn = self.turn(log)?;
        let body = self.body(&hook, (log_id, range), sent.created_at).await?;
        self.send(&hook, delivery_id, body).await
    }

    async fn body(
        &self,
        hook: &Hook,
        (log_id, range): (LogId, (i64, i64)),
        created_at: DateTime<Utc>,
    ) -> Result<Vec<u8>, Refused> {
        let log = self.0.log.for_tenant(&hook.tenant);
        let reader = Reader::new(&self.0.live, &log, (hook, log_id), range.0);
        let mut reader = reader.ok_or(Refused::UnknownDelivery)?;
        let batch = reader.batch(range.0, reader::Reach::Exactly(range.1)).await?;
        Ok(message::body(log_id, &batch, created_at))
    }

    async fn send(&self, hook: &Hook, delivery_id: Uuid, body: Vec<u8>) -> Result<Delivery, Refused> {
        let Shared { log, client, options, .. } = &*self.0;
        let (now, id) = (log.now(), message::webhook_id(delivery_id));
        let to = (&hook.url, &*hook.secrets(now));
        let reply = receiver::send(client, to, (&id, body), (now, options.time)).await;
        deliveries::sent(log.pool(), delivery_id, &reply).await?.ok_or(Refused::UnknownDelivery)
    }

    /// A webhook of the tenant, as it is sent to.
    async fn hook(&self, log: &TenantLog, webhook_id: Uuid) -> Result<Hook, Refused> {
        // Over the service's connections: a request may not read a secret.
        let hook = format!("SELECT {HOOK} FROM webhooks WHERE tenant = $1 AND webhook_id = $2");
        let hook = sqlx::query(&hook).bind(log.tenant().as_str()).bind(webhook_id);
        let row = hook.fetch_optional(self.0.log.pool()).await?.ok_or(Refused::Unknown)?;
        Ok(Hook::read(&row, &self.0)?)
    }

    fn turn(&self, log: &TenantLog) -> Result<Turn, Refused> {
        self.0.asked.take(log.tenant().as_str(), 1).now_or_never().ok_or(Refused::Busy)
    }
}

impl Shared {
    /// A secret as it is stored.
    fn seal(&self, webhook_id: Uuid, secret: &[u8]) -> Result<Vec<u8>, Error> {
        match &self.secret {
            Some(key) => Ok(key.seal(&name(webhook_id), secret)?),
            None => Ok(secret.to_vec()),
        }
    }

    /// A secret as it was before it was stored.
    pub(crate) fn open_secret(&self, webhook_id: Uuid, stored: Vec<u8>) -> Result<WebhookSecret, Error> {
        let plain = sealing::open(self.secret.as_ref(), &name(webhook_id), stored)?;
        let secret = std::str::from_utf8(&plain).ok().and_then(|text| text.parse().ok());
        secret.ok_or_else(|| Error::Unreadable(webhook_id, "its secret is none".to_owned()))
    }

    /// Seals the secrets that are not.
    pub(crate) async fn seal_all(&self) -> Result<(), Error> {
        if self.secret.is_none() {
            return Ok(());
        }
        let seal = |webhook_id, stored: &[u8]| {
            if sealing::is_sealed(stored) { Ok(None) } else { self.seal(webhook_id, stored).map(Some) }
        };
        store::seal_all(&self.log, seal).await
    }
}

/// What a webhook's secrets are sealed under.
fn name(webhook_id: Uuid) -> String {
    format!("webhook {webhook_id}")
}
