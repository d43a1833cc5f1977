//! The key that signs access tokens. It is replaced when it may have leaked, or from time to time.

use axum::Json;
use fleetlog_access::action::typed::SigningKeysWrite;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::RequestId;
use super::error::Error;
use super::parameters::LogPosition;
use crate::app::App;
use crate::door::action::guarded;
use crate::door::{May, Platform};

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(rotate_signing_key)
}

/// The key that signs from now on.
#[derive(Serialize, ToSchema)]
#[schema(as = RotatedSigningKey)]
struct Rotated {
    /// The key's id, which access tokens carry as `kid`.
    kid: Uuid,
    /// The position of this write on the record.
    #[schema(example = "1:42")]
    position: String,
}

/// Replaces the key that signs access tokens. Nobody is logged out: tokens that the old key has signed stay valid until
/// they expire. For the platform's administrators.
#[utoipa::path(
    post, path = "/signing-keys/rotate", tag = "platform", operation_id = "rotate_signing_key",
    responses((status = 201, description = "The key is replaced", body = Rotated)),
)]
async fn rotate_signing_key(
    door: May<SigningKeysWrite, Platform>,
    request: RequestId,
) -> Result<(StatusCode, Json<Rotated>), Error> {
    let (kid, at) = door.app.access.signing_keys.rotate(request.metadata(&door.caller)).await?;
    Ok((StatusCode::CREATED, Json(Rotated { kid, position: LogPosition::from(at).to_string() })))
}
