//! Devices' credentials: over REST, at the built-in endpoint, and at brokers of one's own.

mod brokers;
mod certificates;
mod commands;
mod ends;
mod gateways;
mod logins;
mod mosquitto;
mod rest;
mod topics;

use std::time::{Duration, Instant};

use fleetlog_access::Role;
use fleetlog_mqtt::server::{self, Auth};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::api::{Answer, answer};
use crate::support::mqtt::Device;
use crate::support::{Api, Node};

/// How soon a connection ends whose credential does.
const SOON: Duration = Duration::from_secs(5);

/// An API, and a node of the same database whose endpoint wants credentials.
struct Fleet {
    api: Api,
    node: Node,
}

/// What a device connects with.
#[derive(Debug, Clone)]
struct Credential {
    id: String,
    username: String,
    password: String,
}

impl Credential {
    fn login(&self) -> (&str, &str) {
        (&self.username, &self.password)
    }
}

impl Fleet {
    async fn start() -> Self {
        Self::start_with(|endpoint| endpoint.auth = Auth::Required).await
    }

    async fn start_with(change: impl FnOnce(&mut server::Options)) -> Self {
        let api = Api::start().await;
        api.add_tenant("t1").await;
        let node = Node::start_on(api.database.options(), |_, endpoint| change(endpoint)).await;
        Self { api, node }
    }

    /// A tenant's request as its administrator.
    async fn send(&self, tenant: &str, method: Method, path: &str, body: Value) -> Answer {
        let token = self.api.token(tenant, Role::Admin);
        let request = self.api.request(method, path).bearer_auth(token);
        answer(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// Registers a device and gives it a credential.
    async fn device(&self, tenant: &str, uid: &str) -> Credential {
        let registered = self.send(tenant, Method::POST, "/devices", json!({ "uid": uid })).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.text);
        self.issue(tenant, uid, json!({})).await
    }

    async fn issue(&self, tenant: &str, uid: &str, wish: Value) -> Credential {
        let issued = self.send(tenant, Method::POST, &format!("/devices/{uid}/credentials"), wish).await;
        assert_eq!(issued.status, StatusCode::CREATED, "{}", issued.text);
        let text = |field: &str| issued.json()[field].as_str().expect("a text").to_owned();
        Credential { id: text("credential_id"), username: text("username"), password: text("password") }
    }

    async fn connect(&self, version: u8, client_id: &str, credential: &Credential) -> Device {
        let connected = Device::log_in(self.node.address, version, client_id, Some(credential.login())).await;
        connected.unwrap_or_else(|code| panic!("{} is refused: {code:#x}", credential.username))
    }

    /// How many events and rows in quarantine there are of telemetry and answers.
    async fn stored(&self) -> (i64, i64) {
        sqlx::query_as("SELECT (SELECT count(*) FROM telemetry_events), (SELECT count(*) FROM quarantine)")
            .fetch_one(&mut self.node.owner().await)
            .await
            .expect("counts")
    }

    async fn sql(&self, statement: &str) {
        sqlx::raw_sql(statement).execute(&mut self.node.owner().await).await.expect(statement);
    }
}

/// Waits until a connection ends; fails where that takes too long, or something else is said before.
async fn ends_soon(device: &mut Device) {
    let started = Instant::now();
    let words = device.last_words().await;
    assert!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
    assert!(words.iter().all(|word| word[0] == 0xe0), "nothing but DISCONNECT: {words:02x?}");
}
