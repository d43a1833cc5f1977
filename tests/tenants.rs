//! Tenants: made, given room, suspended; and what each decides for itself.

mod devices;
mod platform;
mod retention;
mod settings;

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::api::{Answer, answer};

/// Sends a request as a tenant's user of a role.
async fn send(api: &Api, who: (&str, Role), method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = api.request(method, path).bearer_auth(api.token(who.0, who.1));
    answer(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

/// Changes a tenant as the platform's admin.
async fn change(api: &Api, tenant: &str, change: Value) -> Answer {
    api.send(Method::PATCH, &format!("/tenants/{tenant}"), change).await
}

async fn register(api: &Api, tenant: &str, uid: &str) -> Answer {
    send(api, (tenant, Role::Admin), Method::POST, "/devices", Some(json!({ "uid": uid }))).await
}
