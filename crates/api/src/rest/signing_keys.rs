//! The key that signs access tokens: replaced when somebody may have seen it, or from time to time.

use axum::Json;
use axum::extract::State;
use fleetlog_access::{Action, Resource, authorize, key_ring};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::Error;
use super::extract::Caller;
use super::parameters::LogPosition;
use super::{App, RequestId};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(rotate_signing_key))
}

/// The key that signs from now on.
#[derive(Serialize, ToSchema)]
#[schema(as = RotatedSigningKey)]
struct Rotated {
    /// Its id, as the `kid` of access tokens.
    kid: Uuid,
    /// Where it is on the record.
    #[schema(example = "1:42")]
    position: String,
}

/// Replaces the key that signs access tokens. Nobody is logged out: what the one before has signed is good until it
/// expires. For the platform's administrators.
#[utoipa::path(
    post, path = "/signing-keys/rotate", tag = "platform", operation_id = "rotate_signing_key",
    responses((status = 201, description = "Replaced", body = Rotated)),
    extensions(("x-action" = json!("signing_keys.write"))),
)]
async fn rotate_signing_key(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
) -> Result<(StatusCode, Json<Rotated>), Error> {
    authorize(&caller, Action::SigningKeysWrite, &Resource::Platform)?;
    let (kid, at) = key_ring::rotate(&app.identity, request.metadata(&caller)).await?;
    Ok((StatusCode::CREATED, Json(Rotated { kid, position: LogPosition::from(at).to_string() })))
}
