//! Webhooks: every event at least once, in order, to receivers of every manner.

mod bad_input;
mod crashes;
mod delivery;
mod life;
mod missing;
mod secrets;

use std::time::Duration;

use fleetlog_access::Role;
use fleetlog_event_log::Lane;
use fleetlog_http_client::Reach;
use fleetlog_webhooks::schedule::Plan;
use fleetlog_webhooks::{Deliverer, Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Api, Receiver};

/// Options with which a refused batch is sent again soon.
fn quick() -> Options {
    let plan = Plan { pauses: vec![Duration::from_millis(20)], ..Plan::default() };
    Options { reach: Reach::anybody(), plan, ..Options::default() }
}

/// An API whose webhooks are sent.
struct Sending {
    api: Api,
    stop: Option<DropGuard>,
}

impl Sending {
    async fn start() -> Self {
        Self::with(quick()).await
    }

    async fn with(options: Options) -> Self {
        let mut sending = Self { api: Api::start_with_webhooks(options).await, stop: None };
        sending.go_on();
        sending
    }

    /// Sends, as a node does that has just started.
    fn go_on(&mut self) {
        let stop = CancellationToken::new();
        tokio::spawn(Deliverer::new(&self.api.app.webhooks).run(stop.clone()));
        self.stop = Some(stop.drop_guard());
    }

    /// Creates a webhook of the default tenant. Returns its id and its secret.
    async fn create(&self, body: Value) -> (String, String) {
        let created = self.api.send(Method::POST, "/webhooks", body).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
        let text = |field: &str| created.json()[field].as_str().expect(field).to_owned();
        (text("webhook_id"), text("secret"))
    }

    /// A webhook of all readings from the first one on.
    async fn readings(&self, receiver: &Receiver) -> (String, String) {
        let body = json!({"url": receiver.url(), "follow": {"log": "telemetry"}, "from": "start"});
        self.create(body).await
    }

    async fn post(&self, path: &str) -> Value {
        let answer = self.api.send_as(Role::Admin, Method::POST, path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.api.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    }

    /// The webhook, once it is as expected.
    async fn until(&self, webhook_id: &str, expected: impl Fn(&Value) -> bool) -> Value {
        crate::support::eventually("a webhook", async || {
            let webhook = self.get(&format!("/webhooks/{webhook_id}")).await;
            if expected(&webhook) { Ok(webhook) } else { Err(webhook) }
        })
        .await
    }

    /// The deliveries of a webhook, the newest first.
    async fn deliveries(&self, webhook_id: &str) -> Vec<Value> {
        let page = self.get(&format!("/webhooks/{webhook_id}/deliveries")).await;
        page["items"].as_array().expect("items").clone()
    }

    fn log_id(&self, lane: Lane) -> i32 {
        self.api.log_of("t0", lane).0
    }

    /// Stores readings of a device, from a number on.
    async fn publish(&self, uid: &str, numbers: std::ops::Range<i64>) -> i64 {
        self.api.publish(uid, numbers.map(|n| json!({ "n": n }))).await
    }
}
