//! API keys, with which programs call the API without a login.

use axum::Json;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use fleetlog_access::Action;
use fleetlog_access::action::typed::{ApiKeysRead, ApiKeysWrite};
use fleetlog_access::api_keys::{self, ApiKey, NewKey};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::error::Error;
use super::extract::Body;
use super::page::List;
use super::parameters::LogPosition;
use super::{PREFIX, RequestId, wire};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::{Resource, uuid};

/// The most characters of a key's name.
const MAX_NAME: usize = 200;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_api_keys, issue_api_key, read_api_key, revoke_api_key)
}

impl Resource for ApiKey {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such API key";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }
}

/// Lists the tenant's API keys, newest first, including revoked and expired ones.
#[utoipa::path(
    get, path = "/api-keys", tag = "api-keys", operation_id = "list_api_keys",
    responses((status = 200, description = "The keys, without their secrets", body = List<wire::ApiKey>)),
)]
async fn list_api_keys(door: May<ApiKeysRead>) -> Result<Json<List<wire::ApiKey>>, Error> {
    Ok(Json(List::whole(api_keys::list(door.log()).await?)))
}

/// Returns one API key, without its secret.
#[utoipa::path(
    get, path = "/api-keys/{id}", tag = "api-keys", operation_id = "read_api_key",
    params(("id" = Uuid, Path, description = "The key's id")),
    responses(
        (status = 200, description = "The key, without its secret", body = wire::ApiKey),
        (status = 404, description = "No such key"),
    ),
)]
async fn read_api_key(door: May<ApiKeysRead, ApiKey>) -> Result<Json<wire::ApiKey>, Error> {
    let key = api_keys::get(door.log(), door.id).await?;
    key.map(|key| Json(key.into())).ok_or_else(Error::missing::<ApiKey>)
}

/// A key to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewApiKey {
    /// The name of the key, for people: 1 to 200 characters.
    #[schema(example = "billing")]
    name: String,
    /// The actions that the key allows. The issuer must be allowed to do each of them. At each request the key may do no
    /// more than its issuer may do then.
    #[schema(example = json!(["devices.read", "telemetry.read"]))]
    actions: Vec<String>,
    /// When the key expires. Without it, the key is valid until it is revoked.
    expires_at: Option<DateTime<Utc>>,
}

impl NewApiKey {
    fn check(self, now: DateTime<Utc>, may: impl Fn(Action) -> Result<(), Error>) -> Result<NewKey, Error> {
        let length = self.name.chars().count();
        if !(1..=MAX_NAME).contains(&length) || self.name.chars().any(char::is_control) {
            return Err(Error::field("name", "expected 1 to 200 characters without control characters"));
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(Error::field("expires_at", "expected a moment that has not passed"));
        }
        let mut actions = vec![];
        for word in &self.actions {
            let action: Action = word.parse().map_err(|error| Error::field("actions", error))?;
            if !action.is_for_keys() {
                return Err(Error::field("actions", format_args!("{word} is for users only")));
            }
            // A caller can only issue a key for actions that the caller may do.
            may(action)?;
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
        if actions.is_empty() {
            return Err(Error::field("actions", "expected at least one"));
        }
        Ok(NewKey { name: self.name, actions, expires_at: self.expires_at })
    }
}

/// A key that was issued.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedApiKey)]
struct Issued {
    /// The id of the key, to revoke it by.
    key_id: Uuid,
    /// The secret to send as `Authorization: Bearer <key>`. It is shown only in this answer.
    key: String,
    /// The position of this write on the record.
    #[schema(example = "1:42")]
    position: String,
}

/// Issues an API key. Its secret is shown in this answer and never again.
#[utoipa::path(
    post, path = "/api-keys", tag = "api-keys", operation_id = "issue_api_key", request_body = NewApiKey,
    responses((status = 201, description = "The key, with its secret", body = Issued, headers(("Location" = String)))),
)]
async fn issue_api_key(
    door: May<ApiKeysWrite>,
    request: RequestId,
    Body(new): Body<NewApiKey>,
) -> Result<impl IntoResponse, Error> {
    if door.caller.keys_in_line() >= api_keys::LINE {
        return Err(Error::field(
            "actions",
            "too many keys were issued one with the other: issue it as a user",
        ));
    }
    let (new, metadata) =
        (new.check(door.app.now(), |action| door.also(action))?, request.metadata(&door.caller));
    let issued = api_keys::issue(door.log(), new, door.caller.actor().to_string(), metadata).await?;
    let location = format!("{PREFIX}/api-keys/{}", issued.key_id);
    let position = LogPosition::from(issued.at).to_string();
    let issued = Issued { key_id: issued.key_id, key: issued.key, position };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(issued)))
}

/// Revokes an API key. It stops being valid at once; streams that it has opened end within 3 s.
#[utoipa::path(
    delete, path = "/api-keys/{id}", tag = "api-keys", operation_id = "revoke_api_key",
    params(("id" = Uuid, Path, description = "The key's id")),
    responses(
        (status = 204, description = "The key is revoked"),
        (status = 404, description = "No such key, or it is revoked"),
    ),
)]
async fn revoke_api_key(door: May<ApiKeysWrite, ApiKey>, request: RequestId) -> Result<StatusCode, Error> {
    let revoked = api_keys::revoke(door.log(), door.id, request.metadata(&door.caller)).await?;
    revoked.map(|_| StatusCode::NO_CONTENT).ok_or_else(Error::missing::<ApiKey>)
}
